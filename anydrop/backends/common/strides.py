"""Describes where the elements of arrays and of a mask lie, with as few axes as possible."""

from __future__ import annotations

from typing import NamedTuple

from anydrop.core.typing import Array


class MergedAxis(NamedTuple):
    """An axis: its length, and what a step adds to the index and to the place in each array."""

    length: int
    mask: int
    steps: tuple[int, ...]


def merged(
    shape: tuple[int, ...], mask: tuple[int, ...], *arrays: tuple[int, ...]
) -> list[MergedAxis]:
    """Return the axes in C order. Axes of length 1 are left out, contiguous ones are merged.

    Parameters
    ----------
    shape : tuple of int
        Shape of the arrays.
    mask : tuple of int
        Strides of the mask's indices, 0 along a shared axis.
    *arrays : tuple of int
        Strides of each array, all in bytes or all in elements.
    """
    return [MergedAxis(n, step, tuple(steps)) for n, step, *steps in joined(shape, mask, *arrays)]


def joined(shape: tuple[int, ...], *strides: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the axes as `merged` does, each as a tuple of its length and its steps."""
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
    """Raise if elements of `out` share memory."""
    steps = zip(out.shape, out.strides, strict=True)
    if out.size and any(n > 1 and stride == 0 for n, stride in steps):
        raise ValueError("out must have memory of its own for every element, got a broadcast array")
