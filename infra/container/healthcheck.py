"""Is it well? Exits with 0, or with 1 and a sentence.

healthcheck.py http URL      a server answers there
healthcheck.py worker POOL   a worker of the pool runs in this container, and Prefect's server counts one as online
"""

import base64
import itertools
import json
import os
import sys
import urllib.request
from pathlib import Path

TIMEOUT_SECONDS = 5


def http(url: str) -> None:
    """OSError where `url` does not answer, or answers with an error."""
    urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS).close()


def worker(pool: str) -> None:
    """OSError where the server does not answer, ValueError where there is no worker."""
    if not any(is_worker(commandline(process), pool) for process in Path("/proc").glob("[0-9]*")):
        raise ValueError(f"no worker of the pool {pool} runs here")
    auth = base64.b64encode(os.environ.get("PREFECT_API_AUTH_STRING", "").encode()).decode()
    request = urllib.request.Request(
        f"{os.environ['PREFECT_API_URL']}/work_pools/{pool}/workers/filter",
        data=json.dumps({"workers": {"status": {"any_": ["ONLINE"]}}}).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Basic {auth}"},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        if not json.load(answer):
            raise ValueError(f"Prefect's server knows of no worker of the pool {pool} that is online")


def commandline(process: Path) -> list[str]:
    """What a process was begun with; nothing where it has ended meanwhile."""
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def is_worker(words: list[str], pool: str) -> bool:
    """Whether a process with these words on its command line is Prefect's worker of `pool`."""
    return "start" in words and ("--pool", pool) in itertools.pairwise(words)


def main(arguments: list[str]) -> int:
    checks = {"http": http, "worker": worker}
    if len(arguments) != 2 or arguments[0] not in checks:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        checks[arguments[0]](arguments[1])
    except (OSError, ValueError, KeyError) as error:
        print(f"error: {' '.join(arguments)}: {error!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
