"""`Conversion`: the table of what was converted, and what was left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self


def lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as text."""
    table = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in table
    )
    return "\n".join(line.rstrip() for line in padded)


class Place(NamedTuple):
    """A dropout of a model.

    Attributes
    ----------
    name : str
        The name in the model of the module that draws, as `anydrop.seed_layers` gives it: without
        the prefix of a wrapper such as ``DistributedDataParallel``. Of what was left, the name of
        the module that drops, or that calls a function.
    was, now : str
        The class or function before and after. They are the same if it was left.
    p : float or None
        Its drop probability, where it can be told before it is called.
    left : str
        Why it was left as it was; empty if it was converted.
    """

    name: str
    was: str
    now: str
    p: float | None
    left: str = ""


class Conversion(tuple[Place, ...]):
    """What `convert` did: a tuple of `Place`, which prints as a table."""

    __slots__ = ()

    @property
    def converted(self) -> Self:
        """The places that draw anydrop's masks now."""
        return type(self)(place for place in self if not place.left)

    @property
    def left(self) -> Self:
        """The places that were left as they were."""
        return type(self)(place for place in self if place.left)

    def __repr__(self) -> str:
        if not self:
            return (
                "No dropout was found. anydrop.torch.remaining(model, *inputs) runs it to be sure."
            )
        rows = [
            (
                place.name,
                place.was,
                place.now,
                "" if place.p is None else f"{place.p:g}",
                place.left,
            )
            for place in self
        ]
        return lines(("place", "was", "is", "p", "left, since"), rows)
