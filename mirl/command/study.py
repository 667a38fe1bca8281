"""`mirl study`: makes a ready-made study the current one, by copying its settings to params.yaml."""

from pathlib import Path

from mirl.config import UserError, read_yaml
from mirl.files import read_text, write_whole


def run(root: Path, name: str | None, force: bool) -> int:
    """Exit code 0; UserError where there is no such study, or an edited params.yaml would be lost."""
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
        raise UserError("params.yaml has been edited; copy it to studies/ under a new name, or add --force")
    write_whole(params, studies[name])
    print(f"params.yaml is the study {name}; `dvc repro` runs it")
    data = _data_root(params)
    if data and not (root / data).exists():
        print(
            f"its photographs are not here yet: {data} does not exist; `mirl data check` says what is missing"
        )
    return 0


def _data_root(params: Path) -> str:
    """`data.root`, or nothing: whether a study is valid is not asked here."""
    try:
        return str(read_yaml(params)["data"]["root"])
    except (UserError, KeyError, TypeError):
        return ""


def listing(studies: dict[str, bytes], current: bytes | None) -> str:
    """A line a study: its name, a star where params.yaml is it, and the comment that its file begins with."""
    lines = []
    for name, content in studies.items():
        first = content.decode(errors="replace").partition("\n")[0]
        about = first.lstrip("# ") if first.startswith("#") else ""
        lines.append(f"{'*' if content == current else ' '} {name:10} {about}".rstrip())
    return "\n".join(lines)
