"""What numba compiles: the stream, one element of each dtype, and the ways through memory.

All of it is in this file, since numba's cache is renewed when a function's own file changes, and
not when another one does.

The loop of `_run` has a shape that LLVM vectorizes: 16 Philox blocks into a local buffer, then the
64 elements of their words from x to y. What differs between dtypes is one element, and numba picks
it by the array's type: half types travel as their bits, float16 as uint16 and bfloat16 as int16,
since numba has no half types on the CPU.
"""

from __future__ import annotations

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic, overload, register_jitable

from anydrop.core import stream

M0, M1 = (np.uint64(m) for m in stream.MULTIPLIERS)
W0, W1 = (np.uint32(w) for w in stream.WEYL)
ROUNDS = stream.ROUNDS
# Indices are unsigned: for signed ones numba asks at each element whether they count from the end.
ZERO, ONE, TWO, THREE, SIXTEEN, SHIFT_32, SIXTY_FOUR = map(np.uint64, (0, 1, 2, 3, 16, 32, 64))
# Words of indices that are served several times, kept in the innermost cache.
WORDS = 2**11
# Indices along each side of a tile.
TILE = 64
SIDE = np.uint64(TILE)
# Words whose fate the compiler knows, given a threshold of KEPT.
DROPPED, KEPT = np.uint32(0), np.uint32(1)


@njit(inline="always")  # Without it a call a block triples the time.
def _fill(words, b, block, s0, s1, k0, k1):
    """Write the four words of a block, the b-th from the beginning of `words`."""
    c0, c1, c2, c3 = np.uint32(block), np.uint32(block >> SHIFT_32), s0, s1
    for _ in range(ROUNDS):
        p0, p1 = M0 * np.uint64(c0), M1 * np.uint64(c2)
        c0, c1 = np.uint32(p1 >> SHIFT_32) ^ c1 ^ k0, np.uint32(p1)
        c2, c3 = np.uint32(p0 >> SHIFT_32) ^ c3 ^ k1, np.uint32(p0)
        k0, k1 = np.uint32(k0 + W0), np.uint32(k1 + W1)
    words[4 * b], words[4 * b + 1], words[4 * b + 2], words[4 * b + 3] = c0, c1, c2, c3


@njit
def _run(x, y, at, end, start, words, k0, k1, s0, s1, threshold, scale, shift, fill):
    """Serve one run of indices: 64 at a time, while the memory for the next ones is on its way."""
    block, lead = start >> TWO, start & THREE
    while at < end:
        if lead == ZERO and end - at >= SIXTY_FOUR:
            for b in range(16):
                _fill(words, b, block + np.uint64(b), s0, s1, k0, k1)
            for i in range(64):
                here = at + np.uint64(i)
                _put(y, here, x[here], words[i], threshold, scale, shift, fill)
            at += SIXTY_FOUR
        else:
            n = min(SIXTY_FOUR - lead, end - at)
            for b in range((lead + n + THREE) >> TWO):
                _fill(words, b, block + np.uint64(b), s0, s1, k0, k1)
            for i in range(n):
                here, word = at + np.uint64(i), words[lead + np.uint64(i)]
                _put(y, here, x[here], word, threshold, scale, shift, fill)
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
                    to, word = here + np.uint64(i), words[lead + np.uint64(i)]
                    _put(y, to, x[to], word, threshold, scale, shift, fill)
            else:
                for i in range(m):
                    if words[lead + np.uint64(i)] >= threshold:
                        for j in range(repeat):
                            to = here + np.uint64(j)
                            _put(y, to, x[to], KEPT, KEPT, scale, shift, fill)
                    else:  # without a look at x
                        for j in range(repeat):
                            to = here + np.uint64(j)
                            _put(y, to, x[to], DROPPED, KEPT, scale, shift, fill)
                    here += repeat
        first += m


