"""`StoredMask`: a keep mask that a library's own generator drew, one bit an element."""

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
    """A keep mask drawn by a library's own generator, which can't draw it again.

    It is kept as one bit an element, in the library and on the device that drew it.

    Attributes
    ----------
    bits : array of uint8
        The keep mask in C order, eight elements a byte, the first in the lowest bit.
    shape : tuple of int
        Shape of the arrays that it applies to.
    p : float
        Drop probability.
    scale : float
        What survivors are multiplied by.
    shared_axes : tuple of int
        Axes along which all elements share one fate.
    """

    __slots__ = ()

    def __new__(cls, *entries: Any, **by_name: Any) -> Self:
        """Make the tuple, and see to it that JAX knows it."""
        if "jax" in modules:
            introduce()
        return super().__new__(cls, *entries, **by_name)

    @property
    def keep_shape(self) -> tuple[int, ...]:
        """Shape of the keep mask: `shape`, with length 1 along the shared axes."""
        return keep_shape(self.shape, self.shared_axes)

    def keep(self, like: Array) -> Array:
        """Return the boolean keep mask; see `Mask.keep`."""
        return resolve(like).unpack(self._bits(like), self.keep_shape, like)

    def _selected(self, backend: Backend, x: Array, affine: Affine, out: Array | None) -> Array:
        return backend.select_packed(x, self._bits(x), self.keep_shape, affine, out)

    def _bits(self, like: Array) -> Array:
        """Return the bits in the library and on the device of `like`."""
        home, backend = resolve(self.bits), resolve(like)
        if home is backend:
            return backend.move(self.bits, like)
        return backend.from_numpy(home.to_numpy(self.bits), like)
