"""`DropoutAddMask`: the mask of a residual sum, and what its gradients need beside the mask."""

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
    """The mask of a residual sum, described and not stored.

    Attributes
    ----------
    mask : Mask or StoredMask
        True where an element of `x` was kept.
    dtype : str
        Name of the dtype of `x`.
    bias : tuple of (tuple of int, str), or None
        Shape and name of the dtype of the bias, if there was one.
    """

    __slots__ = ()

    @classmethod
    def of(cls, mask: Mask | StoredMask, backend: Backend, x: Array, bias: Array | None) -> Self:
        """Describe a sum of arrays, by the mask of x."""
        described = None if bias is None else (tuple(bias.shape), backend.dtype_name(bias))
        return cls(mask, backend.dtype_name(x), described)

    def add(
        self, backend: Backend, x: Array, residual: Array, bias: Array | None, out: Array | None
    ) -> Array:
        """Return what `Backend.select_add` makes of arrays with this mask; they are checked."""
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
        """Return the boolean keep mask, True where an element of `x` was kept; see `Mask.keep`."""
        return self.mask.keep(like=like)

    def apply(self, gradient: Array) -> Any:
        """Return the gradients of `x`, of the residual and of the bias, from that of the result.

        Parameters
        ----------
        gradient : array
            Of the shape of `x`, of any library.

        Returns
        -------
        tuple of array
            ``where(keep, gradient * scale, 0)`` in the dtype of `x`, and `gradient` itself. With a
            bias also the sum of the first over the axes along which the bias was broadcast, in its
            shape and dtype: a sum in pairs, half types in float32, with the same bits on every
            library but Dask.

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
                    f"the gradient must be real, as x was, got an array of dtype {name}"
                )
            dx = backend.sum_to(dx, self.mask.shape, self.dtype)  # over no axis: in another dtype
        if self.bias is None:
            return dx, gradient
        return dx, gradient, backend.sum_to(dx, *self.bias)
