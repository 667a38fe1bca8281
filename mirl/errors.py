"""What goes wrong in ways that somebody can mend, or go on from."""


class UserError(ValueError):
    """The user can mend this: one sentence that says what was got, what was expected and how to mend it.

    Commands print it without a traceback and exit with code 2.
    """


class Stopped(Exception):
    """The work was interrupted and can go on: run the same command again (exit code 75)."""
