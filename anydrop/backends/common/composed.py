"""`Composed`: noise, zoneout, blocks and sums, composed of `keep` and `select`.

Each method works for every library with an array API namespace. A backend overrides it to be
faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anydrop.backends.common import pairwise
from anydrop.backends.common.arithmetic import complex_of
from anydrop.backends.common.arrays import COMPUTE, HALVES, Arrays
from anydrop.backends.common.blocks import eroded
from anydrop.backends.common.normals import standard_normal
from anydrop.backends.common.words import words as words_of
from anydrop.core.recipe import Affine, Recipe
from anydrop.core.typing import Array


class Composed(Arrays):
    """Noise, zoneout, blocks and sums, for `Backend`."""

    # Both are methods of `Backend`.
    keep: Callable[[Recipe, Array], Array]
    select: Callable[..., Array]

    def normals(self, recipe: Recipe, like: Array) -> Array:
        """Return standard normal numbers, one for each word of a recipe.

        ``anydrop/core/quantile.py`` defines them.

        Parameters
        ----------
        recipe : Recipe
            Where in the stream they lie. Its `p` and `scale` are not used.
        like : array
            An array of the dtype and on the device for which the numbers are needed.

        Returns
        -------
        array of the dtype in which `like` is computed, shape ``recipe.keep_shape``
            Multiples of 2**-28, rounded once where that dtype is float32.
        """
        xp, device, dtype = self.xp, self.device(like), COMPUTE[self.dtype_name(like)]
        if 0 in recipe.keep_shape:
            return xp.asarray(xp.empty(recipe.keep_shape, dtype=getattr(xp, dtype)), device=device)
        words = xp.reshape(words_of(xp, device, recipe), (-1,))
        return xp.reshape(standard_normal(xp, words, dtype, device), recipe.keep_shape)

    def perturb(
        self, x: Array, recipe: Recipe, std: float, relative: bool, out: Array | None = None
    ) -> Array:
        """Return ``x * (1 + std * z)`` or ``x + std * z``, with standard normal numbers z.

        Each product and each sum is rounded separately, in the dtype that `COMPUTE` names. The
        result is rounded once more, to the dtype of `x`.

        Parameters
        ----------
        x : array of any shape
            Its dtype is a key of `COMPUTE`. Complex arrays are multiplied part by part. Nothing is
            added to them.
        recipe : Recipe
            Where in the stream the numbers lie.
        std : float
            Standard deviation of the noise, >= 0.
        relative : bool
            True multiplies `x` by the noise. False adds it.
        out : array, optional
            Where to write the result. It may be `x` itself. `check_out` was called on it.

        Returns
        -------
        array
            With the shape, dtype and device of `x`; `out` if it was given.
        """
        xp, name = self.xp, self.dtype_name(x)

        def perturbed(x: Array) -> Array:
            z = self.select(self.normals(recipe, x), None, std, 1.0 if relative else None)
            noise = self.aligned(z, x)
            if name.startswith("complex"):
                y = complex_of(xp, xp.real(x) * noise, xp.imag(x) * noise)
            else:
                wide = self._wide(x)
                y = wide * noise if relative else wide + noise
            return xp.astype(y, x.dtype, copy=False)

        def derivative(gradient: Array) -> Array:
            return self.perturb(gradient, recipe, std, True) if relative else gradient

        return written(self.recompute(perturbed, derivative, x), out)

    def choose(
        self,
        new: Array | None,
        previous: Array | None,
        keep: Recipe | Array,
        out: Array | None = None,
    ) -> Array:
        """Return ``where(keep, new, previous)``.

        Parameters
        ----------
        new, previous : array of any shape, or None
            With the same shape, and the same dtype out of `COMPUTE`. One of them may be None, for
            zeros. The result is then the gradient of the other one.
        keep : Recipe or array of bool
            As for `select`.
        out : array, optional
            Where to write the result. It may be either array. `check_out` was called on it.

        Returns
        -------
        array
            With the shape, dtype and device of the arrays; `out` if it was given.
        """
        xp = self.xp

        def kept(like: Array) -> Array:
            return self.keep(keep, like) if isinstance(keep, Recipe) else self.composable(keep)

        if previous is None:
            return self.select(new, keep, 1.0, out=out)
        if new is None:

            def dropped(gradient: Array) -> Array:
                return self.select(gradient, xp.logical_not(kept(gradient)), 1.0)

            return written(self.recompute(dropped, dropped, previous), out)

        def chosen(new: Array, previous: Array) -> Array:
            # NumPy's `where` is in native byte order.
            y = xp.where(self.aligned(kept(new), new), new, self.aligned(previous, new))
            return xp.astype(y, new.dtype, copy=False)

        def shares(gradient: Array) -> tuple[Array, Array]:
            return self.choose(gradient, None, keep), self.choose(None, gradient, keep)

        return written(self.recompute(chosen, shares, new, previous), out)

    def keep_blocks(self, recipe: Recipe, sizes: tuple[int, ...], like: Array) -> Array:
        """Return the keep mask of blocks that begin where the mask of a recipe drops.

        Parameters
        ----------
        recipe : Recipe
            For the places where blocks begin. Along each axis there are as many places as elements,
            plus the length of a block less one.
        sizes : tuple of int
            Length of a block along each axis, 1 for an axis without blocks.
        like : array
            An array on the device where the mask is needed.

        Returns
        -------
        array of bool
            True where an element survives, of length 1 along the shared axes of the recipe.
        """
        return eroded(self.xp, self.keep(recipe, like), sizes)

    def select_blocks(
        self,
        x: Array,
        recipe: Recipe,
        sizes: tuple[int, ...],
        scale: float,
        out: Array | None = None,
    ) -> Array:
        """Return ``where(keep, x * scale, 0)`` with the mask of `keep_blocks`.

        Parameters
        ----------
        x : array of any shape
            Its dtype is a key of `COMPUTE`.
        recipe, sizes : Recipe, tuple of int
            As for `keep_blocks`.
        scale : float
            Factor for survivors.
        out : array, optional
            Where to write the result. It may be `x` itself. `check_out` was called on it.

        Returns
        -------
        array
            With the shape, dtype and device of `x`; `out` if it was given.
        """

        def selected(x: Array) -> Array:
            return self.select(x, self.keep_blocks(recipe, sizes, x), scale)

        def derivative(gradient: Array) -> Array:
            return self.select_blocks(gradient, recipe, sizes, scale)

        return written(self.recompute(selected, derivative, x), out)

    def select_add(
        self,
        x: Array,
        residual: Array,
        keep: Recipe | Array | None,
        scale: float,
        bias: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """Return ``residual + where(keep, (x + bias) * scale, 0)``, rounded once at the end.

        The bias is added first, then the product is rounded, then the residual is added. Half types
        are computed in float32 throughout.

        Parameters
        ----------
        x : array of any shape
            Its dtype is a key of `COMPUTE`.
        residual : array
            With the shape of `x`, and its dtype, or float32 if `x` has a half type.
        keep : Recipe, array of bool, or None
            As for `select`.
        scale : float
            Factor for survivors.
        bias : array, optional
            It broadcasts to the shape of `x`. It has the dtype of `x`, or float32 if `x` has a half
            type.
        out : array, optional
            Where to write the result, with the dtype of `residual`. It may be `residual` or `x`
            itself.

        Returns
        -------
        array
            With the shape and device of `x` and the dtype of `residual`; `out` if it was given.
        """
        xp = self.xp
        wide = self._wide(x)
        if bias is not None:
            wide = wide + self._wide(bias)
        # In NumPy, the sum of two scalars is no array.
        y = xp.asarray(self._wide(residual) + self.select(wide, keep, scale))
        return written(xp.astype(y, residual.dtype, copy=False), out)

    def sum_to(self, x: Array, shape: tuple[int, ...], dtype: str) -> Array:
        """Sum x over the axes along which an array of `shape` broadcasts to the shape of x.

        Parameters
        ----------
        x : array
            For example the gradient of a sum with a bias.
        shape : tuple of int
            Shape of the result, such as that of the bias. It broadcasts to the shape of `x`.
        dtype : str
            Name of the dtype of the result.

        Returns
        -------
        array of shape `shape` and of that dtype
            Half types are summed in float32 and rounded once.
        """
        xp = self.xp
        # By its name if the namespace lacks the dtype, as NumPy's lacks bfloat16.
        kind = getattr(xp, dtype, dtype)
        return xp.astype(pairwise.sum_to(xp, self._wide(x), shape), kind, copy=False)

    def _wide(self, x: Array) -> Array:
        """Return an array in the dtype in which it is computed, float32 for half types."""
        half = self.dtype_name(x) in HALVES
        return self.xp.astype(x, self.xp.float32) if half else x

    def select_packed(
        self,
        x: Array,
        bits: Array,
        shape: tuple[int, ...],
        affine: Affine,
        out: Array | None = None,
    ) -> Array:
        """Return `select` of x with a mask that `pack` packed.

        Parameters
        ----------
        x : array of any shape
            Its dtype is a key of `COMPUTE`.
        bits : array of uint8
            On the device of x.
        shape : tuple of int
            Shape of the mask, which broadcasts to that of x.
        affine : Affine
            Scale, shift and fill, as for `select`.
        out : array, optional
            As for `select`.
        """
        return self.select(x, self.unpack(bits, shape, x), *affine, out)

    def sum_selected(
        self, x: Array, keep: Recipe | Array, scale: float, shape: tuple[int, ...], dtype: str
    ) -> Array:
        """Return ``where(keep, x * scale, 0)``, summed to a shape.

        Parameters
        ----------
        x, keep, scale
            As for `select`.
        shape, dtype
            As for `sum_to`.

        Returns
        -------
        array of shape `shape` and of that dtype
            The result of `sum_to` on that of `select`.
        """
        return self.sum_to(self.select(x, keep, scale), shape, dtype)

    def recompute(
        self, forward: Callable[..., Array], backward: Callable[[Array], Any], *arrays: Array
    ) -> Array:
        """Return ``forward(*arrays)``, and keep nothing for its derivative.

        Override it if the library differentiates. Otherwise the library would keep the mask between
        the forward and the backward pass.

        Parameters
        ----------
        forward : callable
            Draws a mask. It is affine in the arrays.
        backward : callable
            Takes the gradient of the result. It draws the mask again and returns the gradient of
            the array, or a tuple with those of the arrays.
        *arrays : array
            Arrays of this library.
        """
        return forward(*arrays)


def written(y: Array, out: Array | None) -> Array:
    """Return an array, written to `out` if that is given."""
    if out is None:
        return y
    out[...] = y
    return out
