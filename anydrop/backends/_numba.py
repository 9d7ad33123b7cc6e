"""The stream in numba: one pass over memory that draws, scales and selects.

It has what `anydrop.backends._chunked` has, with the same arguments and the same bits.

The loop has a shape that LLVM vectorizes: 16 Philox blocks into a local buffer of 64 words, then 64
elements from x to y. What differs between dtypes is one element, and numba picks it by the array's
type: half types travel as their bits, float16 as uint16 and bfloat16 as int16, since numba has no
half types on the CPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numba import carray, from_dtype, njit, types
from numba.extending import intrinsic, overload, register_jitable

from anydrop import stream
from anydrop._typing import Array
from anydrop.backends import _chunked
from anydrop.backends._chunked import Kernel
from anydrop.backends.base import NO_SHIFT, dtype_name
from anydrop.recipe import Placement

if numba.config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set, and these kernels are nothing uncompiled")

NAME = "numba"
# Elements below which a second thread costs more than it saves; ``nox -s bench`` measures it.
CROSSOVER = 2**20

# How the dtypes that numba lacks enter a kernel.
BITS = {"float16": np.dtype(np.uint16), "bfloat16": np.dtype(np.int16)}


def kernel(dtype: Any, *constants: Any) -> Kernel:
    """Return the function that draws with these constants; see `_chunked.kernel`."""
    (bits, compiled), (numbers, factors) = _compiled(dtype), _packed(dtype, *constants)
    if bits is None:

        def draw(x: Array, y: Array, start: int, step: int) -> None:
            compiled(x, y, start, step, numbers, factors)

    else:

        def draw(x: Array, y: Array, start: int, step: int) -> None:
            compiled(x.view(bits), y.view(bits), start, step, numbers, factors)

    return draw


def kernel_at(dtype: Any, *constants: Any) -> Callable[[int, int, int, int], None]:
    """Return a `kernel` of n elements at two addresses, from the placement's first one on.

    It is called with the addresses of x and y, n and a step, by libraries that tell an address
    sooner than they make a NumPy array.
    """
    compiled, (numbers, factors) = _compiled_at(dtype), _packed(dtype, *constants)

    def draw(x: int, y: int, n: int, step: int) -> None:
        compiled(x, y, n, step, numbers, factors)

    return draw


def _packed(
    dtype: Any,
    placement: Placement,
    key: stream.Key,
    threshold: int = 0,
    scale: float = 1.0,
    shift: float = NO_SHIFT,
    fill: float = 0.0,
) -> tuple[Array, Array]:
    """Return a kernel's constants in two arrays: to pass a number costs as much as an array."""
    outer, run, repeat = placement.rows
    axes = (number for axis in reversed(outer) for number in axis)
    numbers = np.array([*key, threshold, placement.first, run, repeat, *axes], np.uint64)
    return numbers, _chunked.factors(_number(dtype), scale, shift, fill)


def _number(dtype: Any) -> Any:
    """Return a dtype of numbers: any will do for masks and words, which have no factors."""
    return np.dtype(np.float32) if dtype.kind in "bu" else dtype


@lru_cache
def _compiled(dtype: Any) -> tuple[Any, Any]:
    """Return how arrays of a dtype enter their kernel, None if as they are, and the kernel."""
    element = _element(dtype)
    arrays = types.Array(element, 1, "C", readonly=True), types.Array(element, 1, "C")
    return BITS.get(dtype_name(dtype)), _compile(_runs, dtype, *arrays, types.uint64)


@lru_cache
def _compiled_at(dtype: Any) -> Any:
    """Return the kernel of a dtype that takes addresses."""
    element = _element(dtype)

    def runs_at(x, y, n, step, numbers, factors):
        source, target = carray(_pointer(x), n, element), carray(_pointer(y), n, element)
        _runs(source, target, ZERO, step, numbers, factors)

    return _compile(runs_at, dtype, types.uintp, types.uintp, types.intp)


def _element(dtype: Any) -> Any:
    return from_dtype(BITS.get(dtype_name(dtype)) or dtype)


def _compile(function: Any, dtype: Any, *memory: Any) -> Any:
    """Compile a function of memory, a step and packed constants."""
    factor = from_dtype(_chunked.compute_dtype(_number(dtype)))
    packed = (types.Array(kind, 1, "C", readonly=True) for kind in (types.uint64, factor))
    signature = types.void(*memory, types.uint64, *packed)
    try:
        return njit(signature, nogil=True, cache=True)(function)
    except Exception as error:
        # No folder that the cache may be written to, or a damaged file in it: unpickling that
        # raises anything. What is wrong with the kernel itself is raised again below.
        logging.getLogger(__name__).info("compiling without a cache: %s", error)
        return njit(signature, nogil=True)(function)


