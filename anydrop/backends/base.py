"""The contract of a backend, written once in the pure array API.

It serves array-api-strict and every library that implements the standard by itself. It is the
specification of the faster backends, not a fast one: it draws one Philox block for each element,
in 32-bit integers, since some namespaces and devices have no 64-bit ones.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np

from anydrop.backends.common.normals import standard_normal
from anydrop.backends.common.words import words as words_of
from anydrop.backends.plan import Plan, Plans
from anydrop.core import check
from anydrop.core.recipe import Affine, Recipe
from anydrop.core.typing import Array, Namespace

# The dtypes of the contract, and the one in which each is computed: half types are multiplied in
# float32 and rounded once.
COMPUTE = {
    "float16": "float32",
    "bfloat16": "float32",
    "float32": "float32",
    "float64": "float64",
    "complex64": "float32",
    "complex128": "float64",
}


def dtype_name(dtype: Any) -> str:
    """Return the plain name of any library's dtype: ``"float32"``."""
    return str(getattr(dtype, "name", None) or str(dtype).rpartition(".")[2])


class Backend:
    """What anydrop needs of an array library: the five methods of the contract.

    Subclass it, override what the library can do faster, and register the class: every layer and
    function works with it.

    Parameters
    ----------
    name : str
        Name of the library in the registry.
    namespace : str, optional
        Name of the module that is its array API namespace, ``xp``: by default the class's own
        `namespace`, or `name`.
    """

    #: Name of the module that is the library's array API namespace, if not the library's own.
    namespace = ""

    #: How its users make an array of floating-point numbers.
    conversion = "astype(float32)"

    #: The plans of calls that were made before; None of a library that makes none, and while a
    #: compiler traces the call.
    plans: Plans | None = None

    #: Whether its arrays have no numbers until somebody computes them, as Dask's.
    lazy = False

    #: What draws the masks, as ``anydrop verify`` reports it.
    kernel = "array API"

    def __init__(self, name: str, namespace: str = "") -> None:
        self.name = name
        self._xp: Namespace = importlib.import_module(namespace or self.namespace or name)
        # One cache a library: dtypes of two libraries can't always be compared.
        self._dtype_names: dict[Any, str] = {}

    @property
    def xp(self) -> Namespace:
        """The library's array API namespace, in which layers compose what `select` alone is not."""
        try:
            return self._xp
        except AttributeError:
            raise TypeError(
                f"{self.name} arrays have no array API namespace, which noise, blocks, zoneout, "
                "tokens and copies of weights are composed in; what scales or drops works without"
            ) from None

    # The contract ------------------------------------------------------------------------------

    def keep(self, recipe: Recipe, like: Array) -> Array:
        """Return the boolean keep mask of a recipe.

        Parameters
        ----------
        recipe : Recipe
            What to draw: see its `key`, `step_words`, `threshold` and `placement`.
        like : array
            Any array on the device where the mask is wanted.

        Returns
        -------
        array of bool, shape ``recipe.keep_shape``
            True where an element survives.
        """
        if 0 in recipe.keep_shape:
            return self.xp.empty(recipe.keep_shape, dtype=self.xp.bool, device=self.device(like))
        words = words_of(self.xp, self.device(like), recipe)
        return self.xp.reshape(words >= recipe.threshold, recipe.keep_shape)

    def select(
        self,
        x: Array,
        keep: Recipe | Array | None,
        scale: float,
        shift: float | None = None,
        fill: float = 0.0,
        out: Array | None = None,
    ) -> Array:
        """Return ``where(keep, x * scale + shift, fill)``, rounded once to the dtype of `x`.

        Parameters
        ----------
        x : array of any shape
            Of one of the dtypes in `COMPUTE`, which names the dtype to compute in. Complex
            arrays are scaled part by part; `shift` and `fill` are real.
        keep : Recipe, array of bool, or None
            A recipe to draw, a keep mask of this library that is broadcast against `x`, or None
            to keep everything.
        scale, shift, fill : float
            A shift of None is none: adding 0.0 would turn -0 into +0.
        out : array, optional
            Where to write the result; may be `x` itself. `check_out` has seen it.

        Returns
        -------
        array
            With the shape, dtype and device of `x`; `out` if it was given.
        """
        xp = self.xp
        half = self.dtype_name(x) in ("float16", "bfloat16")
        wide = xp.astype(x, xp.float32) if half else x
        y = _affine(xp, wide, scale, shift)
        if keep is not None:
            kept = self.keep(keep, x) if isinstance(keep, Recipe) else keep
            fills = xp.full((1,) * x.ndim, fill, dtype=wide.dtype, device=self.device(x))
            y = xp.where(kept, y, fills)
        y = xp.astype(y, x.dtype, copy=False)
        if out is None:
            return y
        out[...] = y
        return out

    def draw(self, rng: Any, shape: tuple[int, ...], p: float, like: Array) -> Array:
        """Return a keep mask from the library's own generator: the RNG adapter.

        Parameters
        ----------
        rng : generator
            Of this library.
        shape : tuple of int
            Of the mask.
        p : float
            Drop probability.
        like : array
            Any array on the device where the mask is wanted.

        Returns
        -------
        array of bool, shape `shape`
            ``uniform(shape) < 1 - p``.

        Raises
        ------
        TypeError
            If `rng` is no generator of this library.
        """
        raise TypeError(
            f"rng= is not supported for {self.name} arrays, which come with no generator of "
            f"their own (got {check.described(rng)}); use seed="
        )

    def check_generator(self, rng: Any, like: Array) -> None:
        """Refuse a generator that `draw` would refuse; it must not move."""
        self.draw(rng, (0,), 0.0, like)

    def normals(self, recipe: Recipe, like: Array) -> Array:
        """Return standard normal numbers, one for each word of a recipe: see `standard_normal`.

        Beside `select`, since a normal is made of all bits of its word, and a keep mask is one.

        Parameters
        ----------
        recipe : Recipe
            Where in the stream they lie; its `p` and `scale` play no part.
        like : array
            Any array on the device, and of the dtype, where the numbers are wanted.

        Returns
        -------
        array of the dtype in which `like` is computed, shape ``recipe.keep_shape``
        """
        dtype = COMPUTE[self.dtype_name(like)]
        if 0 in recipe.keep_shape:
            empty = self.xp.empty(recipe.keep_shape, dtype=getattr(self.xp, dtype))
            return self.xp.asarray(empty, device=self.device(like))
        words = words_of(self.xp, self.device(like), recipe)
        return self.xp.reshape(standard_normal(self.xp, words, dtype), recipe.keep_shape)

    def recompute(
        self, forward: Callable[..., Array], backward: Callable[[Array], Any], *arrays: Array
    ) -> Array:
        """Return ``forward(*arrays)``, of which nothing is to be kept for its derivative.

        Parameters
        ----------
        forward : callable
            Affine in the arrays, with a mask that it draws.
        backward : callable
            Takes the gradient of its result to that of the array, or to a tuple of those of the
            arrays. It draws the mask again.
        *arrays : array
            Of this library.
        """
        return forward(*arrays)

    def plan(self, x: Array, recipe: Recipe, affine: Affine) -> Plan | None:
        """Return how to do a `select` again for arrays like x, at any key, step and place.

        None, as here, says that nothing would be gained. See ``anydrop.backends.plan``.
        """
        return None

    def at_step(self, rng: Any, step: int) -> Any:
        """Return the generator of a layer's draw number `step`.

        One that has a state moves on by itself, so this is `rng`.
        """
        return rng

    # What the contract stands on; seldom overridden -------------------------------------------

    def owns(self, x: object) -> bool:
        """Tell whether `x` is an array of this library."""
        try:
            return bool(array_api_compat.array_namespace(x) == self.xp)
        except TypeError:
            return type(x).__module__.partition(".")[0] == self.name

    def dtype_name(self, x: Array) -> str:
        """Return the plain name of an array's dtype: ``"float32"``."""
        name = self._dtype_names.get(x.dtype)
        if name is None:
            name = self._dtype_names[x.dtype] = dtype_name(x.dtype)
        return name

    def shape(self, x: Array) -> tuple[int, ...]:
        """Return the shape of an array; refuse one that is not known."""
        shape = tuple(x.shape)
        if None in shape:
            raise ValueError(
                "a mask needs to know where each element lies, and this array has dimensions of "
                f"unknown length: its shape is {shape}; give them a length first"
            )
        return shape

    def device(self, x: Array) -> Any:
        """Return the device of an array."""
        return array_api_compat.device(x)

    def empty(self, device: Any) -> Array:
        """Return an array of no elements, which stands for this library and a device."""
        return self.xp.empty((0,), device=device)

    def move(self, x: Array, like: Array) -> Array:
        """Return an array of this library on the device of `like`."""
        there = self.device(x) == self.device(like)
        return x if there else self.from_numpy(self.to_numpy(x), like)

    def detached(self, x: Array) -> Array:
        """Return an array that keeps nothing alive for gradients: most arrays never do."""
        return x

    def pack(self, keep: Array) -> Array:
        """Return a boolean mask as bits in uint8, the first of eight in the lowest."""
        xp, device = self.xp, self.device(keep)
        flat = xp.astype(xp.reshape(keep, (-1,)), xp.uint8)
        padding = xp.zeros((-flat.shape[0] % 8,), dtype=xp.uint8, device=device)
        eights = xp.reshape(xp.concat([flat, padding]), (-1, 8))
        return xp.sum(eights << self._lanes(device), axis=1, dtype=xp.uint8)

    def unpack(self, bits: Array, shape: tuple[int, ...], like: Array) -> Array:
        """Return the boolean mask of bits that `pack` made."""
        xp = self.xp
        eights = (bits[:, None] >> self._lanes(self.device(like))) & 1
        flat = xp.reshape(eights, (-1,))[: math.prod(shape)]
        return xp.astype(xp.reshape(flat, shape), xp.bool)

    def _lanes(self, device: Any) -> Array:
        return self.xp.arange(8, dtype=self.xp.uint8, device=device)

    def from_numpy(self, x: np.ndarray[Any, Any], like: Array) -> Array:
        """Return a NumPy array as one of this library, on the device of `like`."""
        return self.xp.asarray(x, device=self.device(like))

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        """Return an array as a NumPy array."""
        try:
            return np.from_dlpack(x)
        except (BufferError, RuntimeError, TypeError):  # It lies on a device.
            return np.from_dlpack(x, device="cpu")  # NumPy 2.0 has no such keyword, and says so.

    def probes(self) -> list[tuple[Backend, Array]]:
        """Return an empty array for each device and kernel found here, and who draws for it."""
        return [(self, self.empty(d)) for d in self.xp.__array_namespace_info__().devices()]

    # Checks of arrays, which only their library can make ---------------------------------------

    def check_input(self, x: Array) -> None:
        """Refuse an array whose dtype has no dropout."""
        name = self.dtype_name(x)
        if name not in COMPUTE:
            raise TypeError(
                f"dropout needs a floating-point array ({', '.join(COMPUTE)}), got dtype {name}; "
                f"convert it first, e.g. with {self.conversion}"
            )

    def check_out(self, out: Array | None, x: Array) -> Array | None:
        """Refuse an `out` that can't hold the result for `x`."""
        if out is None:
            return None
        self.check_like(out, x, "out")
        known = array_api_compat.is_array_api_obj(out)
        if known and not array_api_compat.is_writeable_array(out):
            raise ValueError(f"out can't be written to: it is a read-only {self.name} array")
        return out

    def check_like(self, other: Array, x: Array, name: str) -> None:
        """Refuse an array that is not of the library, shape, dtype and device of x."""
        if not self.owns(other):
            raise ValueError(
                f"{name} must be of the library of x, {self.name}, got {check.type_name(other)}"
            )
        for what, ours, theirs in (
            ("shape", x.shape, other.shape),
            ("dtype", self.dtype_name(x), self.dtype_name(other)),
            ("device", self.device(x), self.device(other)),
        ):
            # Neither a place that something traced has not yet, nor a length that is NaN as long as
            # it is not computed, differs from another.
            unknown = (what == "device" and None in (ours, theirs)) or str(ours) == str(theirs)
            if ours != theirs and not unknown:
                raise ValueError(f"{name} must have the {what} of x, {ours}, got {theirs}")

    def check_stateful(self, *, counts: bool) -> None:
        """Refuse a layer's pass that something runs again without the layer's knowledge.

        The layer's count of steps would be wrong, and a mask be repeated or skipped.

        Parameters
        ----------
        counts : bool
            Whether the pass spends a step, as a forward does.
        """


