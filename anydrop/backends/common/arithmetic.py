"""What the array API standard has no function for: complex numbers from parts, and packed bits."""

from __future__ import annotations

import math
from typing import Any

from anydrop.core.typing import Array, Namespace


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


def pack(xp: Namespace, keep: Array, device: Any) -> Array:
    """Return a boolean mask as bits in uint8, the first of eight in the lowest."""
    flat = xp.astype(xp.reshape(keep, (-1,)), xp.uint8)
    padding = xp.zeros((-flat.shape[0] % 8,), dtype=xp.uint8, device=device)
    eights = xp.reshape(xp.concat([flat, padding]), (-1, 8))
    return xp.sum(eights << _lanes(xp, device), axis=1, dtype=xp.uint8)


def unpack(xp: Namespace, bits: Array, shape: tuple[int, ...], device: Any) -> Array:
    """Return the boolean mask of bits that `pack` made."""
    eights = (bits[:, None] >> _lanes(xp, device)) & 1
    flat = xp.reshape(eights, (-1,))[: math.prod(shape)]
    return xp.astype(xp.reshape(flat, shape), xp.bool)


def _lanes(xp: Namespace, device: Any) -> Array:
    return xp.arange(8, dtype=xp.uint8, device=device)
