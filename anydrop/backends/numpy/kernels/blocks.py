"""The mask of connected blocks, drawn and applied one band at a time.

A place is a position where a block may begin. A region spans the first axis with blocks and all
axes after it. Places are contiguous within a region, and the regions follow each other in memory.
A band is a part of a region along its first axis, or several whole regions. It is small enough to
stay in the cache.
"""

from __future__ import annotations

import numpy as np
from numba import carray, njit

from anydrop.backends.numpy.kernels.elements import put
from anydrop.backends.numpy.kernels.memory import own_memory, pointer
from anydrop.backends.numpy.kernels.philox import ONE, WORDS, ZERO
from anydrop.backends.numpy.kernels.runs import KEPT, run
from anydrop.backends.numpy.kernels.sources import ask_ahead, places

UINT64, SOME = np.uint64, np.uint64(WORDS)


@njit(inline="always")
def blocks(draw, x, y, start, stop, k0, k1, step, first, numbers, factors, kind):
    """Compute the elements of the bands from `start` to `stop`; `x` are the sources.

    `draw` is `rows`, or `one_row` if the places are one run. `one_row` compiles in half the time.
    `numbers` has the fields of `anydrop.backends.numpy.blocks.Geometry`, the lengths of its lists,
    the lists themselves, and the numbers that `rows` takes.
    """
    regions, size, batch, bands, band, length, reach, stride = numbers[:8]
    row, inner, repeat, x_region, x_stride, copies = numbers[8:14]
    a, b = UINT64(18), UINT64(18) + numbers[14]
    distances = numbers[a:b]
    a, b = b, b + numbers[15]
    inner_axes = numbers[a:b]
    a, b = b, b + numbers[16]
    own_axes = numbers[a:b]
    a, b = b, b + numbers[17]
    shared_axes, placed = numbers[a:b], numbers[b:]
    rule = kind(KEPT, factors[0], factors[1], factors[2])

    most = batch * size if bands == ONE else (band + reach) * stride
    seeds = np.empty(most, np.bool_)
    kept = carray(pointer(seeds.ctypes.data), most, np.uint8)
    other = np.empty(most, np.uint8)
    for number in range(start, stop):
        region, begin = UINT64(number) // bands * batch, UINT64(number) % bands * band
        here, count = min(band, length - begin), min(batch, regions - region)
        n = count * size if bands == ONE else (here + reach) * stride
        drawn = seeds[:n]
        place = region * size + begin * stride
        draw((drawn,), drawn, place, k0, k1, step, first, placed, factors, kind)
        surviving, close = _eroded(kept, other, n, distances)
        lines = ONE if row == ZERO else here * inner
        width = here * stride if row == ZERO else row
        n = ZERO
        for r in range(count):
            for line in range(lines):
                of = UINT64(r) * size + _offset(UINT64(line), inner_axes)
                for i in range(width):
                    close[n + UINT64(i)] = surviving[of + UINT64(i)]
                n += width
        # The regions of x are contiguous, too, unless copies lie between them.
        groups = ONE if copies == ONE else count
        n //= groups
        for r in range(groups):
            own = _offset(region + UINT64(r), own_axes)
            for c in range(copies):
                at = (own + _offset(UINT64(c), shared_axes)) * x_region + begin * x_stride
                if repeat == ONE:
                    _use(x, y, at, close, UINT64(r) * n, n, rule)
                else:
                    _spread(x, y, at, close, UINT64(r) * n, n, repeat, rule)


@njit(inline="always")
def one_row(x, y, start, k0, k1, step, first, numbers, factors, kind):
    """Do the same as `rows` for a placement that is one run."""
    run(x, y, start, k0, k1, step, first, numbers[0], factors, kind)


@njit
def _eroded(kept, other, n, distances):
    """Return where no block covers an element, and the array that is free; `kept` has n places.

    This handles all axes at once. It also combines places across the end of a row, but those
    results are not used. Two arrays take turns, because LLVM doesn't vectorize the loop within one
    array.
    """
    for distance in distances:
        n -= distance
        for i in range(n):
            i = UINT64(i)
            other[i] = kept[i] & kept[i + distance]
        kept, other = other, kept
    return kept, other


@njit
def _offset(number, axes):
    """Return the offset of an element, from its number.

    `axes` alternates lengths and strides, starting with the innermost axis.
    """
    offset = ZERO
    for axis in range(axes.size // 2):
        axis = UINT64(2 * axis)
        offset += number % axes[axis] * axes[axis + ONE]
        number //= axes[axis]
    return offset


@njit
def _use(x, y, at, kept, of, n, rule):
    """Compute n elements from `at` on, with the bytes of `kept` from `of` on.

    Results go through the function's own memory, for the same reason as in `runs`.
    """
    results = carray(own_memory(WORDS, y.dtype), WORDS, y.dtype)
    done = ZERO
    while done < n:
        ask_ahead(x, y, at + done)
        some = min(SOME, n - done)
        for i in range(some):
            i = UINT64(i)
            here = places(x, at + done + i)
            put(results, i, x, here, np.uint32(kept[of + done + i]), rule)
        for i in range(some):
            i = UINT64(i)
            y[at + done + i] = results[i]
        done += some


@njit
def _spread(x, y, at, kept, of, n, repeat, rule):
    """Compute n times `repeat` elements, where each `repeat` elements share a byte."""
    for i in range(n):
        word = np.uint32(kept[of + UINT64(i)])
        for j in range(repeat):
            to = at + UINT64(j)
            put(y, to, x, places(x, to), word, rule)
        at += repeat
