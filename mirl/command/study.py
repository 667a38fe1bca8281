"""`mirl study`: makes a ready-made study the current one, by copying its settings to params.yaml."""

from pathlib import Path

from mirl.config import UserError
from mirl.files import read_text, write_whole
from mirl.yaml import read_yaml


def run(root: Path, name: str | None, force: bool) -> int:
    """Make the study `name` the current one, or list the studies if `name` is None; return exit code 0.

    Raises UserError if there is no such study, or an edited params.yaml would be lost.
    """
    studies = {path.stem: read_text(path).encode() for path in sorted((root / "studies").glob("*.yaml"))}
    if not studies:
        raise UserError("there is no studies/*.yaml here; run this in the folder of the mirl repository")
    params = root / "params.yaml"
    current = read_text(params).encode() if params.exists() else None
    if name is None:
        print(listing(studies, current))
        return 0
    if name not in studies:
        raise UserError(f"there is no study {name!r}; there are {', '.join(studies)}")
    if current is not None and current not in studies.values() and not force:
        raise UserError(
            "params.yaml is none of studies/*.yaml: it or the file that it came from has been edited; "
            "copy it there under a new name, or add --force"
        )
    write_whole(params, studies[name])
    print(f"params.yaml is the study {name}; `dvc repro` runs it")
    data = _data_root(params)
    if data and not (root / data).exists():
        print(
            f"its photographs are not here yet: {data} does not exist; `mirl data check` says what is missing"
        )
    return 0


def _data_root(params: Path) -> str:
    """Return `data.root` of a params.yaml, or the empty string if it cannot be read; the study is not validated."""
    try:
        return str(read_yaml(params)["data"]["root"])
    except (UserError, KeyError, TypeError):
        return ""


def listing(studies: dict[str, bytes], current: bytes | None) -> str:
    """Format one line for each study: its name, a star if params.yaml equals it, and the first comment of its file."""
    lines = []
    for name, content in studies.items():
        first = content.decode(errors="replace").partition("\n")[0]
        about = first.lstrip("# ") if first.startswith("#") else ""
        lines.append(f"{'*' if content == current else ' '} {name:10} {about}".rstrip())
    return "\n".join(lines)