@register_jitable
def runs(x, y, start, k0, k1, step, first, numbers, factors):
    """Serve the elements of a placement from `start` on, row by row; its first index is `first`.

    `numbers` are the threshold, how many indices a row has, how many elements share each index, and
    length and stride of the outer axes, the innermost first.
    """
    threshold = np.uint32(numbers[0])
    index, run, repeat, axes = first, numbers[1], numbers[2], numbers[3:]
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
            within = ZERO  # or all is served
        else:
            n, each = min(run - column, left // repeat), repeat
            if n == run and row.size > 0 and axes[1] == ZERO:  # rows of the same indices
                rows = min(axes[0] - row[0], left // (run * repeat))
                row[0] += rows - ONE
        constants = (words, k0, k1, s0, s1, threshold, scale, shift, fill)
        if rows == ONE and each == ONE:
            _run(x, y, at, at + n, index + column, *constants)
        else:
            _shared(x, y, at, rows, n, each, index + column, *constants)
        at += rows * n * each
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


@register_jitable
def tiles(x, y, start, stop, k0, k1, step, first, numbers, factors):
    """Serve arrays of any strides in tiles, from tile `start` to tile `stop`.

    A tile is at most `TILE` neighbouring indices, by as many steps along the axis on which memory
    runs on.
    Its words are drawn into a table in the order in which memory is then read and written.
    `numbers` are the threshold, where the element of index `first` lies in x and y, whether memory
    runs on along the indices, and length and strides, in indices, x and y, of the axes: that of the
    indices first, then the one across them.
    """
    threshold = np.uint32(numbers[0])
    s0, s1 = np.uint32(step), np.uint32(step >> SHIFT_32)
    scale, shift, fill = factors[0], factors[1], factors[2]
    straight = numbers[3] == ONE
    along, across, outer = numbers[4:8], numbers[8:12], numbers[12:]
    row, words = np.empty(TILE + 4, np.uint32), np.empty(TILE * TILE, np.uint32)
    for tile in range(start, stop):
        a, left = _tile(along[0], np.uint64(tile))
        b, left = _tile(across[0], left)
        index, from_, to = first + a + b * across[1], numbers[1], numbers[2]
        from_, to = from_ + a * along[2] + b * across[2], to + a * along[3] + b * across[3]
        for axis in range(outer.size // 4):
            length, here = outer[4 * axis], left % outer[4 * axis]
            index += here * outer[4 * axis + 1]
            from_ += here * outer[4 * axis + 2]
            to += here * outer[4 * axis + 3]
            left //= length
        n, m = min(SIDE, along[0] - a), min(SIDE, across[0] - b)
        for j in range(m):
            here = index + np.uint64(j) * across[1]
            lead = here & THREE
            if j == 0 or across[1] != ZERO:
                for block in range((lead + n + THREE) >> TWO):
                    _fill(row, block, (here >> TWO) + np.uint64(block), s0, s1, k0, k1)
            for i in range(n):
                at = TILE * j + i if straight else TILE * i + j
                words[np.uint64(at)] = row[lead + np.uint64(i)]
        inner, rows = (n, m) if straight else (m, n)
        step_x, step_y = (along[2], along[3]) if straight else (across[2], across[3])
        row_x, row_y = (across[2], across[3]) if straight else (along[2], along[3])
        for j in range(rows):
            s, t, w = from_ + np.uint64(j) * row_x, to + np.uint64(j) * row_y, np.uint64(TILE * j)
            if step_x == ONE and step_y == ONE:
                for i in range(inner):
                    here = np.uint64(i)
                    word = words[w + here]
                    _put(y, t + here, x[s + here], word, threshold, scale, shift, fill)
            else:
                for i in range(inner):
                    here = np.uint64(i)
                    word = words[w + here]
                    value = x[s + here * step_x]
                    _put(y, t + here * step_y, value, word, threshold, scale, shift, fill)


@register_jitable
def _tile(length, left):
    """Return where a tile begins along an axis, and what is left of its number."""
    count = (length + SIDE - ONE) // SIDE
    return left % count * SIDE, left // count


# Arrays by their addresses -----------------------------------------------------------------------


@intrinsic
def _pointer(context, address):
    """Return an address as a pointer."""

    def code(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(address), code


def runs_of(element):
    """Return `runs` of n elements at two addresses, from the first one on."""

    def runs_at(x, y, n, k0, k1, step, first, numbers, factors):
        source, target = carray(_pointer(x), n, element), carray(_pointer(y), n, element)
        runs(source, target, ZERO, k0, k1, step, first, numbers, factors)

    return runs_at


def tiles_of(element):
    """Return `tiles` of arrays whose lowest addresses these are, and that reach so far."""

    def tiles_at(x, y, n, start, stop, k0, k1, step, first, numbers, factors):
        source, target = carray(_pointer(x), n, element), carray(_pointer(y), n, element)
        tiles(source, target, start, stop, k0, k1, step, first, numbers, factors)

    return tiles_at


# One element of each dtype ----------------------------------------------------------------------


def _put(y, i, value, word, threshold, scale, shift, fill):
    """Write element i, for a value of x; compiled by `_put_of` alone."""


@overload(_put)
def _put_of(y, i, value, word, threshold, scale, shift, fill):
    if y.dtype == types.boolean:

        def put(y, i, value, word, threshold, scale, shift, fill):
            y[i] = word >= threshold

    elif y.dtype == types.uint32:

        def put(y, i, value, word, threshold, scale, shift, fill):
            y[i] = word

    elif isinstance(y.dtype, types.Complex):

        def put(y, i, value, word, threshold, scale, shift, fill):
            # By parts: a complex product would turn an infinite part into a NaN beside it.
            v = complex(value.real * scale + shift, value.imag * scale)
            y[i] = v if word >= threshold else complex(fill, 0.0)

    elif y.dtype == types.uint16:

        def put(y, i, value, word, threshold, scale, shift, fill):
            v = _narrow_half(_widen_half(value) * scale + shift)
            y[i] = v if word >= threshold else _narrow_half(fill)

    elif y.dtype == types.int16:

        def put(y, i, value, word, threshold, scale, shift, fill):
            v = _narrow_bfloat(_float(np.uint32(np.uint16(value)) << np.uint32(16)) * scale + shift)
            y[i] = v if word >= threshold else _narrow_bfloat(fill)

    else:

        def put(y, i, value, word, threshold, scale, shift, fill):
            v = value * scale + shift
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
