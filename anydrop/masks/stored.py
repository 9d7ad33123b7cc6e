"""`StoredMask`: a keep mask that a library's own generator drew."""

from __future__ import annotations

from sys import modules
from typing import Any, NamedTuple, Self

from anydrop.backends import introduce, resolve
from anydrop.backends.base import Backend
from anydrop.core.recipe import Affine, keep_shape
from anydrop.core.typing import Array
from anydrop.masks.mask import KeepMask


class _Stored(NamedTuple):
    bits: Array
    shape: tuple[int, ...]
    p: float
    scale: float
    shared_axes: tuple[int, ...] = ()


class StoredMask(_Stored, KeepMask):
    """Dropout mask that a generator drew, stored with one bit per element.

    `return_mask` returns one if you pass ``rng=``, since a generator can't draw its mask again. The
    bits stay in the library and on the device that drew them. `token_dropout` returns one, too.

    Attributes
    ----------
    bits : array of uint8
        The boolean mask in C order: eight elements per byte, the first in the lowest bit.
    shape : tuple of int
        Shape of the arrays that the mask applies to.
    p : float
        Drop probability.
    scale : float
        Factor of kept elements.
    shared_axes : tuple of int
        Axes along which elements are dropped together.

    See Also
    --------
    Mask : the recipe of a mask, which a seed draws.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> x, rng = np.ones(8), np.random.default_rng(0)
    >>> y, mask = anydrop.dropout(x, 0.5, rng=rng, return_mask=True)
    >>> bool((mask.apply(x) == y).all()), mask.bits.nbytes
    (True, 1)
    """

    __slots__ = ()

    def __new__(cls, *entries: Any, **by_name: Any) -> Self:
        """Make the tuple, and introduce it to JAX."""
        if "jax" in modules:
            introduce()
        return super().__new__(cls, *entries, **by_name)

    @property
    def keep_shape(self) -> tuple[int, ...]:
        """Shape of the boolean mask: `shape`, with length 1 along the shared axes."""
        return keep_shape(self.shape, self.shared_axes)

    def keep(self, like: Array) -> Array:
        """Return the boolean mask; see `Mask.keep`."""
        return resolve(like).unpack(self._bits(like), self.keep_shape, like)

    def _selected(self, backend: Backend, x: Array, affine: Affine, out: Array | None) -> Array:
        return backend.select_packed(x, self._bits(x), self.keep_shape, affine, out)

    def _bits(self, like: Array) -> Array:
        """Return the bits in the library and on the device of `like`."""
        home, backend = resolve(self.bits), resolve(like)
        if home is backend:
            return backend.move(self.bits, like)
        return backend.from_numpy(home.to_numpy(self.bits), like)
