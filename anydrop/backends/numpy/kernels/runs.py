"""The loop over contiguous arrays, in runs of neighbouring indices.

The main loop is in `_groups`. It draws the words of a group of blocks, and computes one element
from each word. LLVM vectorizes it.
"""

from __future__ import annotations

import numpy as np
from numba import carray, njit
from numba.extending import overload

from anydrop.backends.numpy.kernels.elements import put
from anydrop.backends.numpy.kernels.memory import own_memory
from anydrop.backends.numpy.kernels.normals import prepare
from anydrop.backends.numpy.kernels.philox import (
    BLOCKS,
    ONE,
    SHIFT_32,
    THREE,
    TWO,
    WORDS,
    ZERO,
    draw,
    draw_group,
)
from anydrop.backends.numpy.kernels.rules import NOISE
from anydrop.backends.numpy.kernels.sources import ask_ahead, places

GROUP, UINT32, UINT64 = np.uint64(WORDS), np.uint32, np.uint64
# NumPy supports no more axes.
MOST_AXES = 64
# How many words to keep if they are used several times. They fit in the innermost cache.
KEPT_WORDS = 2**11
# With a threshold of KEPT, the compiler knows that DROPPED is dropped and KEPT is kept.
DROPPED, KEPT = np.uint32(0), np.uint32(1)


@njit(inline="always")
def _run(x, y, at, end, start, drawn, rule):
    """Compute the elements of one run of indices."""
    words = carray(own_memory(WORDS, UINT32), WORDS, UINT32)
    while at < end:
        lead, n = start & THREE, end - at
        if lead == ZERO and n >= GROUP:
            n -= n % GROUP
            _groups(x, y, at, at + n, start >> TWO, drawn, rule)
        else:
            n = min(GROUP - lead, n)
            draw(words, (lead + n + THREE) >> TWO, start >> TWO, drawn)
            prepare(words, lead + n, rule)
            for i in range(n):
                here, word = at + np.uint64(i), words[lead + np.uint64(i)]
                put(y, here, x, places(x, here), word, rule)
        at += n
        start += n


@njit
def _groups(x, y, at, end, block, drawn, rule):
    """Compute the elements of whole groups of blocks.

    LLVM does not vectorize a loop if a write may change a later read. So the function writes words
    and results to its own memory first. Most of that memory becomes registers.
    """
    words = carray(own_memory(WORDS, UINT32), WORDS, UINT32)
    results = carray(own_memory(WORDS, y.dtype), WORDS, y.dtype)
    while at < end:
        ask_ahead(x, y, at)
        draw_group(words, ZERO, block, drawn)
        prepare(words, GROUP, rule)
        for i in range(WORDS):
            here = places(x, at + np.uint64(i))
            put(results, i, x, here, words[i], rule)
        for i in range(WORDS):
            y[at + np.uint64(i)] = results[i]
        at += GROUP
        block += BLOCKS


@njit
def _shared(x, y, at, runs, n, repeat, start, drawn, rule):
    """Compute elements that share indices, and draw each word once.

    Either several runs have the same indices, or `repeat` neighbours share each index.
    """
    words = carray(own_memory(KEPT_WORDS, UINT32), KEPT_WORDS, UINT32)
    first = ZERO
    while first < n:
        block, lead = (start + first) >> TWO, (start + first) & THREE
        m = min(np.uint64(KEPT_WORDS) - lead, n - first)
        draw(words, (lead + m + THREE) >> TWO, block, drawn)
        prepare(words, lead + m, rule)
        for r in range(runs):
            here = at + (np.uint64(r) * n + first) * repeat
            if repeat == ONE:
                for i in range(m):
                    to, word = here + np.uint64(i), words[lead + np.uint64(i)]
                    put(y, to, x, places(x, to), word, rule)
            else:
                for i in range(m):
                    repeated(x, y, here, repeat, words[lead + np.uint64(i)], rule)
                    here += repeat
        first += m


def repeated(x, y, at, n, word, rule):
    """Compute n elements that share a word."""


@overload(repeated)
def _repeated(x, y, at, n, word, rule):
    kind = rule.instance_class
    if kind in NOISE:

        def repeated(x, y, at, n, word, rule):
            for j in range(n):
                to = at + np.uint64(j)
                put(y, to, x, places(x, to), word, rule)

    else:

        def repeated(x, y, at, n, word, rule):
            known = kind(KEPT, rule.scale, rule.shift, rule.fill)
            if word >= rule.least:
                for j in range(n):
                    to = at + np.uint64(j)
                    put(y, to, x, places(x, to), KEPT, known)
            else:  # x need not be read
                for j in range(n):
                    to = at + np.uint64(j)
                    put(y, to, x, places(x, to), DROPPED, known)

    return repeated


@njit(inline="always")
def run(x, y, start, k0, k1, step, first, numbers, factors, kind):
    """Compute elements of a placement that is one run, as most are.

    `x` are the sources, each as long as y. `start` is the position of their first element in the
    placement, `first` is the placement's first index, `numbers` is the threshold, and `kind` is the
    class of the rule.
    """
    drawn = k0, k1, np.uint32(step), np.uint32(step >> SHIFT_32)
    rule = kind(np.uint32(numbers), factors[0], factors[1], factors[2])
    _run(x, y, ZERO, np.uint64(y.size), first + start, drawn, rule)


@njit(inline="always")
def rows(x, y, start, k0, k1, step, first, numbers, factors, kind):
    """Compute elements of any placement, row by row; see `run`.

    `numbers` has the threshold, the number of indices in a row, the number of elements that share
    an index, and the length and the stride of each outer axis, starting with the innermost.
    """
    drawn = k0, k1, np.uint32(step), np.uint32(step >> SHIFT_32)
    rule = kind(np.uint32(numbers[0]), factors[0], factors[1], factors[2])
    index, length, repeat, axes = first, numbers[1], numbers[2], numbers[3:]

    # Find the position of the row along each outer axis, and its first index in the stream.
    left = start // (length * repeat)
    row = carray(own_memory(MOST_AXES, UINT64), axes.size // 2, UINT64)
    for a in range(row.size):
        row[a] = left % axes[2 * a]
        left //= axes[2 * a]
        index += row[a] * axes[2 * a + 1]
    column, within = start // repeat % length, start % repeat

    at, end = ZERO, np.uint64(y.size)
    while at < end:
        left, count = end - at, ONE
        if within > ZERO or left < repeat:  # a part of the elements of one index
            n, each = ONE, min(left, repeat - within)
            within = ZERO  # the next index begins, or the loop ends
        else:
            n, each = min(length - column, left // repeat), repeat
            if n == length and row.size > 0 and axes[1] == ZERO:  # rows of the same indices
                count = min(axes[0] - row[0], left // (length * repeat))
                row[0] += count - ONE
        if count == ONE and each == ONE:
            _run(x, y, at, at + n, index + column, drawn, rule)
        else:
            _shared(x, y, at, count, n, each, index + column, drawn, rule)
        at += count * n * each
        column += n
        if column == length:
            column = ZERO
            for a in range(row.size):
                row[a] += ONE
                index += axes[2 * a + 1]
                if row[a] < axes[2 * a]:
                    break
                row[a] = ZERO
                index -= axes[2 * a] * axes[2 * a + 1]
