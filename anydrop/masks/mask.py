"""`Mask`: the recipe of a keep mask."""

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
    """Return the SHA-256 of a keep mask; see `Mask.digest`."""
    return hashlib.sha256(np.packbits(keep, bitorder="little").tobytes()).hexdigest()


class Differentiable(Protocol):
    """Anything whose `apply` computes a backward pass."""

    def apply(self, gradient: Array, /) -> Any:
        """Return the gradient of the input, from that of the output."""


class Drawn(Differentiable, Protocol):
    """What `return_mask` returns: it can draw its mask again at any time."""

    def keep(self, like: Array) -> Array:
        """Return the boolean keep mask in the library and on the device of `like`."""


class KeepMask(Description, abc.ABC):
    """What all masks can do, once they can draw their keep mask."""

    __slots__ = ()

    shape: tuple[int, ...]
    scale: float

    def apply(self, x: Array, out: Array | None = None) -> Array:
        """Drop the same elements of another array, and scale the others.

        This is the backward pass of dropout: call it on the gradient of the output.

        Parameters
        ----------
        x : array of shape `shape`
            Floating-point array of any library, such as the gradient of the output.
        out : array, optional
            Where to write the result. It must have the shape, dtype, device and library of `x`, and
            may be `x` itself.

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
        """Whether an element may be dropped. At ``p = 0`` nothing needs to be drawn."""
        return True

    def select(self, backend: Backend, x: Array, affine: Affine, out: Array | None) -> Array:
        """Apply this mask by `Backend.select`; x and `out` are checked."""
        # Not into x itself, since autograd must see an operation in place.
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

        The hash is over the boolean mask in C order, packed to bytes: eight elements per byte, the
        first in the lowest bit, and zeros at the end of the last byte.

        Parameters
        ----------
        like : array, optional
            Draw the mask in the library and on the device of this array. By default NumPy draws it.

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
    """Recipe of a dropout mask: a few numbers that draw it, with no array stored.

    `return_mask` returns one, a layer has the last one as its `recipe`, and `from_seed` makes one.
    Use it for a backward pass of your own (`apply`), to look at a mask (`keep`), and to compare
    masks between machines (`digest`).

    Equal recipes draw the same mask on every library, device and memory layout, with any chunks and
    any number of threads. Recipes are immutable tuples, compare by value and can be pickled.

    Attributes
    ----------
    key : tuple of int
        The 64-bit key of the seed, as two 32-bit integers.
    step : int
        Step of the seed.
    shape : tuple of int
        Shape of the arrays that the mask applies to.
    p : float
        Drop probability.
    scale : float
        Factor of kept elements.
    shared_axes : tuple of int
        Axes along which elements are dropped together.
    window : Window or None
        Where `shape` lies in a larger array, if it does.

    See Also
    --------
    StoredMask : the mask of a generator given as ``rng=``.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> x = np.asarray([1.0, 2.0, 3.0, 4.0])
    >>> y, mask = anydrop.dropout(x, 0.5, seed=0, step=7, return_mask=True)
    >>> mask.keep(like=x)
    array([ True,  True,  True, False])
    >>> mask.apply(np.asarray([0.1, 0.2, 0.3, 0.4]))
    array([0.2, 0.4, 0.6, 0. ])
    """

    __slots__ = ()

    # The same as a named tuple's, and 10 ns to look for JAX.

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
        """Make a recipe of all its parts; `from_seed` checks them."""
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
        """Apply this mask by `Backend.select`, which draws it."""
        return backend.select(x, self, *affine, out)

    def keep(self, like: Array) -> Array:
        """Return the boolean mask, True where an element is kept.

        Parameters
        ----------
        like : array
            Any array of the library and on the device where the mask should be.

        Returns
        -------
        array of bool, shape `keep_shape`

        Raises
        ------
        TypeError
            If `like` is not an array of a known library.

        Examples
        --------
        >>> import numpy as np, anydrop
        >>> mask = anydrop.Mask.from_seed((7,), 0.5, seed=0)
        >>> mask.keep(like=np.empty(0)).astype(int)
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
        """Return the recipe of the mask that a step of a seed draws.

        Parameters
        ----------
        shape : sequence of int
            Shape of the arrays that the mask applies to.
        p : float
            Drop probability, ``0 <= p < 1`` and at most ``1 - 2**-32``.
        seed : int, sequence of int or numpy.random.SeedSequence
            Seed of the masks. Ints must be >= 0, with at most 4,300 decimal digits.
        step : int, default 0
            Step of the seed, ``0 <= step < 2**64``.
        scale : float, optional
            Factor of kept elements. By default ``1 / (1 - p)``.
        shared_axes : int or sequence of int, optional
            Axes along which elements are dropped together. Negative axes count from the end.
        window : Window, optional
            Where `shape` lies in a larger array. By default it is the whole array.

        Returns
        -------
        Mask

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or is out of range.

        Examples
        --------
        >>> import anydrop
        >>> shape = (32, 3, 8, 8)
        >>> mask = anydrop.Mask.from_seed(shape, 0.2, seed=1, step=5, shared_axes=(2, 3))
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
