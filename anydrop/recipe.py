"""What it takes to draw a mask, as plain data."""

from __future__ import annotations

import math
from typing import NamedTuple

from anydrop import stream


class Window(NamedTuple):
    """Where an array lies inside a larger, global one: a chunk, a shard, a tile.

    Parameters
    ----------
    offset : tuple of int
        Global index of the array's first element, one entry an axis.
    shape : tuple of int
        Shape of the global array.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> whole = anydrop.dropout(np.ones((4, 6)), 0.5, seed=0)
    >>> tile = anydrop.Window(offset=(1, 2), shape=(4, 6))
    >>> part = anydrop.dropout(np.ones((3, 4)), 0.5, seed=0, window=tile)
    >>> bool((part == whole[1:, 2:]).all())
    True
    """

    offset: tuple[int, ...]
    shape: tuple[int, ...]


class Axis(NamedTuple):
    """An axis of a mask: how many elements, and how far their indices lie apart."""

    length: int
    stride: int


class Placement(NamedTuple):
    """The indices of a mask: ``first`` plus a multiple of ``stride`` along each axis."""

    first: int
    axes: tuple[Axis, ...]


def keep_shape(shape: tuple[int, ...], shared_axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a keep mask: that of the array, with length 1 along shared axes."""
    if not shared_axes:
        return shape
    return tuple(1 if a in shared_axes else n for a, n in enumerate(shape))


class Recipe(NamedTuple):
    """What it takes to draw a mask; see `anydrop.Mask`, which adds what a mask can do."""

    key: stream.Key
    step: int
    shape: tuple[int, ...]
    p: float
    scale: float
    shared_axes: tuple[int, ...] = ()
    window: Window | None = None

    @property
    def keep_shape(self) -> tuple[int, ...]:
        """Shape of the keep mask: `shape`, with length 1 along the shared axes."""
        return keep_shape(self.shape, self.shared_axes)

    @property
    def threshold(self) -> int:
        """The least word that survives."""
        return stream.threshold(self.p)

    @property
    def placement(self) -> Placement:
        """The logical indices of the elements of `keep_shape`, on as few axes as describe them.

        Axes of length 1 are gone and neighbours that run on are merged, so a plain mask has one
        axis of stride 1. The last axis always has stride 1.
        """
        if not self.shared_axes and self.window is None:
            return Placement(0, (Axis(math.prod(self.shape), 1),))
        shape = self.keep_shape
        extent, offset = self.window[::-1] if self.window else (self.shape, (0,) * len(shape))
        first, stride, axes = 0, 1, list[Axis]()
        for a in reversed(range(len(shape))):
            if a in self.shared_axes:
                continue
            first += offset[a] * stride
            if axes and stride == axes[-1].length * axes[-1].stride:
                axes[-1] = Axis(axes[-1].length * shape[a], axes[-1].stride)
            elif shape[a] != 1:
                axes.append(Axis(shape[a], stride))
            stride *= extent[a]
        if not axes or axes[0].stride != 1:
            axes.insert(0, Axis(1, 1))
        return Placement(first, tuple(reversed(axes)))
