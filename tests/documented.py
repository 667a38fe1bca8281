"""The commands of docs/serving.md, run word for word."""

import os
import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs" / "serving.md"


def documented(title: str) -> str:
    """The commands that stand in docs/serving.md below a comment."""
    found = re.search(rf"<!-- {re.escape(title)} -->\n```\n(.*?)\n```", DOCS.read_text(), re.DOTALL)
    assert found, f"{DOCS.name} has no commands below {title!r}"
    return found[1]


def environment(**more: str) -> dict[str, str]:
    """Of a shell in which mirl's environment is active."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"} | more


def run_against(title: str, folder: Path, port: int) -> None:
    """Run in `folder` the documented commands, which ask a port that curl's own settings lead to `port` today."""
    line = documented(title)
    (asked,) = re.findall(r"127\.0\.0\.1:(\d+)", line)
    (folder / ".curlrc").write_text(f'connect-to = "127.0.0.1:{asked}:127.0.0.1:{port}"\n')
    command = ["bash", "-euo", "pipefail", "-c", line]
    subprocess.run(command, cwd=folder, env=environment(CURL_HOME=str(folder)), check=True)
