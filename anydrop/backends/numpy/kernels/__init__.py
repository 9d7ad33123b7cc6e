"""What numba compiles: the stream, one element of each dtype, and the ways through memory.

================  =================================================================
`philox`          the words of the stream, by blocks and by groups of blocks
`halves`          float16 and bfloat16, which travel as their bits
`elements`        what becomes of one element
`memory`          memory by its address, and asked for ahead
`sources`         the arrays that are read, and places in them
`runs`, `tiles`   the ways through plain memory, and through any strides
================  =================================================================

The functions here make the entries. numba keeps a compiled entry in its cache until the entry's own
file changes, or the value of a variable around it: so each refers to `FILES`, which changes with
every one of these files.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import numpy as np
from numba import carray

from anydrop.backends.numpy.kernels.memory import pointer
from anydrop.backends.numpy.kernels.runs import serve
from anydrop.backends.numpy.kernels.tiles import ACROSS as ACROSS
from anydrop.backends.numpy.kernels.tiles import ALONG as ALONG
from anydrop.backends.numpy.kernels.tiles import tiles

FILES = crc32(b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))))
FIRST = np.uint64(0)


def runs_of_arrays(element):
    """Return `serve` of two arrays."""
    files = FILES

    def runs_in(x, y, start, k0, k1, step, first, numbers, factors):
        _ = files
        source = carray(pointer(x.ctypes.data), x.size, element)
        target = carray(pointer(y.ctypes.data), y.size, element)
        serve((source,), target, start, k0, k1, step, first, numbers, factors)

    return runs_in


def runs_of(element):
    """Return `serve` of n elements at two addresses, from the first one on."""
    files = FILES

    def runs_at(x, y, n, k0, k1, step, first, numbers, factors):
        _ = files
        source, target = carray(pointer(x), n, element), carray(pointer(y), n, element)
        serve((source,), target, FIRST, k0, k1, step, first, numbers, factors)

    return runs_at


def tiles_of(element):
    """Return `tiles` of arrays whose lowest addresses these are, and that reach so far."""
    files = FILES

    def tiles_at(x, y, n, start, stop, k0, k1, step, first, numbers, factors):
        _ = files
        source, target = carray(pointer(x), n, element), carray(pointer(y), n, element)
        tiles((source,), target, start, stop, k0, k1, step, first, numbers, factors)

    return tiles_at


def sums_of(element, added, bias):
    """Return `serve` of x, the residual and y, and of a bias that repeats, or None.

    They are of the dtypes `element`, `added` and again `added`; a bias is of the dtype `bias`.
    """
    files = FILES

    def sums_in(x, residual, y, start, k0, k1, step, first, numbers, factors):
        _ = files
        n = y.size
        source = carray(pointer(x.ctypes.data), n, element)
        second = carray(pointer(residual.ctypes.data), n, added)
        target = carray(pointer(y.ctypes.data), n, added)
        serve((source, second), target, start, k0, k1, step, first, numbers, factors)

    def biased_in(x, residual, repeated, y, start, k0, k1, step, first, numbers, factors):
        _ = files
        n = y.size
        source = carray(pointer(x.ctypes.data), n, element)
        second = carray(pointer(residual.ctypes.data), n, added)
        target = carray(pointer(y.ctypes.data), n, added)
        third = carray(pointer(repeated.ctypes.data), repeated.size, bias)
        at, place, end = FIRST, start % np.uint64(third.size), np.uint64(n)
        while at < end:
            some = min(np.uint64(third.size) - place, end - at)
            here = slice(at, at + some)
            sources = source[here], second[here], third[place : place + some]
            serve(sources, target[here], start + at, k0, k1, step, first, numbers, factors)
            at, place = at + some, FIRST

    return sums_in if bias is None else biased_in


def summed_tiles_of(element, added, bias):
    """Return `tiles` of x, the residual and y, and of a bias or None; as `tiles_of`, `sums_of`."""
    files = FILES

    def tiles_at(x, residual, y, n, start, stop, k0, k1, step, first, numbers, factors):
        _ = files
        source, second = carray(pointer(x), n, element), carray(pointer(residual), n, added)
        target = carray(pointer(y), n, added)
        tiles((source, second), target, start, stop, k0, k1, step, first, numbers, factors)

    def biased_at(x, residual, third, y, n, start, stop, k0, k1, step, first, numbers, factors):
        _ = files
        source, second = carray(pointer(x), n, element), carray(pointer(residual), n, added)
        target, third = carray(pointer(y), n, added), carray(pointer(third), n, bias)
        tiles((source, second, third), target, start, stop, k0, k1, step, first, numbers, factors)

    return tiles_at if bias is None else biased_at
