"""Contract of every restoration network with the code that trains, prunes and runs it."""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from mirl.config import Section

LEVELS = 6
"""Largest number of levels of a network; with each level the smallest picture that it takes doubles, and so do its
channels."""
Blocks = Annotated[int, Field(ge=0, le=256)]
"""Number of blocks of a level."""
Channels = Annotated[int, Field(ge=1, le=4096)]
"""Number of channels at the finest level, or of a prompt."""
Side = Annotated[int, Field(ge=1, le=256)]
"""Height and width of a prompt, or the number of prompt components."""


class Network(nn.Module):
    """A restoration network: float BCHW in, the same shape out, not clamped; it is built from its `Options`.

    Height and width are multiples of `multiple` (in pixels); those of the output are `scale` times as large. Every layer it
    declares is used in `forward`, so counts over its parameters are counts over what works.
    """

    Options: ClassVar[type[Section]]
    multiple: int
    scale: int = 1
    widths: ClassVar[tuple[str, ...]] = ()
    """Names of those options that make layers wider and change nothing else; empty: it cannot be widened."""
    gated: ClassVar[tuple[str, ...]] = ()
    """Names of the layers whose outputs a gate takes apart into two halves."""
