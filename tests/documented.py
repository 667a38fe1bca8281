"""The commands of README.md and docs/, run word for word."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def documented(title: str) -> str:
    """The commands that stand below a comment; where several pages have them, they must be the same."""
    pages = {path.name: path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]}
    lines = re.compile(rf"<!-- {re.escape(title)} -->\n```\n(.*?)\n```", re.DOTALL)
    found = {match[1]: name for name, text in pages.items() for match in lines.finditer(text)}
    assert len(found) == 1, f"{title!r} has {len(found)} texts, expected one, in {sorted(found.values())}"
    return next(iter(found))


def commands(tool: str) -> list[str]:
    """Every command that runs `tool` in README.md and docs/running.md, without what is said beside it; each once."""
    text = "\n".join((ROOT / page).read_text() for page in ("README.md", "docs/running.md"))
    lines = re.findall(rf"(?:^|`)({tool} [^`\n]*)", text, re.MULTILINE)
    return list(dict.fromkeys(re.split(r"\s{2,}#", line)[0].strip() for line in lines))


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
