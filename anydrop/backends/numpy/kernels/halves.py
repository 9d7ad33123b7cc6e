"""float16 and bfloat16, which numba lacks on the CPU: their bits, to float32 and back.

All bits are those of the IEEE conversion, rounded to nearest, ties to even. A NaN keeps the leading
bits of its payload and becomes a quiet one.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from anydrop.backends.numpy.kernels.philox import target_features

# Without it LLVM would call a function of the compiler's library, which may not be there.
HARDWARE = "f16c" in target_features()


@njit(inline="always")
def _float(bits):
    return np.uint32(bits).view(np.float32)


@njit(inline="always")
def _bits(value):
    return np.float32(value).view(np.uint32)


# Parts of the two formats, as float32 sees them.
SIGN, MAGNITUDE = np.uint32(0x8000), np.uint32(0x7FFF)
REBIAS = np.uint32((127 - 15) << 23)
HALF_INFINITY, INFINITY = np.uint32(0x7C00), np.uint32(0x7F800000)
LEAST_NORMAL, BEYOND = np.uint32((127 - 14) << 23), np.uint32((127 + 16) << 23)
ONE_HALF = np.uint32(126 << 23)


@njit
def widen_half(h):
    """Return the float32 of a float16's bits."""
    if HARDWARE:
        return _extended(h)
    h = np.uint32(h)
    magnitude = (h & MAGNITUDE) << np.uint32(13)
    normal = magnitude + REBIAS
    if (h & MAGNITUDE) >= HALF_INFINITY:
        normal += REBIAS
    # A subnormal: with the least normal exponent put in, subtracting that normal leaves it exact.
    subnormal = _bits(_float(magnitude + LEAST_NORMAL) - _float(LEAST_NORMAL))
    if magnitude < np.uint32(0x400 << 13):
        normal = subnormal
    return _float(normal | ((h & SIGN) << np.uint32(16)))


@njit
def narrow_half(v):
    """Return the float16's bits of a float32."""
    if HARDWARE:
        return _truncated(np.float32(v))
    bits = _bits(v)
    magnitude = bits & np.uint32(0x7FFFFFFF)
    odd = (magnitude >> np.uint32(13)) & np.uint32(1)
    half = (magnitude - REBIAS + np.uint32(0xFFF) + odd) >> np.uint32(13)
    # Adding one half lines a subnormal up with its last place, and the addition rounds it.
    subnormal = _bits(_float(magnitude) + np.float32(0.5)) - ONE_HALF
    if magnitude < LEAST_NORMAL:
        half = subnormal
    if magnitude >= BEYOND:
        half = HALF_INFINITY
    if magnitude > INFINITY:
        half = np.uint32(0x7E00) | ((magnitude >> np.uint32(13)) & np.uint32(0x3FF))
    return np.uint16(half | ((bits >> np.uint32(16)) & SIGN))


@intrinsic
def _extended(context, bits):
    """Return the float32 of a float16's bits, by the processor."""

    def code(context, builder, signature, arguments):
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), code


@intrinsic
def _truncated(context, value):
    """Return the float16's bits of a float32, by the processor."""

    def code(context, builder, signature, arguments):
        half = builder.fptrunc(arguments[0], ir.HalfType())
        return builder.bitcast(half, ir.IntType(16))

    return types.uint16(types.float32), code


@njit
def widen_bfloat(b):
    """Return the float32 of a bfloat16's bits."""
    return _float(np.uint32(np.uint16(b)) << np.uint32(16))


@njit
def narrow_bfloat(v):
    """Return the bfloat16's bits of a float32."""
    bits = _bits(v)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = (bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)
    if (bits & np.uint32(0x7FFFFFFF)) > INFINITY:
        rounded = (bits >> np.uint32(16)) | np.uint32(0x40)
    return np.int16(rounded)
