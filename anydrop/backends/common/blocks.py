"""The mask of blocks, from the mask of the places where blocks begin, in any namespace."""

from __future__ import annotations

from anydrop.core.typing import Array, Namespace


def eroded(xp: Namespace, kept: Array, sizes: tuple[int, ...]) -> Array:
    """Return which elements no block covers.

    Parameters
    ----------
    xp : namespace
        Of the array API.
    kept : array of bool
        False where a block begins.
    sizes : tuple of int
        Lengths of a block along each axis, by which less one the result is shorter.
    """
    for axis, size in enumerate(sizes):
        # What a block of 2 n elements keeps, two of n side by side keep.
        reach = 1
        while reach < size:
            by = min(reach, size - reach)
            kept = xp.logical_and(_from(kept, axis, 0, -by), _from(kept, axis, by, None))
            reach += by
    return kept


def _from(x: Array, axis: int, start: int, stop: int | None) -> Array:
    part = [slice(None)] * x.ndim
    part[axis] = slice(start, stop)
    return x[tuple(part)]
