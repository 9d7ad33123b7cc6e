"""Functions that the array API standard lacks: complex numbers from parts, and packed bits."""

from __future__ import annotations

import math
from typing import Any

from anydrop.core.typing import Array, Namespace


def complex_of(xp: Namespace, real: Array, imag: Array) -> Array:
    """Return the complex array with exactly these two parts.

    The standard has no such function. ``real + 1j * imag`` won't do: a complex product makes a NaN
    beside an infinite part and loses the signs of zeros. So only finite numbers are multiplied by
    1j, and infinities and NaNs come from additions.
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
    """Pack a boolean mask into bits of uint8, with the first of eight in the lowest bit."""
    flat = xp.astype(xp.reshape(keep, (-1,)), xp.uint8)
    padding = xp.zeros((-flat.shape[0] % 8,), dtype=xp.uint8, device=device)
    eights = xp.reshape(xp.concat([flat, padding]), (-1, 8))
    return xp.sum(eights << _lanes(xp, device), axis=1, dtype=xp.uint8)


def unpack(xp: Namespace, bits: Array, shape: tuple[int, ...], device: Any) -> Array:
    """Return the boolean mask that `pack` packed."""
    eights = (bits[:, None] >> _lanes(xp, device)) & 1
    flat = xp.reshape(eights, (-1,))[: math.prod(shape)]
    return xp.astype(xp.reshape(flat, shape), xp.bool)


def _lanes(xp: Namespace, device: Any) -> Array:
    return xp.arange(8, dtype=xp.uint8, device=device)
