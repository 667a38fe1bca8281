"""Which mask is used at run time."""

from typing import Literal

from mirl.config import Section


class Routing(Section):
    """The one mask, for every image."""

    kind: Literal["static"] = "static"


ROUTINGS: dict[str, type[Routing]] = {"static": Routing}
"""`kind` in a ticket's header -> what reads it. A reader refuses kinds that are not here."""
