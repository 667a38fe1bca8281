"""A network of a user's own, as it stands in the folder of a study, and what tells whether code was run."""

from pathlib import Path

NAME = "mynets.unet:TinyUNet"

UNET = (Path(__file__).parents[1] / "docs" / "studies.md").read_text().split("```python\n")[1].split("```")[0]
"""The one that docs/studies.md shows."""

TRACE = """from pathlib import Path

Path(__file__).with_suffix(".ran").touch()
"""
"""Code that leaves a file behind where it is imported."""


def write_network(folder: Path, text: str = UNET) -> Path:
    """Write `mynets/unet.py` below `folder`."""
    path = folder / "mynets" / "unet.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
