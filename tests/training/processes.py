"""Looks at the processes of this machine."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def in_session(session: int) -> list[int]:
    """The processes that run in a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found
