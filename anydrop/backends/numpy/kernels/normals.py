"""The standard normal numbers of words, in place; see `anydrop.core.quantile`.

Two passes of a group of words are faster than one: LLVM vectorizes both, where it would make one
with the table's loads in its midst an element at a time.
"""

from __future__ import annotations

import numpy as np
from numba import carray, njit
from numba.extending import overload

from anydrop.backends.numpy.kernels.memory import own_memory
from anydrop.backends.numpy.kernels.philox import SHIFT_32, WORDS
from anydrop.backends.numpy.kernels.rules import NOISE
from anydrop.core import quantile

C0, C1, C2, C3 = (np.ascontiguousarray(column) for column in quantile.table().T)
UINT32 = np.uint32
SEGMENTS, SIGN, ROW = UINT32(quantile.SEGMENTS), UINT32(2**31), UINT32(2**10 - 1)
# The least count that has an octave, and what the exponent of a float32 adds to that.
LEAST, EXPONENT = UINT32(2**quantile.SEGMENTS), UINT32(127 + quantile.SEGMENTS)
FALL = SHIFT_32 + np.uint64(quantile.FINER)


def prepare(words, n, rule):
    """Make of the first n words what the rule takes: numerators of normal numbers, or themselves.

    Numerators are signed, and lie in the words as their bits.
    """


@overload(prepare)
def _prepare(words, n, rule):
    if rule.instance_class in NOISE:
        return lambda words, n, rule: _normals(words, n)
    return lambda words, n, rule: None


@njit
def _normals(words, n):
    rows = carray(own_memory(WORDS, UINT32), WORDS, UINT32)
    start = np.uint64(0)
    while start < n:
        m = min(np.uint64(WORDS), n - start)
        for i in range(m):
            i = np.uint64(i)
            word = words[start + i]
            upper = UINT32(np.int32(word) >> np.int32(31))  # all bits, or none
            count = word ^ upper
            # The octave is the exponent of a float that is rounded down.
            whole = count | LEAST
            whole &= ~(whole >> UINT32(24))
            octave = (np.float32(np.int32(whole)).view(UINT32) >> UINT32(23)) - EXPONENT
            rows[i] = ((octave << SEGMENTS) + (count >> octave)) | (upper & SIGN)
            words[start + i] = (count << (UINT32(31) - octave)) << UINT32(1)
        for i in range(m):
            i = np.uint64(i)
            row, place = np.uint64(rows[i] & ROW), np.uint64(words[start + i])
            fall = (place * np.uint64(C3[row])) >> SHIFT_32
            fall = (place * (np.uint64(C2[row]) - fall)) >> SHIFT_32
            fall = (place * (np.uint64(C1[row]) - fall)) >> FALL
            lower = ~UINT32(np.int32(rows[i]) >> np.int32(31))
            words[start + i] = ((C0[row] - UINT32(fall)) ^ lower) - lower  # -m, or m
        start += m
