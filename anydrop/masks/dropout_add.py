"""`DropoutAddMask`: the mask of a residual sum."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from anydrop.backends import resolve
from anydrop.backends.base import Backend
from anydrop.core.recipe import Description
from anydrop.core.typing import Array
from anydrop.masks.mask import Mask
from anydrop.masks.stored import StoredMask


class _DropoutAddMask(NamedTuple):
    mask: Mask | StoredMask
    dtype: str
    bias: tuple[tuple[int, ...], str] | None = None


class DropoutAddMask(_DropoutAddMask, Description):
    """Recipe of the mask of `dropout_add`, with no array stored.

    Attributes
    ----------
    mask : Mask or StoredMask
        Mask of the input `x`.
    dtype : str
        Name of the dtype of `x`.
    bias : tuple of (tuple of int, str), or None
        Shape of the bias and name of its dtype, if there was one.

    See Also
    --------
    Mask : the mask of plain dropout.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> x, residual = np.ones((2, 3)), np.zeros((2, 3))
    >>> y, mask = anydrop.dropout_add(
    ...     x, residual, 0.5, bias=np.ones(3), seed=0, step=0, return_mask=True
    ... )
    >>> dx, dresidual, dbias = mask.apply(np.ones((2, 3)))
    >>> dbias
    array([2., 4., 4.])
    """

    __slots__ = ()

    @classmethod
    def of(cls, mask: Mask | StoredMask, backend: Backend, x: Array, bias: Array | None) -> Self:
        """Return the recipe of a sum, given the mask of x."""
        described = None if bias is None else (tuple(bias.shape), backend.dtype_name(bias))
        return cls(mask, backend.dtype_name(x), described)

    def add(
        self, backend: Backend, x: Array, residual: Array, bias: Array | None, out: Array | None
    ) -> Array:
        """Compute the sum by `Backend.select_add`; the arrays are checked."""
        mask = self.mask
        if not mask.drops:
            return backend.select_add(x, residual, None, mask.scale, bias, out)
        if isinstance(mask, Mask):
            return backend.select_add(x, residual, mask, mask.scale, bias, out)

        def added(x: Array, residual: Array, bias: Array | None = None) -> Array:
            return backend.select_add(x, residual, mask.keep(like=x), mask.scale, bias)

        arrays = (x, residual) if bias is None else (x, residual, bias)
        y = backend.recompute(added, self.apply, *arrays)
        return y if out is None else backend.select(y, None, 1.0, out=out)

    def keep(self, like: Array) -> Array:
        """Return the boolean mask, True where an element of `x` was kept; see `Mask.keep`."""
        return self.mask.keep(like=like)

    def apply(self, gradient: Array) -> Any:
        """Return the gradients of `x`, of the residual and of the bias, from that of the result.

        Parameters
        ----------
        gradient : array
            Gradient of the result, with the shape of `x`, of any library.

        Returns
        -------
        tuple of array
            The gradient of `x` is ``where(keep, gradient * scale, 0)``, in the dtype of `x`. That
            of the residual is `gradient` itself. If there was a bias, its gradient is the sum of
            the first one, in the shape and dtype of the bias. It is summed in pairs, half types in
            float32, and has the same bits on every library but Dask.

        Raises
        ------
        TypeError
            If `gradient` is not a floating-point array of a known library.
        ValueError
            If it has another shape, or is complex and `x` was real.
        """
        backend = resolve(gradient)
        dx = self.mask.apply(gradient)
        name = backend.dtype_name(gradient)
        if name != self.dtype:
            if name.startswith("complex") and not self.dtype.startswith("complex"):
                raise ValueError(
                    f"the gradient must be real, since x was real, got an array of dtype {name}"
                )
            dx = backend.sum_to(dx, self.mask.shape, self.dtype)  # only changes the dtype
        if self.bias is None:
            return dx, gradient
        return dx, gradient, backend.sum_to(dx, *self.bias)
