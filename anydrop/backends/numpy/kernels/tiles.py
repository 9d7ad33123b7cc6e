"""The loop over arrays of any strides, one tile at a time.

A tile has at most `ALONG` neighbouring indices, and at most `ACROSS` steps along the other axis
with the smallest strides. The words of a tile are first drawn into a table, in the order in which
memory is then read and written.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from anydrop.backends.numpy.kernels.elements import put
from anydrop.backends.numpy.kernels.normals import prepare
from anydrop.backends.numpy.kernels.philox import ONE, SHIFT_32, THREE, TWO, WORDS, ZERO, draw_many
from anydrop.backends.numpy.kernels.sources import moved, places_of

# The sides of a tile. A row is a group of blocks, and the table of words fits in the innermost
# cache.
ALONG, ACROSS = WORDS, 64
ONES = (np.uint64(1),) * 3


@njit(inline="always")
def tiles(x, y, start, stop, k0, k1, step, first, numbers, factors, kind):
    """Compute the elements of the tiles from `start` to `stop`; `x` are the sources.

    `numbers` has the threshold, a flag, and the position of index `first` in y and in each source.
    The flag says whether the inner loop goes along the indices. Then come the axes: the one along
    the indices, the one across them, and the outer ones. Each axis has its length and its strides
    in indices, in y, and in each source.
    """
    drawn = k0, k1, np.uint32(step), np.uint32(step >> SHIFT_32)
    rule = kind(np.uint32(numbers[0]), factors[0], factors[1], factors[2])
    straight, width = numbers[1] == ONE, np.uint64(3 + len(x))
    origin, axes = numbers[2:width], numbers[width:]
    along, across, outer = axes[:width], axes[width : 2 * width], axes[2 * width :]
    inner_axis = along if straight else across
    runs_on = True
    for step in inner_axis[2:]:
        runs_on = runs_on and step == ONE
    row, words = np.empty(ALONG + 4, np.uint32), np.empty(ALONG * ACROSS, np.uint32)
    for tile in range(start, stop):
        a, left = _tile(along[0], np.uint64(tile), np.uint64(ALONG))
        b, left = _tile(across[0], left, np.uint64(ACROSS))
        index, to = first + a + b * across[1], origin[0] + a * along[2] + b * across[2]
        at = moved(moved(places_of(x, origin[1:]), a, along[3:]), b, across[3:])
        for axis in range(outer.size // width):
            steps = outer[axis * width : (axis + ONE) * width]
            here = left % steps[0]
            index, to, at = (
                index + here * steps[1],
                to + here * steps[2],
                moved(at, here, steps[3:]),
            )
            left //= steps[0]
        n, m = min(np.uint64(ALONG), along[0] - a), min(np.uint64(ACROSS), across[0] - b)
        for j in range(m):
            here = index + np.uint64(j) * across[1]
            lead = here & THREE
            if j == 0 or across[1] != ZERO:
                draw_many(row, (lead + n + THREE) >> TWO, here >> TWO, drawn)
                prepare(row, lead + n, rule)
            for i in range(n):
                place = ALONG * j + i if straight else ACROSS * i + j
                words[np.uint64(place)] = row[lead + np.uint64(i)]
        if straight:
            inner, rows, side, steps, row_steps = n, m, np.uint64(ALONG), along[2:], across[2:]
        else:
            inner, rows, side, steps, row_steps = m, n, np.uint64(ACROSS), across[2:], along[2:]
        step_y, steps_x, row_y, rows_x = steps[0], steps[1:], row_steps[0], row_steps[1:]
        for j in range(rows):
            j = np.uint64(j)
            t, s, w = to + j * row_y, moved(at, j, rows_x), side * j
            if runs_on:
                for i in range(inner):
                    i = np.uint64(i)
                    put(y, t + i, x, moved(s, i, ONES), words[w + i], rule)
            else:
                for i in range(inner):
                    i = np.uint64(i)
                    put(y, t + i * step_y, x, moved(s, i, steps_x), words[w + i], rule)


@njit
def _tile(length, left, side):
    """Return where a tile begins along an axis, and the rest of its number for the next axes."""
    count = (length + side - ONE) // side
    return left % count * side, left // count