def _affine(xp: Namespace, x: Array, scale: float, shift: float | None) -> Array:
    if xp.isdtype(x.dtype, "complex floating"):
        return complex_of(xp, _affine(xp, xp.real(x), scale, shift), xp.imag(x) * scale)
    return x * scale if shift is None else x * scale + shift


def complex_of(xp: Namespace, real: Array, imag: Array) -> Array:
    """Return the complex array of two parts, each to the bit.

    The standard has no such function, and ``real + 1j * imag`` is not one: a complex product
    turns an infinite part into a NaN beside it and loses the signs of zeros. So the product with
    1j is made of finite numbers alone, and infinities and NaNs arise from additions.
    """
    dtype = xp.complex64 if imag.dtype == xp.float32 else xp.complex128
    zero = -0.0 * xp.ones_like(imag)
    largest = zero + float(xp.finfo(imag.dtype).max)
    odd = xp.isnan(imag)

    def times_1j(part: Array) -> Array:  # (-0, part)
        return -(xp.conj(xp.astype(-part, dtype)) * 1j)

    finite = times_1j(xp.where(xp.isfinite(imag), imag, zero))
    up = times_1j(xp.where(odd | (imag == math.inf), largest, zero))
    down = times_1j(xp.where(odd | (imag == -math.inf), -largest, zero))
    return xp.conj(xp.astype(real, dtype)) + finite + ((up + up) + (down + down))
