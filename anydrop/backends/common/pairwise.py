"""Sums in the order of a binary tree, with the same bits on every library.

Neighbours are added first, then neighbouring sums, and so on. The error grows with the logarithm of
the count [1]_. Each sum is one addition of two arrays, so no library can choose another order. The
result has the same bits on all libraries and on any number of threads.

.. [1] N. J. Higham, "The accuracy of floating point summation", SIAM Journal on Scientific
   Computing 14, 1993.
"""

from __future__ import annotations

import math

from anydrop.core.typing import Array, Namespace


def sum_to(xp: Namespace, x: Array, shape: tuple[int, ...]) -> Array:
    """Sum x over the axes along which an array of `shape` broadcasts to the shape of x."""
    rows = rows_to(xp, x, shape)
    return xp.reshape(tree(xp, rows) if rows.shape[0] else xp.sum(rows, axis=0), shape)


def rows_to(xp: Namespace, x: Array, shape: tuple[int, ...]) -> Array:
    """Return x as the rows, along the first axis, that `sum_to` adds."""
    lengths = (1,) * (x.ndim - len(shape)) + shape
    summed = tuple(a for a, n in enumerate(lengths) if n == 1)
    kept = tuple(a for a, n in enumerate(lengths) if n != 1)
    count = math.prod(x.shape[a] for a in summed)
    rows = xp.permute_dims(x, (*summed, *kept))
    return xp.reshape(rows, (count, *(x.shape[a] for a in kept)))


def tree(xp: Namespace, rows: Array) -> Array:
    """Return the sum of at least one row."""
    while (n := rows.shape[0]) > 1:
        pairs = rows[0 : n - 1 : 2, ...] + rows[1:n:2, ...]
        rows = xp.concat([pairs, rows[n - 1 :, ...]]) if n % 2 else pairs
    return rows[0, ...]
