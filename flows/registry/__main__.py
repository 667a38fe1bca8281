"""Command line of the registry, `python -m flows.registry`: promote, roll back, list."""

import argparse
import sys
from pathlib import Path

from flows import registry, tracking
from mirl import terminal
from mirl.config import UserError


def main(arguments: list[str] | None = None) -> int:
    terminal.guard()
    parser = argparse.ArgumentParser(
        prog="python -m flows.registry", description=(registry.__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--root", type=Path, default=Path(), help="folder of the study (default: this one)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    promoting = commands.add_parser(
        "promote", help="register and verify the report's ticket, then make it the champion"
    )
    promoting.add_argument(
        "--force", action="store_true", help="also where the champion is better or not comparable"
    )
    commands.add_parser("rollback", help="make the previous champion the champion again")
    commands.add_parser("list", help="show every registered version")
    wanted = parser.parse_args(arguments)
    try:
        print(_answer(wanted.command, wanted.root, getattr(wanted, "force", False)))
    except UserError as error:
        return terminal.fail(error)
    return 0


def _answer(command: str, root: Path, force: bool) -> str:
    if command == "promote":
        tracking.sync(root)  # the registered version hangs on the ticket's run
        return registry.promote(root, force=force).said
    if command == "rollback":
        return registry.rollback(root)
    table = registry.versions(root)
    return "Nothing is registered yet" if table.empty else table.to_string(index=False)


if __name__ == "__main__":
    sys.exit(main())
