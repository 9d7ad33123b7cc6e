"""Recipes: what it takes to draw a mask, as plain data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

from anydrop.core import place, stream

if TYPE_CHECKING:
    from anydrop.core.typing import Array


class Window(NamedTuple):
    """Where an array lies in a larger one, of which it is a chunk, a shard or a tile.

    Pass it as ``window=``. The array is then dropped exactly like that part of the larger array, so
    each process can draw the mask of its own part.

    Parameters
    ----------
    offset : tuple of int
        Index of the array's first element in the larger array, one entry per axis. In a compiled
        function, entries may be integer scalar arrays of that library.
    shape : tuple of int
        Shape of the larger array.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> whole = anydrop.dropout(np.ones((4, 6)), 0.5, seed=0)
    >>> tile = anydrop.Window(offset=(1, 2), shape=(4, 6))
    >>> part = anydrop.dropout(np.ones((3, 4)), 0.5, seed=0, window=tile)
    >>> bool((part == whole[1:, 2:]).all())
    True
    """

    offset: tuple[int | Array, ...]
    shape: tuple[int, ...]


class Description(tuple[Any, ...]):
    """A tuple that describes a mask, or noise, that can be drawn again.

    Its entries are plain data, other descriptions, and the bits of a stored mask. Backends know by
    this class what compilers should treat as a tree of arrays.
    """

    __slots__ = ()

    #: So NumPy calls the operators below.
    __array_ufunc__ = None

    def __mul__(self, other: object) -> NoReturn:
        """Refuse to be multiplied like an array."""
        raise TypeError(
            f"{type(self).__name__} is a recipe, not an array: use mask.apply(x) to drop and "
            "scale, or mask.keep(like=x) for the boolean array"
        )

    __rmul__ = __mul__


class Affine(NamedTuple):
    """How elements change: ``x * scale + shift`` if kept, else `fill`.

    A shift of None adds nothing; adding 0.0 would turn -0 into +0.
    """

    scale: float
    shift: float | None = None
    fill: float = 0.0


def scaled(scale: float) -> Affine:
    """Return the map that scales kept elements, and sets others to 0."""
    # Literals, since PyTorch's compiler may turn the class's defaults into symbols.
    return Affine(scale, None, 0.0)


UNCHANGED = scaled(1.0)


class Axis(NamedTuple):
    """An axis of a mask: its number of elements, and the distance of their indices."""

    length: int
    stride: int


class Placement(NamedTuple):
    """The indices of a mask: ``first`` plus multiples of ``stride`` along each axis."""

    first: int
    axes: tuple[Axis, ...]

    @property
    def rows(self) -> tuple[tuple[Axis, ...], int, int]:
        """The outer axes, the number of indices in a row, and how many elements share each."""
        *outer, last = self.axes
        if last.stride:
            return tuple(outer), last.length, 1
        return tuple(outer[:-1]), outer[-1].length, last.length


def keep_shape(shape: tuple[int, ...], shared_axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a keep mask: the array's, with length 1 along shared axes."""
    if not shared_axes:
        return shape
    return tuple(1 if a in shared_axes else n for a, n in enumerate(shape))


class Recipe(NamedTuple):
    """What it takes to draw a mask. `anydrop.Mask` adds the methods of a mask."""

    key: stream.Key
    step: int | Array
    shape: tuple[int, ...]
    p: float
    scale: float
    shared_axes: tuple[int, ...] = ()
    window: Window | None = None

    def at(self, key: stream.Key, step: int, first: int = 0) -> Self:
        """Return the recipe of another draw, whose window begins at index `first`."""
        if self.window is None:
            return self._replace(key=key, step=step)
        offset = list[int]()
        for stride in self.strides:  # along shared axes every place is the same
            place, first = divmod(first, stride) if stride else (0, first)
            offset.append(place)
        window = self.window._replace(offset=tuple(offset))
        return self._replace(key=key, step=step, window=window)

    @property
    def keep_shape(self) -> tuple[int, ...]:
        """Shape of the boolean mask: `shape`, with length 1 along the shared axes."""
        return keep_shape(self.shape, self.shared_axes)

    @property
    def threshold(self) -> int:
        """An element is kept if its 32 random bits, as an int, are at least this."""
        return stream.threshold(self.p)

    @property
    def step_words(self) -> stream.Words:
        """The low and high 32 bits of the step. A traced step, of unknown value, is refused."""
        return stream.halves(place.known_step(self.step))

    @property
    def strides(self) -> tuple[int, ...]:
        """Distance of neighbours' indices in the stream along each axis; 0 if shared."""
        stride = 1
        strides: list[int] = []  # torch.compile can't follow list[int]()
        extent = self.window.shape if self.window else self.shape
        for a in reversed(range(len(extent))):
            shared = a in self.shared_axes
            strides.append(0 if shared else stride)
            stride *= 1 if shared else extent[a]
        return tuple(reversed(strides))

    @property
    def placement(self) -> Placement:
        """Indices in the stream of the elements of `keep_shape`, on as few axes as possible.

        Axes of length 1 are left out and contiguous axes are merged, so a plain mask has one axis
        of stride 1. The last axis always has stride 1. A window with a traced offset, of unknown
        value, is refused.
        """
        return self._placed(self.keep_shape)

    @property
    def spread(self) -> Placement:
        """Indices in the stream of the elements of `shape`: `placement` with the shared axes.

        These have stride 0. One of them may follow the last axis of stride 1.
        """
        return self._placed(self.shape)

    def _placed(self, shape: tuple[int, ...]) -> Placement:
        if not self.shared_axes and self.window is None:
            return Placement(0, (Axis(math.prod(shape), 1),))
        strides = self.strides
        known = self if place.is_known(self) else place.known(self._replace(step=0))
        offset = known.window.offset if known.window else ()
        first = sum(o * stride for o, stride in zip(offset, strides, strict=False))
        axes = list[Axis]()
        for length, stride in zip(reversed(shape), reversed(strides), strict=True):
            if axes and stride == axes[-1].length * axes[-1].stride:
                axes[-1] = Axis(axes[-1].length * length, axes[-1].stride)
            elif length != 1:
                axes.append(Axis(length, stride))
        shared = bool(axes) and axes[0].stride == 0
        if len(axes) == shared or axes[shared].stride != 1:
            axes.insert(shared, Axis(1, 1))
        return Placement(first, tuple(reversed(axes)))