M0, M1 = (np.uint64(m) for m in stream.MULTIPLIERS)
W0, W1 = (np.uint32(w) for w in stream.WEYL)
ROUNDS = stream.ROUNDS
# Indices are unsigned: for signed ones numba asks at each element whether they count from the end.
ZERO, ONE, TWO, THREE, SIXTEEN, SHIFT_32, SIXTY_FOUR = map(np.uint64, (0, 1, 2, 3, 16, 32, 64))
# Words of indices that are served several times, kept in the innermost cache.
WORDS = 2**11
# Words whose fate the compiler knows, given a threshold of KEPT.
DROPPED, KEPT = np.uint32(0), np.uint32(1)


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
def _run(x, y, at, end, start, words, k0, k1, s0, s1, threshold, scale, shift, fill):
    """Serve one run of indices: 64 at a time, while the memory for the next ones is on its way."""
    block, lead = start >> TWO, start & THREE
    while at < end:
        if lead == ZERO and end - at >= SIXTY_FOUR:
            for b in range(16):
                _fill(words, b, block + np.uint64(b), s0, s1, k0, k1)
            for i in range(64):
                _put(y, at + np.uint64(i), x, words[i], threshold, scale, shift, fill)
            at += SIXTY_FOUR
        else:
            n = min(SIXTY_FOUR - lead, end - at)
            for b in range((lead + n + THREE) >> TWO):
                _fill(words, b, block + np.uint64(b), s0, s1, k0, k1)
            for i in range(n):
                word = words[lead + np.uint64(i)]
                _put(y, at + np.uint64(i), x, word, threshold, scale, shift, fill)
            at += n
            lead = ZERO
        block += SIXTEEN


@njit
def _shared(x, y, at, runs, n, repeat, start, words, k0, k1, s0, s1, threshold, scale, shift, fill):
    """Serve runs that have the same indices, or indices of several elements: drawn once for all."""
    first = ZERO
    while first < n:
        block, lead = (start + first) >> TWO, (start + first) & THREE
        m = min(np.uint64(WORDS) - lead, n - first)
        for b in range((lead + m + THREE) >> TWO):
            _fill(words, b, block + np.uint64(b), s0, s1, k0, k1)
        for r in range(runs):
            here = at + (np.uint64(r) * n + first) * repeat
            if repeat == ONE:
                for i in range(m):
                    word = words[lead + np.uint64(i)]
                    _put(y, here + np.uint64(i), x, word, threshold, scale, shift, fill)
            else:
                for i in range(m):
                    if words[lead + np.uint64(i)] >= threshold:
                        for j in range(repeat):
                            _put(y, here + np.uint64(j), x, KEPT, KEPT, scale, shift, fill)
                    else:  # without a look at x
                        for j in range(repeat):
                            _put(y, here + np.uint64(j), x, DROPPED, KEPT, scale, shift, fill)
                    here += repeat
        first += m


@register_jitable
def _runs(x, y, start, step, numbers, factors):
    """Serve the elements of a placement from `start` on, row by row; see `_packed`."""
    k0, k1, threshold = np.uint32(numbers[0]), np.uint32(numbers[1]), np.uint32(numbers[2])
    index, run, repeat, axes = numbers[3], numbers[4], numbers[5], numbers[6:]
    s0, s1 = np.uint32(step), np.uint32(step >> SHIFT_32)
    scale, shift, fill = factors[0], factors[1], factors[2]
    words = np.empty(WORDS, np.uint32)

    # Where the row begins, along each outer axis from the innermost on, and in the stream.
    left = start // (run * repeat)
    row = np.empty(axes.size // 2, np.uint64)
    for a in range(row.size):
        row[a] = left % axes[2 * a]
        left //= axes[2 * a]
        index += row[a] * axes[2 * a + 1]
    column, within = start // repeat % run, start % repeat

    at, end = ZERO, np.uint64(y.size)
    while at < end:
        left, rows = end - at, ONE
        if within > ZERO or left < repeat:  # a part of the elements of one index
            n, each = ONE, min(left, repeat - within)
            within = (within + each) % repeat
            whole = within == ZERO
        else:
            n, each = min(run - column, left // repeat), repeat
            whole = True
            if n == run and row.size > 0 and axes[1] == ZERO:  # rows of the same indices
                rows = min(axes[0] - row[0], left // (run * repeat))
                row[0] += rows - ONE
        constants = (words, k0, k1, s0, s1, threshold, scale, shift, fill)
        if rows == ONE and each == ONE:
            _run(x, y, at, at + n, index + column, *constants)
        else:
            _shared(x, y, at, rows, n, each, index + column, *constants)
        at += rows * n * each
        if whole:
            column += n
        if column == run:
            column = ZERO
            for a in range(row.size):
                row[a] += ONE
                index += axes[2 * a + 1]
                if row[a] < axes[2 * a]:
                    break
                row[a] = ZERO
                index -= axes[2 * a] * axes[2 * a + 1]


@intrinsic
def _pointer(context, address):
    """Return an address as a pointer."""

    def code(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(address), code


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
