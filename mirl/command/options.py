"""Options that several subcommands have."""

import argparse

from mirl.command.amounts import share


def add_work(command: argparse.ArgumentParser) -> None:
    """Add `--work`, a share of the full work."""
    command.add_argument(
        "--work", type=share, metavar="SHARE",
        help="how much of the full work to do, such as 0.6, for a ticket that can do with less (`mirl inspect` shows it)",
    )  # fmt: skip


def add_network(command: argparse.ArgumentParser) -> None:
    """Add `--network`, which allows a network of one's own."""
    command.add_argument(
        "--network", default="", metavar="MODULE:CLASS",
        help="allow a ticket of this network, which is none of mirl's: its code, in this folder, is run",
    )  # fmt: skip
