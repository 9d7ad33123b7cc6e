"""Conversions from float16 and bfloat16 to float32 and back.

numba lacks both dtypes on the CPU, so these functions take and return their bits. They convert as
IEEE 754 says, and round to nearest, ties to even. A NaN keeps the leading bits of its payload and
becomes a quiet NaN.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from anydrop.backends.numpy.kernels.philox import target_features

# Without this feature, LLVM would call a function of the compiler's runtime library, which may not
# be there.
HARDWARE = "f16c" in target_features()


@njit(inline="always")
def _float(bits):
    return np.uint32(bits).view(np.float32)


@njit(inline="always")
def _bits(value):
    return np.float32(value).view(np.uint32)


# Bits of float16 and float32. LEAST_NORMAL and BEYOND are limits of float16 as float32.
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
    # For a subnormal, add the exponent of the smallest normal number. Subtracting that number is
    # then exact.
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
    # Adding 0.5 aligns a subnormal result with the last place of the sum. So the addition rounds
    # it.
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
    """Return the float32 of a float16's bits, with the processor's instruction."""

    def code(context, builder, signature, arguments):
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), code


@intrinsic
def _truncated(context, value):
    """Return the float16's bits of a float32, with the processor's instruction."""

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
