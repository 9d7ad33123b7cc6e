"""The functions that numba compiles, each for a rule and for the dtypes of its arrays.

numba reuses a cached function until the function's own file changes, or the value of a variable
that it closes over. So each function closes over `FILES`. It is the checksum of all files in this
folder and of the table of normal numbers.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import numpy as np
from numba import carray

from anydrop.backends.numpy.kernels.blocks import blocks, one_row
from anydrop.backends.numpy.kernels.memory import pointer
from anydrop.backends.numpy.kernels.packed import packed
from anydrop.backends.numpy.kernels.runs import rows, run
from anydrop.backends.numpy.kernels.tiles import tiles
from anydrop.core.quantile import table

CODE = b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))
FILES = crc32(CODE + table().tobytes())
FIRST = np.uint64(0)


def runs_of_arrays(kind, element, one_run):
    """Return `run` for two arrays, or `rows` if their indices are not one run."""
    files = FILES

    def runs_in(x, y, start, k0, k1, step, first, numbers, factors):
        _ = files
        source = carray(pointer(x.ctypes.data), x.size, element)
        target = carray(pointer(y.ctypes.data), y.size, element)
        if one_run:
            run((source,), target, start, k0, k1, step, first, numbers, factors, kind)
        else:
            rows((source,), target, start, k0, k1, step, first, numbers, factors, kind)

    return runs_in


def runs_of(kind, element, one_run):
    """Return `run` or `rows` for the first n elements at two addresses."""
    files = FILES

    def runs_at(x, y, n, k0, k1, step, first, numbers, factors):
        _ = files
        source, target = carray(pointer(x), n, element), carray(pointer(y), n, element)
        if one_run:
            run((source,), target, FIRST, k0, k1, step, first, numbers, factors, kind)
        else:
            rows((source,), target, FIRST, k0, k1, step, first, numbers, factors, kind)

    return runs_at


def packed_of(element):
    """Return `packed` for two arrays and the bits of a mask."""
    files = FILES

    def packed_in(x, bits, y, start, factors):
        _ = files
        source = carray(pointer(x.ctypes.data), x.size, element)
        target = carray(pointer(y.ctypes.data), y.size, element)
        packed((source,), bits, target, start, factors)

    return packed_in


def tiles_of(kind, element):
    """Return `tiles` for arrays at their lowest addresses; none is longer than n elements."""
    files = FILES

    def tiles_at(x, y, n, start, stop, k0, k1, step, first, numbers, factors):
        _ = files
        source, target = carray(pointer(x), n, element), carray(pointer(y), n, element)
        tiles((source,), target, start, stop, k0, k1, step, first, numbers, factors, kind)

    return tiles_at


def blocks_of(kind, element, one_run):
    """Return `blocks` for the n elements at the addresses of x and y."""
    files = FILES

    def blocks_at(x, y, n, start, stop, k0, k1, step, first, numbers, factors):
        _ = files
        source, target = (carray(pointer(x), n, element),), carray(pointer(y), n, element)
        if one_run:
            blocks(
                one_row, source, target, start, stop, k0, k1, step, first, numbers, factors, kind
            )
        else:
            blocks(rows, source, target, start, stop, k0, k1, step, first, numbers, factors, kind)

    return blocks_at


def runs_of_two(kind, element, added, bias, one_run):
    """Return `run` or `rows` for x, a second array, y, and a bias if there is one.

    The second array is a residual, or the alternative to x for the rule `Choose`. `element` is the
    dtype of x, `added` the dtype of the second array and y, and `bias` the dtype of the bias, or
    None. At its end, the bias begins again.
    """
    files = FILES

    def sums_in(x, residual, y, start, k0, k1, step, first, numbers, factors):
        _ = files
        n = y.size
        source = carray(pointer(x.ctypes.data), n, element)
        second = carray(pointer(residual.ctypes.data), n, added)
        target = carray(pointer(y.ctypes.data), n, added)
        if one_run:
            run((source, second), target, start, k0, k1, step, first, numbers, factors, kind)
        else:
            rows((source, second), target, start, k0, k1, step, first, numbers, factors, kind)

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
            if one_run:
                run(sources, target[here], start + at, k0, k1, step, first, numbers, factors, kind)
            else:
                rows(sources, target[here], start + at, k0, k1, step, first, numbers, factors, kind)
            at, place = at + some, FIRST

    return sums_in if bias is None else biased_in


def tiles_of_two(kind, element, added, bias):
    """Return `tiles` for the arrays of `runs_of_two`, at addresses; the bias has the shape of x."""
    files = FILES

    def tiles_at(x, residual, y, n, start, stop, k0, k1, step, first, numbers, factors):
        _ = files
        source, second = carray(pointer(x), n, element), carray(pointer(residual), n, added)
        target = carray(pointer(y), n, added)
        tiles((source, second), target, start, stop, k0, k1, step, first, numbers, factors, kind)

    def biased_at(x, residual, third, y, n, start, stop, k0, k1, step, first, numbers, factors):
        _ = files
        source, second = carray(pointer(x), n, element), carray(pointer(residual), n, added)
        target, third = carray(pointer(y), n, added), carray(pointer(third), n, bias)
        tiles(
            (source, second, third),
            target,
            start,
            stop,
            k0,
            k1,
            step,
            first,
            numbers,
            factors,
            kind,
        )

    return tiles_at if bias is None else biased_at
