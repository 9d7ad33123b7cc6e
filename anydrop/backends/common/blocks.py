"""Makes the mask of blocks from the mask of the places where blocks begin, in any namespace."""

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
        Lengths of a block along each axis. The result is shorter by the length less one.
    """
    for axis, size in enumerate(sizes):
        for by in distances(size):
            kept = xp.logical_and(_from(kept, axis, 0, -by), _from(kept, axis, by, None))
    return kept


def distances(size: int) -> list[int]:
    """Return the distances at which pairs of elements are combined, one distance after another.

    A block of 2 n elements is two blocks of n side by side, so the number of distances grows only
    with the logarithm of `size`.
    """
    found: list[int] = []  # and not list[int](), which no compiler of PyTorch traces
    reach = 1
    while reach < size:
        found.append(min(reach, size - reach))
        reach += found[-1]
    return found


def _from(x: Array, axis: int, start: int, stop: int | None) -> Array:
    part = [slice(None)] * x.ndim
    part[axis] = slice(start, stop)
    return x[tuple(part)]
