"""`Mask`: a keep mask described by what it takes to draw it, and not stored."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterable, Sequence
from sys import modules
from typing import Any, Protocol, Self

import numpy as np

from anydrop.backends import introduce, resolve
from anydrop.backends.base import Backend
from anydrop.core import check, place, seeds, stream
from anydrop.core.recipe import Affine, Description, Recipe, Window, scaled
from anydrop.core.typing import Array


def digest(keep: np.ndarray[Any, Any]) -> str:
    """Return the SHA-256 of a keep mask, as `Mask.digest` defines it."""
    return hashlib.sha256(np.packbits(keep, bitorder="little").tobytes()).hexdigest()


class Differentiable(Protocol):
    """Anything whose `apply` computes a backward pass."""

    def apply(self, gradient: Array, /) -> Any:
        """Return the gradient of the input for that of the output."""


class Drawn(Differentiable, Protocol):
    """What a function's `return_mask` returns: it can be drawn again at any time."""

    def keep(self, like: Array) -> Array:
        """Return the boolean keep mask in the library and on the device of `like`."""


class KeepMask(Description, abc.ABC):
    """What all masks can do, given how each makes its keep mask."""

    __slots__ = ()

    shape: tuple[int, ...]
    scale: float

    def apply(self, x: Array, out: Array | None = None) -> Array:
        """Drop the same elements of another array, and scale the survivors alike.

        Dropout is linear and its own transpose, so this is its backward pass.

        Parameters
        ----------
        x : array of shape `shape`
            Floating-point array of any library, such as the gradient of the output.
        out : array, optional
            Where to write the result: shape, dtype, device and library of `x`.

        Returns
        -------
        array
            ``where(keep, x * scale, 0)``, with the shape, dtype, device and library of `x`.

        Raises
        ------
        TypeError
            If `x` is not a floating-point array of a known library.
        ValueError
            If `x` has another shape than the mask, or `out` does not match `x`.

        Examples
        --------
        >>> import numpy as np, anydrop
        >>> mask = anydrop.Mask.from_seed((7,), 0.5, seed=0)
        >>> mask.apply(np.ones(7))
        array([0., 2., 2., 2., 2., 2., 0.])
        """
        backend = resolve(x)
        backend.check_input(x)
        check.gradient_shape(backend.shape(x), self.shape)
        if out is not None:
            backend.check_out(out, x)
        if not self.drops:
            unchanged = self.scale == 1.0 and out is None
            return x if unchanged else backend.select(x, None, self.scale, out=out)
        return self.select(backend, x, scaled(self.scale), out)

    @property
    def drops(self) -> bool:
        """Whether an element may be dropped: not at ``p = 0``, where nothing needs to be drawn."""
        return True

    def select(self, backend: Backend, x: Array, affine: Affine, out: Array | None) -> Array:
        """Return what `Backend.select` makes of x with this mask; x and `out` are checked."""
        # Not into x itself, of which autograd may need to know first.
        direct = None if out is x else out

        def selected(x: Array) -> Array:
            return self._selected(backend, x, affine, direct)

        y = backend.recompute(selected, self.apply, x)
        return y if direct is out else backend.select(y, None, 1.0, out=out)

    def _selected(self, backend: Backend, x: Array, affine: Affine, out: Array | None) -> Array:
        return backend.select(x, self.keep(like=x), *affine, out)

    @abc.abstractmethod
    def keep(self, like: Array) -> Array:
        """Return the boolean keep mask in the library and on the device of `like`."""

    def digest(self, like: Array | None = None) -> str:
        """Return the SHA-256 of the keep mask, to compare machines and libraries.

        The hash is over the mask in C order, eight elements a byte, the first in the lowest bit,
        the last byte padded with zeros.

        Parameters
        ----------
        like : array, optional
            Draw the mask in this array's library and on its device; in NumPy by default.

        Returns
        -------
        str of 64 hexadecimal digits

        Examples
        --------
        >>> import anydrop
        >>> anydrop.Mask.from_seed((1000,), 0.1, seed=0).digest()[:16]
        '7b03f38c3dea3a53'
        """
        like = np.empty(0) if like is None else like
        return digest(resolve(like).to_numpy(self.keep(like)))


