"""A whole model at once: `convert`, `revert`, and `remaining`, which names what is left."""

from anydrop.torch.conversion.convert import convert, revert
from anydrop.torch.conversion.remaining import RandomCall, Remaining, remaining
from anydrop.torch.conversion.table import Conversion, Place

__all__ = ["Conversion", "Place", "RandomCall", "Remaining", "convert", "remaining", "revert"]
