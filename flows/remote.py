"""DVC's command with host keys checked on remotes over SSH, unlike DVC alone: `python -m flows.remote push`."""

import sys

from dvc.cli import main
from dvc.fs import known_implementations


def check_host_keys() -> None:
    """Make DVC in this process refuse SSH servers that `known_hosts` does not know, or knows by another key."""
    known_implementations["ssh"]["class"] = "flows.ssh.CheckedSSHFileSystem"


if __name__ == "__main__":
    check_host_keys()
    sys.exit(main(sys.argv[1:]))
