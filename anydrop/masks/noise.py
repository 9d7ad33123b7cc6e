"""`Noise`: the recipe of normal noise."""

from __future__ import annotations

from typing import NamedTuple

from anydrop.backends import resolve
from anydrop.backends.base import COMPUTE
from anydrop.core import check
from anydrop.core.recipe import Description, Recipe
from anydrop.core.typing import Array


class _Noise(NamedTuple):
    recipe: Recipe
    std: float
    relative: bool
    dtype: str


class Noise(_Noise, Description):
    """Recipe of the noise of `gaussian_dropout` or `gaussian_noise`, with no array stored.

    Attributes
    ----------
    recipe : Recipe
        Key, step and shape of the random bits, like those of a `Mask`.
    std : float
        Standard deviation of the noise.
    relative : bool
        True if arrays are multiplied by it (mean 1), False if it is added to them (mean 0).
    dtype : {"float32", "float64"}
        Dtype in which it is computed.

    See Also
    --------
    Mask : the recipe of a mask.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> x = np.ones(3)
    >>> y, noise = anydrop.gaussian_dropout(x, 0.5, seed=0, step=0, return_mask=True)
    >>> bool((noise.keep(like=x) == y).all())
    True
    """

    __slots__ = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the arrays that the noise applies to."""
        return self.recipe.shape

    def apply(self, gradient: Array, out: Array | None = None) -> Array:
        """Return the gradient of the input, from that of the output.

        Parameters
        ----------
        gradient : array of shape `shape`
            Floating-point array of any library.
        out : array, optional
            Where to write the result. It must have the shape, dtype, device and library of
            `gradient`.

        Returns
        -------
        array
            With the shape, dtype, device and library of `gradient`: ``gradient * noise`` if the
            noise is relative, and otherwise `gradient` unchanged.
        """
        backend = resolve(gradient)
        backend.check_input(gradient)
        check.gradient_shape(backend.shape(gradient), self.shape)
        if out is not None:
            backend.check_out(out, gradient)
        if self.relative and self.std:
            return backend.perturb(gradient, self.recipe, self.std, True, out)
        return gradient if out is None else backend.select(gradient, None, 1.0, out=out)

    def keep(self, like: Array) -> Array:
        """Return the noise, in the library and on the device of `like`.

        Parameters
        ----------
        like : array
            Any array of the library and on the device where the noise should be.

        Returns
        -------
        array of `dtype`, with length 1 along shared axes
            The factors of `gaussian_dropout`, or the terms that `gaussian_noise` adds.
        """
        backend = resolve(like)
        if COMPUTE.get(backend.dtype_name(like)) != self.dtype:
            dtype = getattr(backend.xp, self.dtype)
            like = backend.xp.astype(backend.empty(backend.device(like)), dtype)
        normals = backend.normals(self.recipe, like)
        return backend.select(normals, None, self.std, 1.0 if self.relative else None)
