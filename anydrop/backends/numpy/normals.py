"""Normal numbers from random words in plain NumPy; `anydrop.core.quantile` defines them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from anydrop.backends.numpy.words import SHIFT_32, UINT64, WORD, aligned, whole_lines
from anydrop.core.quantile import FINER, SEGMENTS, UNIT, table
from anydrop.core.typing import Array

# How many bits a float64 has below its exponent, and how many of them lie below the segment number.
MANTISSA = 52
BELOW = MANTISSA - SEGMENTS


class Normals:
    """Turns random words into normal numbers, and uses the same memory in each call.

    Parameters
    ----------
    dtype : numpy.dtype
        The dtype of the normal numbers: float32 or float64.
    n : int
        The most numbers per call.
    """

    def __init__(self, dtype: Any, n: int) -> None:
        self._dtype = np.dtype(dtype)
        self._memory = aligned(5 * whole_lines(n)).reshape(5, -1)

    def of(self, words: Array) -> Array:
        """Return the normal numbers of words.

        This overwrites the words. The result is valid until the next call.

        Each word is counted from the nearer end of the range and converted to float64. The leading
        bits of that float64 give the octave and the segment. The bits after them give the place in
        the segment.
        """
        n = len(words)
        place, at, near, far, signs = self._memory[:, :n]
        sign, number = signs.view(np.int32)[:n], words.view(np.int32)
        np.right_shift(number, 31, out=sign)
        np.bitwise_xor(number, sign, out=number)
        np.copyto(place.view(np.float64), number)
        np.right_shift(place, UINT64(BELOW), out=at)
        rows = at.view(np.int64)
        # Every row is in range, so any mode will do, and "wrap" is the fastest.
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
        np.subtract(product, near, out=product)  # minus the magnitude, in the low half

        np.copyto(number, product.view(np.int64), casting="unsafe")
        # Apply the sign to the integer, so that zero becomes +0.
        np.bitwise_xor(number, sign, out=number)
        np.subtract(number, sign, out=number)
        z = self._memory[0].view(self._dtype)[:n]
        np.copyto(z, number, casting="unsafe")
        return np.multiply(z, self._dtype.type(UNIT), out=z)


@cache
def _pairs() -> tuple[Array, Array]:
    """Return two tables of the coefficients, two in each entry of 64 bits.

    The first table has c0 in the low half and c1 in the high half. The second has c3 in the low
    half and c2 in the high half. The leading bits of a count are the index of its entry. Between
    the entries are gaps, because no count has those leading bits. So most of this memory is never
    touched.
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
