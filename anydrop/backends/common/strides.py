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
    return [Step(*axis) for axis in joined(shape, mask, x, y)]


def joined(shape: tuple[int, ...], *strides: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the axes as `merged` does, of any number of arrays: the length, then the steps."""
    axes = list[tuple[int, ...]]()
    for length, *steps in reversed(list(zip(shape, *strides, strict=True))):
        if length == 1:
            continue
        if axes and steps == [axes[0][0] * step for step in axes[0][1:]]:
            axes[0] = (axes[0][0] * length, *axes[0][1:])
        else:
            axes.insert(0, (length, *steps))
    return axes


def forbid_broadcast(out: Array) -> None:
    """Refuse an `out` with elements that share memory."""
    steps = zip(out.shape, out.strides, strict=True)
    if out.size and any(n > 1 and stride == 0 for n, stride in steps):
        raise ValueError("out must have memory of its own for every element, got a broadcast")
