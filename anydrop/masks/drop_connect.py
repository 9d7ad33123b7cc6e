"""`DropConnectMask`: a mask of the weights for each example."""

from __future__ import annotations

from typing import NamedTuple

from anydrop.backends import resolve
from anydrop.core import check
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
        backend, mask = resolve(gradient), self.mask
        backend.check_input(gradient)
        check.gradient_shape(backend.shape(gradient), mask.shape)
        to = mask.shape[1:], backend.dtype_name(gradient)

        def summed(gradient: Array) -> Array:
            if isinstance(mask, Mask) and mask.drops:
                return backend.sum_selected(gradient, mask, mask.scale, *to)
            return backend.sum_to(mask.apply(gradient), *to)

        def copied(gradient: Array) -> Array:
            return mask.apply(backend.xp.broadcast_to(gradient, mask.shape))

        return backend.recompute(summed, copied, gradient)
