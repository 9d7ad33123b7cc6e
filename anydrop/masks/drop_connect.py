"""`DropConnectMask`: a mask of the weights for each example."""

from __future__ import annotations

from typing import NamedTuple

from anydrop.backends import resolve
from anydrop.backends.base import HALVES
from anydrop.core.recipe import Description
from anydrop.core.typing import Array
from anydrop.masks.mask import Mask
from anydrop.masks.stored import StoredMask


class _DropConnectMask(NamedTuple):
    mask: Mask | StoredMask


class DropConnectMask(_DropConnectMask, Description):
    """The mask of a copy of the weights for each example, described and not stored.

    Attributes
    ----------
    mask : Mask or StoredMask
        Of shape (examples, ...).
    """

    __slots__ = ()

    def keep(self, like: Array) -> Array:
        """Return the boolean keep mask of shape (examples, ...); see `Mask.keep`."""
        return self.mask.keep(like=like)

    def apply(self, gradient: Array) -> Array:
        """Return the gradient of the weights for that of their copies: a sum over the examples.

        Parameters
        ----------
        gradient : array of shape (examples, ...)
            Of any library.
        """
        backend = resolve(gradient)
        xp = backend.xp

        def summed(gradient: Array) -> Array:
            copies = self.mask.apply(gradient)
            dtype = copies.dtype
            if backend.dtype_name(copies) in HALVES:  # rounded once, not each sum
                copies = xp.astype(copies, xp.float32)
            return xp.astype(xp.sum(copies, axis=0), dtype, copy=False)

        def copied(gradient: Array) -> Array:
            return self.mask.apply(xp.broadcast_to(gradient, self.mask.shape))

        return backend.recompute(summed, copied, gradient)
