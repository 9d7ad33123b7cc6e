"""What numba compiles: the stream, one element of each dtype, and the ways through memory.

================  =================================================================
`philox`          the words of the stream, by blocks and by groups of blocks
`halves`          float16 and bfloat16, which travel as their bits
`elements`        what becomes of one element
`memory`          memory by its address, and asked for ahead
`runs`, `tiles`   the ways through plain memory, and through any strides
================  =================================================================

The functions here make the entries. numba keeps a compiled entry in its cache until the entry's own
file changes, or the value of a variable around it: so each refers to `SOURCES`, which changes with
every one of these files.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import numpy as np
from numba import carray

from anydrop.backends.numpy.kernels.memory import pointer
from anydrop.backends.numpy.kernels.runs import runs
from anydrop.backends.numpy.kernels.tiles import ACROSS as ACROSS
from anydrop.backends.numpy.kernels.tiles import ALONG as ALONG
from anydrop.backends.numpy.kernels.tiles import tiles

SOURCES = crc32(b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))))
FIRST = np.uint64(0)


def runs_of_arrays(element):
    """Return `runs` of two arrays."""
    sources = SOURCES

    def runs_in(x, y, start, k0, k1, step, first, numbers, factors):
        _ = sources
        source = carray(pointer(x.ctypes.data), x.size, element)
        target = carray(pointer(y.ctypes.data), y.size, element)
        runs(source, target, start, k0, k1, step, first, numbers, factors)

    return runs_in


def runs_of(element):
    """Return `runs` of n elements at two addresses, from the first one on."""
    sources = SOURCES

    def runs_at(x, y, n, k0, k1, step, first, numbers, factors):
        _ = sources
        source, target = carray(pointer(x), n, element), carray(pointer(y), n, element)
        runs(source, target, FIRST, k0, k1, step, first, numbers, factors)

    return runs_at


def tiles_of(element):
    """Return `tiles` of arrays whose lowest addresses these are, and that reach so far."""
    sources = SOURCES

    def tiles_at(x, y, n, start, stop, k0, k1, step, first, numbers, factors):
        _ = sources
        source, target = carray(pointer(x), n, element), carray(pointer(y), n, element)
        tiles(source, target, start, stop, k0, k1, step, first, numbers, factors)

    return tiles_at
