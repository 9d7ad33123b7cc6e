"""The normal numbers of words in plain NumPy; `anydrop.core.quantile` defines them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from anydrop.backends.numpy.words import SHIFT_32, UINT64, WORD, aligned, whole_lines
from anydrop.core.quantile import FINER, SEGMENTS, UNIT, table
from anydrop.core.typing import Array

# Bits of a float64 below its exponent, and of those below the segment of an octave.
MANTISSA = 52
BELOW = MANTISSA - SEGMENTS


class Normals:
    """Makes normal numbers, again and again in the same memory.

    Parameters
    ----------
    dtype : numpy.dtype
        Of the numbers: float32 or float64.
    n : int
        The most that are made at a time.
    """

    def __init__(self, dtype: Any, n: int) -> None:
        self._dtype = np.dtype(dtype)
        self._memory = aligned(5 * whole_lines(n)).reshape(5, -1)

    def of(self, words: Array) -> Array:
        """Return the normal numbers of words, which are lost. They are valid until the next call.

        The words counted from their own end of the range, as float64, tell octave and segment by
        their leading bits, and the place in the segment by those that follow.
        """
        n = len(words)
        place, at, near, far, signs = self._memory[:, :n]
        sign, number = signs.view(np.int32)[:n], words.view(np.int32)
        np.right_shift(number, 31, out=sign)
        np.bitwise_xor(number, sign, out=number)
        np.copyto(place.view(np.float64), number)
        np.right_shift(place, UINT64(BELOW), out=at)
        rows = at.view(np.int64)
        # No row is out of range, and of NumPy's modes "wrap" is the fastest.
        for pair, found in zip(_pairs(), (near, far), strict=True):
            np.take(pair, rows, out=found, mode="wrap")
        np.left_shift(place, UINT64(64 - BELOW), out=place)
        np.right_shift(place, SHIFT_32, out=place)

        product = at
        np.bitwise_and(far, WORD, out=product)
        np.multiply(product, place, out=product)
        np.right_shift(product, SHIFT_32, out=product)
        np.right_shift(far, SHIFT_32, out=far)
        np.subtract(far, product, out=far)
        np.multiply(far, place, out=far)
        np.right_shift(far, SHIFT_32, out=far)
        np.right_shift(near, SHIFT_32, out=product)
        np.subtract(product, far, out=product)
        np.multiply(product, place, out=product)
        np.right_shift(product, UINT64(32 + FINER), out=product)
        np.subtract(product, near, out=product)  # The magnitude, negative, in the low half.

        np.copyto(number, product.view(np.int64), casting="unsafe")
        # The sign goes to the integer, so that zero is +0.
        np.bitwise_xor(number, sign, out=number)
        np.subtract(number, sign, out=number)
        z = self._memory[0].view(self._dtype)[:n]
        np.copyto(z, number, casting="unsafe")
        return np.multiply(z, self._dtype.type(UNIT), out=z)


@cache
def _pairs() -> tuple[Array, Array]:
    """Return the coefficients of each segment, two in 64 bits, by the leading bits of its counts.

    They are c0 and c1, and c3 and c2, the first in the low half. No count has the leading bits
    between those of two rows, so most of this memory is never touched.
    """
    columns = table().T.astype(UINT64)
    row = np.arange(columns.shape[1])
    octave = np.maximum((row >> SEGMENTS) - 1, 0)
    count = (row - (octave << SEGMENTS)) << octave
    at = count.astype(np.float64).view(np.int64) >> BELOW
    near, far = np.zeros((2, at[-1] + 1), UINT64)
    near[at] = columns[1] << SHIFT_32 | columns[0]
    far[at] = columns[2] << SHIFT_32 | columns[3]
    return near, far
