"""What it takes to draw a mask, as plain data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

from anydrop.core import place, stream

if TYPE_CHECKING:
    from anydrop.core.typing import Array


class Window(NamedTuple):
    """Where an array lies inside a larger, global one: a chunk, a shard, a tile.

    Parameters
    ----------
    offset : tuple of int
        Global index of the array's first element, one entry an axis. Where a compiler traces the
        call, entries may be integer scalar arrays of its library.
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

    offset: tuple[int | Array, ...]
    shape: tuple[int, ...]


class Description(tuple[Any, ...]):
    """A tuple that describes what can be drawn again: a mask, blocks of one, noise.

    Its entries are plain data, other descriptions, and the bits of a mask that is stored. By this
    class backends know what compilers are to take apart.
    """

    __slots__ = ()

    #: NumPy then calls the operators below.
    __array_ufunc__ = None

    def __mul__(self, other: object) -> NoReturn:
        """Refuse what is meant for an array."""
        raise TypeError(
            f"this {type(self).__name__} is a description, not an array: mask.apply(x) drops and "
            "scales, and mask.keep(like=x) is the boolean array"
        )

    __rmul__ = __mul__


class Affine(NamedTuple):
    """What becomes of an element: ``x * scale + shift`` if it is kept, else `fill`.

    A shift of None is none: one of 0.0 would turn -0 into +0.
    """

    scale: float
    shift: float | None = None
    fill: float = 0.0


def scaled(scale: float) -> Affine:
    """Return what is scaled if it is kept, and else set to 0."""
    # Literals: of the class's own defaults PyTorch's compiler may make symbols.
    return Affine(scale, None, 0.0)


UNCHANGED = scaled(1.0)


class Axis(NamedTuple):
    """An axis of a mask: how many elements, and how far their indices lie apart."""

    length: int
    stride: int


class Placement(NamedTuple):
    """The indices of a mask: ``first`` plus a multiple of ``stride`` along each axis."""

    first: int
    axes: tuple[Axis, ...]

    @property
    def rows(self) -> tuple[tuple[Axis, ...], int, int]:
        """The outer axes, how many indices run on in each row, and how many elements share each."""
        *outer, last = self.axes
        if last.stride:
            return tuple(outer), last.length, 1
        return tuple(outer[:-1]), outer[-1].length, last.length


def keep_shape(shape: tuple[int, ...], shared_axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a keep mask: that of the array, with length 1 along shared axes."""
    if not shared_axes:
        return shape
    return tuple(1 if a in shared_axes else n for a, n in enumerate(shape))


class Recipe(NamedTuple):
    """What it takes to draw a mask; see `anydrop.Mask`, which adds what a mask can do."""

    key: stream.Key
    step: int | Array
    shape: tuple[int, ...]
    p: float
    scale: float
    shared_axes: tuple[int, ...] = ()
    window: Window | None = None

    def at(self, key: stream.Key, step: int, first: int = 0) -> Self:
        """Return the recipe of another draw, whose window begins at the index `first`."""
        if self.window is None:
            return self._replace(key=key, step=step)
        offset = list[int]()
        for stride in self.strides:  # along shared axes any place is the same one
            place, first = divmod(first, stride) if stride else (0, first)
            offset.append(place)
        window = self.window._replace(offset=tuple(offset))
        return self._replace(key=key, step=step, window=window)

    @property
    def keep_shape(self) -> tuple[int, ...]:
        """Shape of the keep mask: `shape`, with length 1 along the shared axes."""
        return keep_shape(self.shape, self.shared_axes)

    @property
    def threshold(self) -> int:
        """The least word that survives."""
        return stream.threshold(self.p)

    @property
    def step_words(self) -> stream.Words:
        """The step as its low and high 32 bits. A traced one, of unknown value, is refused."""
        return stream.halves(place.known_step(self.step))

    @property
    def strides(self) -> tuple[int, ...]:
        """How far the logical indices of neighbours lie apart along each axis; 0 if shared."""
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
        """The logical indices of the elements of `keep_shape`, on as few axes as describe them.

        Axes of length 1 are gone and neighbours that run on are merged, so a plain mask has one
        axis of stride 1. The last axis always has stride 1. A window whose offset is traced, and
        so of unknown value, is refused.
        """
        return self._placed(self.keep_shape)

    @property
    def spread(self) -> Placement:
        """The logical indices of the elements of `shape`: `placement`, with the shared axes.

        Their stride is 0. After the last axis of stride 1 there may be one of them.
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
