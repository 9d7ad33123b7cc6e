"""The stream in numba: one pass over memory that draws, scales and selects.

It has the functions of `anydrop.backends._chunked`, with the same arguments and the same bits.

The loop has a shape that LLVM vectorizes (seen with AVX-512 and AVX2; with SSE2 alone a float32
takes four times as long): 16 Philox blocks into a local buffer of 64 words, then 64 elements from
x to y. What differs between dtypes is one element, and
numba picks it by the array's type: half types travel as their bits, float16 as uint16 and bfloat16
as int16, since numba has no half types on the CPU.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numba import from_dtype, njit, types
from numba.extending import overload

from anydrop import stream
from anydrop._typing import Array
from anydrop.backends._chunked import compute_dtype
from anydrop.backends.base import dtype_name

if numba.config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set, and these kernels are nothing uncompiled")

NAME = "numba"
# No limit on the elements of one call: the kernels need no memory of their own.
CHUNK = 2**62

# How the dtypes that numba lacks enter a kernel.
BITS = {"float16": np.dtype(np.uint16), "bfloat16": np.dtype(np.int16)}


def prepare(dtype: Any) -> None:
    """Compile what arrays of a dtype need, before several threads ask for it at once."""
    _kernel(dtype)


def keep(out: Array, starts: Array, key: stream.Key, step: stream.Words, threshold: int) -> None:
    """Fill `out` with the keep mask of runs of neighbouring indices; see `_chunked.keep`."""
    _, kernel = _kernel(out.dtype)
    kernel(out, out, starts, *key, *step, threshold, 0.0, 0.0, 0.0)


def words(out: Array, starts: Array, key: stream.Key, step: stream.Words) -> None:
    """Fill `out` with the words of runs of neighbouring indices; see `_chunked.words`."""
    _, kernel = _kernel(out.dtype)
    kernel(out, out, starts, *key, *step, 0, 0.0, 0.0, 0.0)


def select(
    x: Array,
    y: Array,
    starts: Array,
    key: stream.Key,
    step: stream.Words,
    threshold: int,
    scale: float,
    shift: float,
    fill: float,
) -> None:
    """Write ``where(keep, x * scale + shift, fill)`` to `y`; see `_chunked.select`."""
    bits, kernel = _kernel(x.dtype)
    if bits is not None:
        x, y = x.view(bits), y.view(bits)
    kernel(x, y, starts, *key, *step, threshold, scale, shift, fill)


@lru_cache
def _kernel(dtype: Any) -> tuple[Any, Any]:
    """Return how arrays of a dtype enter their kernel, None if as they are, and the kernel."""
    bits = BITS.get(dtype_name(dtype))
    element = from_dtype(bits or dtype)
    scalar = types.float32 if dtype.kind in "bu" else from_dtype(compute_dtype(dtype))
    signature = types.void(
        types.Array(element, 1, "C", readonly=True),
        types.Array(element, 1, "C"),
        types.Array(types.uint64, 1, "C", readonly=True),
        *(types.uint32,) * 5,
        *(scalar,) * 3,
    )
    try:
        return bits, njit(signature, nogil=True, cache=True)(_runs)
    except Exception as error:
        # No folder that the cache may be written to, or a damaged file in it: unpickling that
        # raises anything. What is wrong with the kernel itself is raised again below.
        logging.getLogger(__name__).info("compiling without a cache: %s", error)
        return bits, njit(signature, nogil=True)(_runs)


M0, M1 = (np.uint64(m) for m in stream.MULTIPLIERS)
W0, W1 = (np.uint32(w) for w in stream.WEYL)
ROUNDS = stream.ROUNDS
SHIFT_32, TWO, THREE = np.uint64(32), np.uint64(2), np.uint64(3)


@njit(inline="always")  # Without it a call a block triples the time.
def _philox(block, s0, s1, k0, k1):
    c0, c1, c2, c3 = np.uint32(block), np.uint32(block >> SHIFT_32), s0, s1
    for _ in range(ROUNDS):
        p0, p1 = M0 * np.uint64(c0), M1 * np.uint64(c2)
        c0, c1 = np.uint32(p1 >> SHIFT_32) ^ c1 ^ k0, np.uint32(p1)
        c2, c3 = np.uint32(p0 >> SHIFT_32) ^ c3 ^ k1, np.uint32(p0)
        k0, k1 = np.uint32(k0 + W0), np.uint32(k1 + W1)
    return c0, c1, c2, c3


@njit(inline="always")
def _fill(words, b, block, s0, s1, k0, k1):
    w0, w1, w2, w3 = _philox(block, s0, s1, k0, k1)
    words[4 * b], words[4 * b + 1], words[4 * b + 2], words[4 * b + 3] = w0, w1, w2, w3


@njit
def _run(x, y, start, words, k0, k1, s0, s1, threshold, scale, shift, fill):
    n = y.size
    lead = np.int64(start & THREE)
    block = start >> TWO
    for c in range((n + lead + 63) // 64):
        here = block + np.uint64(16 * c)
        at = 64 * c - lead
        if at >= 0 and at + 64 <= n:
            for b in range(16):
                _fill(words, b, here + np.uint64(b), s0, s1, k0, k1)
            for i in range(64):
                _put(y, at + i, x, words[i], threshold, scale, shift, fill)
        else:
            first, last = max(0, -at), min(64, n - at)
            for b in range(first // 4, (last + 3) // 4):
                _fill(words, b, here + np.uint64(b), s0, s1, k0, k1)
            for i in range(first, last):
                _put(y, at + i, x, words[i], threshold, scale, shift, fill)


def _runs(x, y, starts, k0, k1, s0, s1, threshold, scale, shift, fill):
    words = np.empty(64, np.uint32)
    n = y.size // starts.size
    for r in range(starts.size):
        a, b = r * n, (r + 1) * n
        _run(x[a:b], y[a:b], starts[r], words, k0, k1, s0, s1, threshold, scale, shift, fill)


# One element of each dtype ----------------------------------------------------------------------


def _put(y, i, x, word, threshold, scale, shift, fill):
    """Write element i; compiled by `_put_of` alone."""


@overload(_put)
def _put_of(y, i, x, word, threshold, scale, shift, fill):
    if y.dtype == types.boolean:

        def put(y, i, x, word, threshold, scale, shift, fill):
            y[i] = word >= threshold

    elif y.dtype == types.uint32:

        def put(y, i, x, word, threshold, scale, shift, fill):
            y[i] = word

    elif isinstance(y.dtype, types.Complex):

        def put(y, i, x, word, threshold, scale, shift, fill):
            # By parts: a complex product would turn an infinite part into a NaN beside it.
            v = complex(x[i].real * scale + shift, x[i].imag * scale)
            y[i] = v if word >= threshold else complex(fill, 0.0)

    elif y.dtype == types.uint16:

        def put(y, i, x, word, threshold, scale, shift, fill):
            v = _narrow_half(_widen_half(x[i]) * scale + shift)
            y[i] = v if word >= threshold else _narrow_half(fill)

    elif y.dtype == types.int16:

        def put(y, i, x, word, threshold, scale, shift, fill):
            v = _narrow_bfloat(_float(np.uint32(np.uint16(x[i])) << np.uint32(16)) * scale + shift)
            y[i] = v if word >= threshold else _narrow_bfloat(fill)

    else:

        def put(y, i, x, word, threshold, scale, shift, fill):
            v = x[i] * scale + shift
            y[i] = v if word >= threshold else fill

    return put


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
def _widen_half(h):
    """Return the float32 of a float16's bits: in integers, since hardware conversion needs AVX2."""
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
def _narrow_half(v):
    """Return the float16's bits of a float32, rounded to nearest, ties to even."""
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


@njit
def _narrow_bfloat(v):
    """Return the bfloat16's bits of a float32, rounded to nearest, ties to even."""
    bits = _bits(v)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = (bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)
    if (bits & np.uint32(0x7FFFFFFF)) > INFINITY:
        rounded = (bits >> np.uint32(16)) | np.uint32(0x40)
    return np.int16(rounded)
