"""Threaded sums over many rows, for the gradients of shared arrays such as a bias.

Rows are added in the order of `common.pairwise`, which is a tree. An aligned block of rows is a
subtree of it if the number of rows is a power of two. So each block is summed separately in the
cache, and then the sums of the blocks are added. The number of threads and the size of a block do
not change the result.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from anydrop.backends.common import pairwise
from anydrop.backends.common.threads import Pool
from anydrop.backends.numpy.works import Work
from anydrop.core.typing import Array

# The most elements of a block, and of a row of it. A block is 256 KB of float32, which fits in the
# cache.
BLOCK, WIDTH = 2**16, 2**11
# Elements below which a second thread costs more than it saves.
CROSSOVER = 2**20
# How many elements of a row one call of a kernel selects, and how many a row must have to be worth
# such calls.
PIECE, SHORTEST = 2**14, 2**12


def tree(rows: Array, dtype: Any, pool: Pool) -> Array:
    """Return the sum of one or more rows, in the shape of a row.

    The sum is computed and returned in `dtype`.
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
            with np.errstate(all="ignore"):  # set here, because it applies to one thread only
                sums[row, here] = _block(rows[row * height : (row + 1) * height, here], memory)

    pool.run(work, down * across, CROSSOVER, height * width)
    with np.errstate(all="ignore"):
        return pairwise.tree(np, sums).reshape(shape)


def selected(work: Work, x: Array, dtype: Any, pool: Pool) -> Array:
    """Apply a work to each row of x and return the sum of the rows, in the shape of a row.

    Each row is added as soon as it is selected, so no array of the size of x is written. Partial
    sums wait for their neighbours in the tree. At most one waits at each height.

    Parameters
    ----------
    work : Work
        The function that turns a piece of x into the numbers to add, in the dtype of x.
    x : array
        Plain memory with at least one row.
    dtype : numpy.dtype
        The dtype in which the rows are added, and the dtype of the result.
    pool : Pool
        The threads that split the columns.
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
        with np.errstate(all="ignore"):  # set here, because it applies to one thread only
            add(start, stop)

    pool.run(quietly, -(-length // PIECE), CROSSOVER, PIECE * count)
    return total.reshape(shape)


def _block(rows: Array, memory: Array) -> Array:
    """Return the sum of a block of rows.

    The passes write to the two parts of `memory` alternately.
    """
    turn = 0
    while (n := len(rows)) > 1:
        half = memory[turn, : (n + 1) // 2, : rows.shape[1]]
        np.add(rows[0 : n - 1 : 2], rows[1:n:2], out=half[: n // 2], dtype=memory.dtype)
        if n % 2:
            half[-1] = rows[-1]
        rows, turn = half, 1 - turn
    return rows[0]
