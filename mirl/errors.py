"""Errors that the user can correct, or from which the work can be resumed."""


class UserError(ValueError):
    """Error that the user can correct: one sentence that says what was given, what was expected and how to correct it.

    Commands print it without a traceback and exit with code 2.
    """


class Stopped(Exception):
    """Interruption of work that can be resumed by running the same command again (exit code 75)."""
