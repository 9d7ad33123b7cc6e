"""The contract of a backend, written once in the pure array API.

It serves array-api-strict and every library that implements the standard by itself. It is the
specification of the faster backends, not a fast one: it draws one Philox block for each element,
in 32-bit integers, since some namespaces and devices have no 64-bit ones.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import array_api_compat
import numpy as np

from anydrop import check, stream
from anydrop._typing import Array, Namespace
from anydrop.recipe import Recipe

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

# Adding it changes nothing, not even a zero's sign: x + 0.0 would turn -0 into +0.
NO_SHIFT = -0.0


def dtype_name(dtype: Any) -> str:
    """Return the plain name of any library's dtype: ``"float32"``."""
    return str(getattr(dtype, "name", None) or str(dtype).rpartition(".")[2])


class Backend:
    """What anydrop needs of an array library: `keep`, `select` and `draw`.

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

    #: What draws the masks, as ``anydrop verify`` reports it.
    kernel = "array API"

    def __init__(self, name: str, namespace: str = "") -> None:
        self.name = name
        self.xp: Namespace = importlib.import_module(namespace or self.namespace or name)
        # One cache a library: dtypes of two libraries can't always be compared.
        self._dtype_names: dict[Any, str] = {}

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
        words = _words(self.xp, self.device(like), recipe)
        return self.xp.reshape(words >= recipe.threshold, recipe.keep_shape)

    def select(
        self,
        x: Array,
        keep: Recipe | Array | None,
        scale: float,
        shift: float = NO_SHIFT,
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
            A shift of -0.0 means none.
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
        if any(n is None for n in shape):
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
        if self.device(x) == self.device(like):
            return x
        return self.from_numpy(self.to_numpy(x), like)

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
        devices = self.xp.__array_namespace_info__().devices()
        return [(self, self.empty(device)) for device in devices]

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
        if not self.owns(out):
            raise ValueError(
                f"out must be of the library of x, {self.name}, got {check.type_name(out)}"
            )
        for what, ours, theirs in (
            ("shape", x.shape, out.shape),
            ("dtype", self.dtype_name(x), self.dtype_name(out)),
            ("device", self.device(x), self.device(out)),
        ):
            if ours != theirs:
                raise ValueError(f"out must have the {what} of x, {ours}, got {theirs}")
        known = array_api_compat.is_array_api_obj(out)
        if known and not array_api_compat.is_writeable_array(out):
            raise ValueError(f"out can't be written to: it is a read-only {self.name} array")
        return out

    def check_stateful(self, *, counts: bool) -> None:
        """Refuse a layer's pass that something runs again without the layer's knowledge.

        The layer's count of steps would be wrong, and a mask be repeated or skipped.

        Parameters
        ----------
        counts : bool
            Whether the pass spends a step, as a forward does.
        """


def _affine(xp: Namespace, x: Array, scale: float, shift: float) -> Array:
    if not xp.isdtype(x.dtype, "complex floating"):
        return x * scale + shift
    return _complex(xp, xp.real(x) * scale + shift, xp.imag(x) * scale)


def _complex(xp: Namespace, real: Array, imag: Array) -> Array:
    """Return the complex array of two parts, each to the bit.

    The standard has no such function, and ``real + 1j * imag`` is not one: a complex product
    turns an infinite part into a NaN beside it and loses the signs of zeros. So the product with
    1j is made of finite numbers alone, and infinities and NaNs arise from additions.
    """
    dtype = xp.complex64 if imag.dtype == xp.float32 else xp.complex128
    zero = NO_SHIFT * xp.ones_like(imag)
    largest = zero + float(xp.finfo(imag.dtype).max)
    odd = xp.isnan(imag)

    def times_1j(part: Array) -> Array:  # (-0, part)
        return -(xp.conj(xp.astype(-part, dtype)) * 1j)

    finite = times_1j(xp.where(xp.isfinite(imag), imag, zero))
    up = times_1j(xp.where(odd | (imag == math.inf), largest, zero))
    down = times_1j(xp.where(odd | (imag == -math.inf), -largest, zero))
    return xp.conj(xp.astype(real, dtype)) + finite + ((up + up) + (down + down))


# The stream in arrays of uint32 ---------------------------------------------------------------

# The standard leaves an overflow of integers to the library, and some have ones of any size: what
# could outgrow 32 bits is masked.


def _words(xp: Namespace, device: Any, recipe: Recipe) -> Array:
    """Return the words of a recipe's indices, on the axes of its placement."""
    placement = recipe.placement

    def constant(value: int) -> Array:
        return xp.full((1,) * len(placement.axes), value, dtype=xp.uint32, device=device)

    low, high = (constant(half) for half in stream.halves(placement.first))
    for a, axis in enumerate(placement.axes):
        count = xp.arange(axis.length, dtype=xp.uint32, device=device)
        count = xp.reshape(count, tuple(-1 if b == a else 1 for b in range(len(placement.axes))))
        stride_low, stride_high = stream.halves(axis.stride)
        add_low, add_high = _multiply(count, stride_low)
        low = (low + add_low) & stream.WORD
        carry = xp.astype(low < add_low, xp.uint32)
        high = high + add_high + count * stride_high + carry
        high = high & stream.WORD

    counter = ((low >> 2) | ((high & 3) << 30), high >> 2, *map(constant, recipe.step_words))
    w0, w1, w2, w3 = _philox(counter, recipe.key)
    lane = low & 3
    return xp.where(lane < 2, xp.where(lane == 0, w0, w1), xp.where(lane == 2, w2, w3))


def _philox(counter: tuple[Array, ...], key: stream.Key) -> tuple[Array, ...]:
    c0, c1, c2, c3 = counter
    for k0, k1 in stream.round_keys(key):
        low0, high0 = _multiply(c0, stream.MULTIPLIERS[0])
        low1, high1 = _multiply(c2, stream.MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
    return c0, c1, c2, c3


def _multiply(a: Array, b: int) -> tuple[Array, Array]:
    """Return the low and high words of a 32-by-32-bit product, by 16-bit parts."""
    a_low, a_high = a & 0xFFFF, a >> 16
    b_low, b_high = b & 0xFFFF, b >> 16
    low, cross0, cross1 = a_low * b_low, a_low * b_high, a_high * b_low
    middle = (low >> 16) + (cross0 & 0xFFFF) + (cross1 & 0xFFFF)
    high = a_high * b_high + (cross0 >> 16) + (cross1 >> 16) + (middle >> 16)
    return ((middle & 0xFFFF) << 16) | (low & 0xFFFF), high
