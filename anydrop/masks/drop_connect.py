"""`DropConnectMask`: one mask of the weights for each example."""

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
    """Recipe of the masks of `drop_connect` with ``examples=``, with no array stored.

    Attributes
    ----------
    mask : Mask or StoredMask
        Mask of shape (examples, ...).

    See Also
    --------
    Mask : the mask of plain dropout.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> weights = np.ones((2, 3))
    >>> y, mask = anydrop.drop_connect(
    ...     weights, 0.5, examples=4, seed=0, step=0, return_mask=True
    ... )
    >>> mask.apply(np.ones((4, 2, 3)))  # the sum over the examples
    array([[2., 6., 6.],
           [4., 6., 6.]])
    """

    __slots__ = ()

    def keep(self, like: Array) -> Array:
        """Return the boolean mask, of shape (examples, ...); see `Mask.keep`."""
        return self.mask.keep(like=like)

    def apply(self, gradient: Array) -> Array:
        """Return the gradient of the weights, from the gradient of their copies.

        It is the sum over the examples.

        Parameters
        ----------
        gradient : array of shape (examples, ...)
            Gradient of the copies, of any library.

        Returns
        -------
        array
            Gradient of the weights, with the dtype, library and device of `gradient`.
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
