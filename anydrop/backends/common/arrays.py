"""`Arrays`: the dtypes, devices and conversions of a library's arrays.

It uses the array API where the library implements it, and NumPy elsewhere.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import array_api_compat
import numpy as np

from anydrop.backends.common import arithmetic
from anydrop.core import check
from anydrop.core.typing import Array, Namespace

# The supported dtypes, and the real dtype in which each is computed. Half types are computed in
# float32 and rounded once.
COMPUTE = {
    "float16": "float32",
    "bfloat16": "float32",
    "float32": "float32",
    "float64": "float64",
    "complex64": "float32",
    "complex128": "float64",
}
HALVES = ("float16", "bfloat16")


def dtype_name(dtype: Any) -> str:
    """Return the plain name of any library's dtype: ``"float32"``."""
    return str(getattr(dtype, "name", None) or str(dtype).rpartition(".")[2])


class Arrays:
    """What anydrop must know of a library's arrays. `Backend` adds how masks are drawn.

    Parameters
    ----------
    name : str
        Name of the library in the registry.
    namespace : str, optional
        Name of the module that is its array API namespace, ``xp``. By default the class attribute
        ``namespace``, or `name`.
    """

    #: Name of the module that is the library's array API namespace. Empty: the library itself.
    #: None: there is none.
    namespace: str | None = ""

    #: How to convert an array to a floating-point dtype. An error message shows it.
    conversion = "astype(float32)"

    #: Whether arrays have no values until they are computed, as in Dask.
    lazy = False

    def __init__(self, name: str, namespace: str = "") -> None:
        self.name = name
        self._xp: Namespace | None = None
        if namespace or self.namespace is not None:
            self._xp = importlib.import_module(namespace or self.namespace or name)
        # One cache for each library: dtypes of two libraries can't always be compared.
        self._dtype_names: dict[Any, str] = {}

    @property
    def xp(self) -> Namespace:
        """The library's array API namespace, for all that `select` alone does not do."""
        if self._xp is None:
            raise TypeError(
                f"{self.name} arrays have no array API namespace, which noise, blocks, zoneout, "
                "sums, tokens and copies of weights need; use a function that only drops and "
                "scales, such as dropout"
            )
        return self._xp

    def owns(self, x: object) -> bool:
        """Tell whether `x` is an array of this library."""
        try:
            return bool(array_api_compat.array_namespace(x) == self._xp)
        except TypeError:
            return self._xp is None and type(x).__module__.partition(".")[0] == self.name

    def dtype_name(self, x: Array) -> str:
        """Return the plain name of an array's dtype: ``"float32"``."""
        name = self._dtype_names.get(x.dtype)
        if name is None:
            name = self._dtype_names[x.dtype] = dtype_name(x.dtype)
        return name

    def shape(self, x: Array) -> tuple[int, ...]:
        """Return the shape of an array, or raise if it is not known."""
        shape = tuple(x.shape)
        if None in shape:
            raise ValueError(
                f"a mask needs the length of each axis, and this array has the shape {shape}; "
                "give it known lengths first"
            )
        return shape

    def device(self, x: Array) -> Any:
        """Return the device of an array. Main memory has the name "cpu"."""
        return array_api_compat.device(x) if hasattr(x, "device") else "cpu"

    def _place(self, x: Array) -> Any:
        """Return where an array must lie to be combined with another, or None if not known yet."""
        return self.device(x)

    def empty(self, device: Any) -> Array:
        """Return an array of no elements, which represents this library and a device."""
        if self._xp is None:
            return self.from_numpy(np.empty(0, np.float32), None)
        return self._xp.empty((0,), device=device)

    def move(self, x: Array, like: Array) -> Array:
        """Return an array of this library on the device of `like`."""
        if self.device(x) == self.device(like):
            return x
        return self.from_numpy(self.to_numpy(x), like)

    def composable(self, x: Array) -> Array:
        """Return an array that the namespace's functions can combine with others."""
        return x

    def aligned(self, x: Array, like: Array) -> Array:
        """Return x in the memory order of `like`, so that an operation on both keeps that order.

        By default this is x, since most libraries have only one order or don't show it.
        """
        return x

    def detached(self, x: Array) -> Array:
        """Return an array that keeps nothing alive for gradients. Most arrays never do."""
        return x

    def pack(self, keep: Array) -> Array:
        """Pack a boolean mask into bits of uint8, with the first of eight in the lowest bit."""
        if self._xp is None:
            return self.from_numpy(np.packbits(self.to_numpy(keep), bitorder="little"), keep)
        return arithmetic.pack(self._xp, keep, self.device(keep))

    def unpack(self, bits: Array, shape: tuple[int, ...], like: Array) -> Array:
        """Return the boolean mask that `pack` packed."""
        if self._xp is None:
            flat = np.unpackbits(self.to_numpy(bits), count=math.prod(shape), bitorder="little")
            return self.from_numpy(flat.astype(np.bool_).reshape(shape), like)
        return arithmetic.unpack(self._xp, bits, shape, self.device(like))

    def from_numpy(self, x: np.ndarray[Any, Any], like: Array) -> Array:
        """Convert a NumPy array to this library, on the device of `like`, or anywhere if None."""
        return self.xp.asarray(x, device=self.device(like))

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        """Convert an array to NumPy."""
        try:
            return np.from_dlpack(x)
        except (BufferError, RuntimeError, TypeError):  # It lies on a device.
            return np.from_dlpack(x, device="cpu")  # NumPy 2.0 has no such keyword, and says so.

    # What it refuses -----------------------------------------------------------------

    def check_input(self, x: Array) -> None:
        """Raise if dropout does not support the dtype of an array."""
        name = self.dtype_name(x)
        if name not in COMPUTE:
            raise TypeError(
                f"dropout needs a floating-point array ({', '.join(COMPUTE)}), got dtype {name}; "
                f"convert it first, e.g. with {self.conversion}"
            )

    def check_out(self, out: Array, x: Array) -> None:
        """Raise if the result for `x` can't be written to `out`."""
        self.check_like(out, x, "out")
        known = array_api_compat.is_array_api_obj(out)
        if known and not array_api_compat.is_writeable_array(out):
            raise ValueError(f"out can't be written to: it is a read-only {self.name} array")

    def check_like(
        self,
        other: Array,
        x: Array,
        name: str,
        dtypes: tuple[str, ...] = (),
        broadcasts: bool = False,
    ) -> None:
        """Raise if an array differs from `x` in library, shape, dtype or device.

        Parameters
        ----------
        other, x : array
            The array to check, and the array to compare it with.
        name : str
            The name of `other` in messages.
        dtypes : tuple of str, optional
            Names of other dtypes that are allowed.
        broadcasts : bool, default False
            Whether the shape may be one that broadcasts to that of `x`.
        """
        if not self.owns(other):
            raise ValueError(
                f"{name} must be of the library of x, {self.name}, got {check.type_name(other)}"
            )
        shape, dtype, wanted = other.shape, self.dtype_name(other), self.dtype_name(x)
        if broadcasts:
            pairs = zip(reversed(x.shape), reversed(shape), strict=False)
            if len(shape) > len(x.shape) or not all(n in (1, length) for length, n in pairs):
                raise ValueError(
                    f"{name} must broadcast to the shape of x, {tuple(x.shape)}, without making it "
                    f"larger, got {tuple(shape)}"
                )
        for what, ours, theirs in (
            ("shape", x.shape, x.shape if broadcasts else shape),
            ("dtype", wanted, wanted if dtype in dtypes else dtype),
            ("device", self._place(x), self._place(other)),
        ):
            # A traced array has no device yet, and an unknown length is NaN. Neither counts as a
            # difference.
            unknown = what == "device" and None in (ours, theirs)
            if not (ours == theirs or unknown or str(ours) == str(theirs)):
                others = "".join(f" or {each}" for each in dtypes) if what == "dtype" else ""
                raise ValueError(f"{name} must have the {what} of x, {ours}{others}, got {theirs}")
