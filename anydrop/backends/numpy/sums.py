"""Sums over many rows, by threads, in the order of `common.pairwise`: gradients of what is shared.

An aligned block whose number of rows is a power of two is a subtree of the tree that adds
neighbours. So each block is summed separately, in the cache, and then the sums of the blocks. The
number of threads and the size of a block do not change the result.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from anydrop.backends.common import pairwise
from anydrop.backends.common.threads import Pool
from anydrop.backends.numpy.works import Work
from anydrop.core.typing import Array

# The most elements of a block, and of a row of it: 256 KB of float32, which the cache holds.
BLOCK, WIDTH = 2**16, 2**11
# Elements below which a second thread costs more than it saves.
CROSSOVER = 2**20
# Elements of a row that are selected and added at a time, by one call of a kernel; and of the
# shortest row that is worth such calls.
PIECE, SHORTEST = 2**14, 2**12


def tree(rows: Array, dtype: Any, pool: Pool) -> Array:
    """Return the sum of at least one row, in the shape of a row.

    The rows are added in `dtype`, which is that of the result.
    """
    count, shape = len(rows), rows.shape[1:]
    rows = rows.reshape(count, math.prod(shape))
    length = rows.shape[1]
    width = max(1, min(length, WIDTH))
    height = 2 ** ((BLOCK // width).bit_length() - 1)
    down, across = -(-count // height), -(-length // width)
    sums = np.empty((down, length), dtype)

    def work(start: int, stop: int) -> None:
        memory = np.empty((2, height // 2 + 1, width), dtype)
        for number in range(start, stop):
            row, side = divmod(number, across)
            here = slice(side * width, (side + 1) * width)
            with np.errstate(all="ignore"):  # which counts in one thread alone
                sums[row, here] = _block(rows[row * height : (row + 1) * height, here], memory)

    pool.run(work, down * across, CROSSOVER, height * width)
    with np.errstate(all="ignore"):
        return pairwise.tree(np, sums).reshape(shape)


def selected(work: Work, x: Array, dtype: Any, pool: Pool) -> Array:
    """Return the sum of the rows of x, after a work on each, in the shape of a row.

    A row is selected and added at once, so nothing of the size of x is written. The rows' sums wait
    for their neighbours, one for each height of the tree at most.

    Parameters
    ----------
    work : Work
        From a piece of x to what is to be added, in the dtype of x.
    x : array
        Plain memory, with at least one row.
    dtype : numpy.dtype
        In which the rows are added, and that of the result.
    pool : Pool
        Its threads share the columns.
    """
    count, shape = len(x), x.shape[1:]
    x, length = x.ravel(), math.prod(shape)
    total = np.empty(length, dtype)

    def add(start: int, stop: int) -> None:
        for a in range(start * PIECE, min(stop * PIECE, length), PIECE):
            n = min(PIECE, length - a)
            narrow, waiting, free = np.empty(n, x.dtype), dict[int, Array](), list[Array]()
            for row in range(count):
                at, height = row * length + a, 0
                one = free.pop() if free else np.empty(n, dtype)
                target = one if dtype == x.dtype else narrow
                work(x[at : at + n], target, at)
                if target is narrow:
                    one[:] = narrow
                while height in waiting:
                    other = waiting.pop(height)
                    free.append(one)
                    one, height = np.add(other, one, out=other), height + 1
                waiting[height] = one
            lowest, *higher = sorted(waiting)
            one = waiting[lowest]
            for height in higher:
                np.add(waiting[height], one, out=one)
            total[a : a + n] = one

    def quietly(start: int, stop: int) -> None:
        with np.errstate(all="ignore"):  # which counts in one thread alone
            add(start, stop)

    pool.run(quietly, -(-length // PIECE), CROSSOVER, PIECE * count)
    return total.reshape(shape)


def _block(rows: Array, memory: Array) -> Array:
    """Return the sum of a block of rows; its two pieces of memory are written by turns."""
    turn = 0
    while (n := len(rows)) > 1:
        half = memory[turn, : (n + 1) // 2, : rows.shape[1]]
        np.add(rows[0 : n - 1 : 2], rows[1:n:2], out=half[: n // 2], dtype=memory.dtype)
        if n % 2:
            half[-1] = rows[-1]
        rows, turn = half, 1 - turn
    return rows[0]
