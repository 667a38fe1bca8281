"""What every restoration network promises to the code that trains, prunes and runs it."""

from typing import ClassVar

from torch import nn

from mirl.config import Section


class Network(nn.Module):
    """A restoration network: float BCHW in, the same shape out, not clamped; it is built from its `Options`.

    Height and width are multiples of `multiple` (in pixels). Every layer it declares is used in `forward`, so
    counts over its parameters are counts over what works.
    """

    Options: ClassVar[type[Section]]
    multiple: int