class Mask(Recipe, KeepMask):
    """A keep mask, described by what it takes to draw it: no element of it is stored.

    Two equal recipes give the same bits on every library, device, chunking, thread count and
    memory layout. Recipes are immutable, compare by value and can be pickled.

    Attributes
    ----------
    key : tuple of int
        The seed's 64-bit key, as two 32-bit words.
    step : int
        Which draw of that key.
    shape : tuple of int
        Shape of the arrays that it applies to.
    p : float
        Drop probability.
    scale : float
        What survivors are multiplied by.
    shared_axes : tuple of int
        Axes along which all elements share one fate.
    window : Window or None
        Where `shape` lies in a global array.

    See Also
    --------
    from_seed : makes one from a seed.
    """

    __slots__ = ()

    # What a named tuple does, and 10 ns to look for JAX.

    def __new__(
        cls,
        key: stream.Key,
        step: int | Array,
        shape: tuple[int, ...],
        p: float,
        scale: float,
        shared_axes: tuple[int, ...] = (),
        window: Window | None = None,
    ) -> Self:
        """Describe a mask by all that it consists of; see `from_seed`."""
        if "jax" in modules:
            introduce()
        return tuple.__new__(cls, (key, step, shape, p, scale, shared_axes, window))

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Self:  # type: ignore[override]
        if "jax" in modules:
            introduce()
        return tuple.__new__(cls, iterable)

    @property
    def drops(self) -> bool:
        """Whether an element may be dropped; see `KeepMask.drops`."""
        return self.p > 0

    def select(self, backend: Backend, x: Array, affine: Affine, out: Array | None) -> Array:
        """Return what `Backend.select` makes of x; it draws the mask of a recipe itself."""
        return backend.select(x, self, *affine, out)

    def keep(self, like: Array) -> Array:
        """Return the boolean keep mask, True where an element survives.

        Parameters
        ----------
        like : array
            Any array of the library and on the device where the mask is wanted.

        Returns
        -------
        array of bool, shape `keep_shape`

        Raises
        ------
        TypeError
            If `like` is no array of a known library.

        Examples
        --------
        >>> import numpy as np, anydrop
        >>> anydrop.Mask.from_seed((7,), 0.5, seed=0).keep(like=np.empty(0)).astype(int)
        array([0, 1, 1, 1, 1, 1, 0])
        """
        return resolve(like).keep(self, like)

    @classmethod
    def from_seed(
        cls,
        shape: Sequence[int],
        p: float,
        *,
        seed: stream.Seed | Sequence[int],
        step: int = 0,
        scale: float | None = None,
        shared_axes: int | Sequence[int] = (),
        window: Window | None = None,
    ) -> Mask:
        """Describe draw number `step` of `seed`.

        Parameters
        ----------
        shape : sequence of int
            Shape of the arrays that it applies to.
        p : float
            Drop probability, ``0 <= p < 1`` and at most ``1 - 2**-32``.
        seed : int, sequence of int or numpy.random.SeedSequence
            Ints must be >= 0 and of at most 4,300 decimal digits.
        step : int, default 0
            Which draw, ``0 <= step < 2**64``.
        scale : float, optional
            What survivors are multiplied by: ``1 / (1 - p)`` by default.
        shared_axes : int or tuple of int, optional
            Axes along which all elements share one fate.
        window : Window, optional
            Where `shape` lies in a global array. The whole by default.

        Returns
        -------
        Mask

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong kind or outside its range.

        Examples
        --------
        >>> import anydrop
        >>> mask = anydrop.Mask.from_seed((32, 3, 8, 8), 0.2, seed=1, step=5, shared_axes=(2, 3))
        >>> mask.keep_shape, mask.scale
        ((32, 3, 1, 1), 1.25)
        """
        p = check.probability(p)
        scale = 1.0 / (1.0 - p) if scale is None else check.number(scale, "scale")
        key, step = stream.key_of(seeds.checked(seed)), place.step(step)
        size = check.shape(shape)
        shared = check.shared_axes(shared_axes, len(size))
        if window is None:
            check.index_range(size)
        else:
            window = Window(*place.window(window, size))
            check.index_range(window.shape)
        return cls(key, step, size, p, scale, shared, window)
