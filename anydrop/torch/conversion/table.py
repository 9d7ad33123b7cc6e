"""`Conversion`: the table of what was converted and what was left."""

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
    """A place in a model that drops: one row of a `Conversion`."""

    #: Name of the module that draws, as `anydrop.seed_layers` gives it. It lacks the prefix of a
    #: wrapper such as ``DistributedDataParallel``. If the place was left, name of the module that
    #: drops or that calls the function.
    name: str
    #: The class or function before.
    was: str
    #: The class or function after, the same as before if the place was left.
    now: str
    #: Drop probability, or None if the model's code passes it at each call.
    p: float | None
    #: Why the place was left, or an empty string if it was converted.
    left: str = ""


class Conversion(tuple[Place, ...]):
    """The result of `convert`: a tuple of `Place`, which prints as a table.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> model = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Dropout(0.2))
    >>> done = anydrop.torch.convert(model, where=lambda name, module: name != "1")
    >>> done
    place  was      is       p    left, since
    0      Dropout  Dropout  0.5
    1      Dropout  Dropout  0.2  where= leaves it out
    >>> [place.name for place in done.left]
    ['1']
    """

    __slots__ = ()

    @property
    def converted(self) -> Self:
        """The places that draw anydrop's masks now, as another `Conversion`."""
        return type(self)(place for place in self if not place.left)

    @property
    def left(self) -> Self:
        """The places that were left as they were, as another `Conversion`."""
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
