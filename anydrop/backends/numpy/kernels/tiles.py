"""Arrays of any strides, a tile at a time.

A tile is at most `ALONG` neighbouring indices, by at most `ACROSS` steps along the axis on which
memory runs on. Its words are drawn into a table in the order in which memory is then read and
written.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from anydrop.backends.numpy.kernels.elements import put
from anydrop.backends.numpy.kernels.philox import ONE, SHIFT_32, THREE, TWO, WORDS, ZERO, draw_many

# A tile's indices: a group of blocks along each row of it, and a table that the innermost cache
# holds.
ALONG, ACROSS = WORDS, 64


@register_jitable
def tiles(x, y, start, stop, k0, k1, step, first, numbers, factors):
    """Serve arrays from tile `start` to tile `stop`.

    `numbers` are the threshold, where the element of index `first` lies in x and y, whether memory
    runs on along the indices, and length and strides, in indices, x and y, of the axes: that of the
    indices first, then the one across them.
    """
    threshold = np.uint32(numbers[0])
    s0, s1 = np.uint32(step), np.uint32(step >> SHIFT_32)
    scale, shift, fill = factors[0], factors[1], factors[2]
    straight = numbers[3] == ONE
    along, across, outer = numbers[4:8], numbers[8:12], numbers[12:]
    row, words = np.empty(ALONG + 4, np.uint32), np.empty(ALONG * ACROSS, np.uint32)
    for tile in range(start, stop):
        a, left = _tile(along[0], np.uint64(tile), np.uint64(ALONG))
        b, left = _tile(across[0], left, np.uint64(ACROSS))
        index, from_, to = first + a + b * across[1], numbers[1], numbers[2]
        from_, to = from_ + a * along[2] + b * across[2], to + a * along[3] + b * across[3]
        for axis in range(outer.size // 4):
            length, here = outer[4 * axis], left % outer[4 * axis]
            index += here * outer[4 * axis + 1]
            from_ += here * outer[4 * axis + 2]
            to += here * outer[4 * axis + 3]
            left //= length
        n, m = min(np.uint64(ALONG), along[0] - a), min(np.uint64(ACROSS), across[0] - b)
        for j in range(m):
            here = index + np.uint64(j) * across[1]
            lead = here & THREE
            if j == 0 or across[1] != ZERO:
                draw_many(row, (lead + n + THREE) >> TWO, here >> TWO, s0, s1, k0, k1)
            for i in range(n):
                at = ALONG * j + i if straight else ACROSS * i + j
                words[np.uint64(at)] = row[lead + np.uint64(i)]
        inner, rows = (n, m) if straight else (m, n)
        width = ALONG if straight else ACROSS
        step_x, step_y = (along[2], along[3]) if straight else (across[2], across[3])
        row_x, row_y = (across[2], across[3]) if straight else (along[2], along[3])
        for j in range(rows):
            s, t, w = from_ + np.uint64(j) * row_x, to + np.uint64(j) * row_y, np.uint64(width * j)
            if step_x == ONE and step_y == ONE:
                for i in range(inner):
                    here = np.uint64(i)
                    word = words[w + here]
                    put(y, t + here, x, s + here, word, threshold, scale, shift, fill)
            else:
                for i in range(inner):
                    here = np.uint64(i)
                    word = words[w + here]
                    put(
                        y,
                        t + here * step_y,
                        x,
                        s + here * step_x,
                        word,
                        threshold,
                        scale,
                        shift,
                        fill,
                    )


@register_jitable
def _tile(length, left, side):
    """Return where a tile begins along an axis, and what is left of its number."""
    count = (length + side - ONE) // side
    return left % count * side, left // count
