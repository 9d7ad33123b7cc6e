"""The gradient of a bias: a sum over many rows, by threads, in the order of `common.pairwise`.

An aligned block of a power of two of rows is a subtree of the tree that adds neighbours. So blocks
are summed by themselves, in the cache, and then the blocks' sums. Neither the number of threads nor
the size of a block changes a bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from anydrop.backends.common import pairwise
from anydrop.backends.common.threads import Pool
from anydrop.core.typing import Array

# The most elements of a block, and of a row of it: 256 KB of float32, which the cache holds.
BLOCK, WIDTH = 2**16, 2**11
# Elements below which a second thread costs more than it saves.
CROSSOVER = 2**20


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
