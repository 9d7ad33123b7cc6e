"""`Noise`: normal noise, described by what it takes to draw it."""

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
    """Normal noise, described by what it takes to draw it: no element of it is stored.

    Attributes
    ----------
    recipe : Recipe
        Where in the stream its words lie.
    std : float
        Its standard deviation.
    relative : bool
        Whether arrays are multiplied by it, around 1, or it is added to them, around 0.
    dtype : {"float32", "float64"}
        In which it was drawn.
    """

    __slots__ = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the arrays that it applies to."""
        return self.recipe.shape

    def apply(self, gradient: Array, out: Array | None = None) -> Array:
        """Return the gradient of the input for that of the output.

        Parameters
        ----------
        gradient : array of shape `shape`
            Floating-point array of any library.
        out : array, optional
            Where to write the result: shape, dtype, device and library of `gradient`.

        Returns
        -------
        array
            With the shape, dtype, device and library of `gradient`: times the noise if that is
            relative, and as it is if not.
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
        """Return the noise itself, in the library and on the device of `like`.

        Parameters
        ----------
        like : array
            Any array of the library and on the device where the noise is wanted.

        Returns
        -------
        array of `dtype`, shape of the recipe's `keep_shape`
            What arrays are multiplied by, or what is added to them.
        """
        backend = resolve(like)
        if COMPUTE.get(backend.dtype_name(like)) != self.dtype:
            dtype = getattr(backend.xp, self.dtype)
            like = backend.xp.astype(backend.empty(backend.device(like)), dtype)
        normals = backend.normals(self.recipe, like)
        return backend.select(normals, None, self.std, 1.0 if self.relative else None)
