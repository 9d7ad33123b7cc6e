"""Where the elements of two arrays and of a mask lie, on as few axes as tell."""

from __future__ import annotations

from typing import NamedTuple

from anydrop.core.typing import Array


class Step(NamedTuple):
    """An axis: its length, and what a step along it adds to the index and to places in memory.

    Those are counted in whatever the strides are, bytes or elements.
    """

    length: int
    mask: int
    x: int
    y: int


def merged(
    shape: tuple[int, ...], mask: tuple[int, ...], x: tuple[int, ...], y: tuple[int, ...]
) -> list[Step]:
    """Return the axes in C order, without those of length 1; those that run on are one.

    Parameters
    ----------
    shape : tuple of int
        Of the arrays.
    mask, x, y : tuple of int
        Strides of the mask's indices and of two arrays in memory, 0 where an axis shares its
        elements.
    """
    axes = list[Step]()
    for length, *steps in reversed(list(zip(shape, mask, x, y, strict=True))):
        if length == 1:
            continue
        if axes and steps == [axes[0].length * step for step in axes[0][1:]]:
            axes[0] = axes[0]._replace(length=axes[0].length * length)
        else:
            axes.insert(0, Step(length, *steps))
    return axes


def forbid_broadcast(out: Array) -> None:
    """Refuse an `out` with elements that share memory."""
    steps = zip(out.shape, out.strides, strict=True)
    if out.size and any(n > 1 and stride == 0 for n, stride in steps):
        raise ValueError("out must have memory of its own for every element, got a broadcast")
