"""Data sets of the paper (MIR-L, arXiv 2510.14463): their places, sizes and the pages of their authors."""

from collections.abc import Mapping
from dataclasses import dataclass

BERKELEY = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/bsds/"
WATERLOO = "https://ece.uwaterloo.ca/~k29ma/exploration/"
URBAN = "https://github.com/jbhuang0604/SelfExSR"
RAIN = "https://www.icst.pku.edu.cn/struct/Projects/joint_rain_removal.html"
RESIDE = "https://sites.google.com/view/reside-dehaze-datasets/reside-v0"


@dataclass(frozen=True)
class PublishedSet:
    """One data set of the paper and its place in the authors' layout."""

    place: str
    count: int
    """Number of pictures, or of pairs if the task has pairs."""
    page: str
    """Web page of the people who made the set."""
    other_names: tuple[str, ...] = ()
    """Other names that the folder of the set may have."""

    def holds(self, place: str) -> bool:
        """Return whether a folder of the layout, such as train/denoise/WED, belongs to this set."""
        group, _, own = self.place.rpartition("/")
        return place.casefold() in {f"{group}/{name}".casefold() for name in (own, *self.other_names)}


PAPER = (
    PublishedSet("train/denoise/BSD400", 400, BERKELEY),
    PublishedSet("train/denoise/WED", 4744, WATERLOO),
    PublishedSet("train/derain/Rain100L", 200, RAIN, ("Train100L", "RainTrainL", "Rain200L")),
    PublishedSet("train/dehaze/OTS", 72_135, RESIDE),
    PublishedSet("test/denoise/BSD68", 68, BERKELEY, ("CBSD68",)),
    PublishedSet("test/denoise/Urban100", 100, URBAN),
    PublishedSet("test/derain/Rain100L", 100, RAIN),
    PublishedSet("test/dehaze/SOTS", 500, RESIDE, ("SOTS-outdoor",)),
)


def beside_the_paper(found: Mapping[str, int]) -> list[str]:
    """Return a line for each set of the paper, then a line for each set that is not in the paper.

    A line has the count found and, if it differs, the paper's count and the set's page. `found`: folder of the layout
    -> usable pictures or pairs in it. A study may have other data, so a difference is no error.
    """
    lines = []
    for item in PAPER:
        count = sum(number for place, number in found.items() if item.holds(place))
        if count == item.count:
            said = "as in the paper"
        else:
            said = f"the paper has {item.count:,}; " + ("from" if count else "get it from") + f" {item.page}"
        lines.append(f"  {item.place:24} {count:6,}  {said}")
    for place, count in sorted(found.items()):
        if not any(item.holds(place) for item in PAPER):
            lines.append(f"  {place:24} {count:6,}  not in the paper")
    return lines
