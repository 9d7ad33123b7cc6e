"""Standard normal numbers from random words, in place; see `anydrop.core.quantile`.

A group of words takes two passes, and LLVM vectorizes both. A single pass would load from the table
in its middle. LLVM would not vectorize it, and it would take longer.
"""

from __future__ import annotations

import numpy as np
from numba import carray, njit
from numba.extending import overload

from anydrop.backends.numpy.kernels.memory import own_memory
from anydrop.backends.numpy.kernels.philox import SHIFT_32, WORDS
from anydrop.backends.numpy.kernels.rules import NOISE
from anydrop.core import quantile, stream

UINT32, UINT64 = np.uint32, np.uint64
# These must be contiguous, or numba would not cache the functions that read them.
C0, C1, C2, C3 = np.ascontiguousarray(quantile.table().T).astype(UINT64)
# Two coefficients of a row in one number, because the loads take most of the time.
C0_C1, C2_C3 = C0 << SHIFT_32 | C1, C2 << SHIFT_32 | C3
LOW = UINT64(stream.WORD)
SEGMENTS, SIGN, ROW = UINT32(quantile.SEGMENTS), UINT32(2**31), UINT32(2**10 - 1)
# The smallest count that has an octave, and the biased exponent of that count as a float32.
LEAST, EXPONENT = UINT32(2**quantile.SEGMENTS), UINT32(127 + quantile.SEGMENTS)
FALL = SHIFT_32 + UINT64(quantile.FINER)


def prepare(words, n, rule):
    """Turn the first n words into numerators of normal numbers, if the rule needs them.

    Numerators are signed numbers, stored as their bits.
    """


@overload(prepare)
def _prepare(words, n, rule):
    if rule.instance_class in NOISE:
        return lambda words, n, rule: _normals(words, n)
    return lambda words, n, rule: None


@njit
def _normals(words, n):
    rows = carray(own_memory(WORDS, UINT32), WORDS, UINT32)
    start = UINT64(0)
    while start < n:
        m = min(UINT64(WORDS), n - start)
        for i in range(m):
            i = UINT64(i)
            word = words[start + i]
            upper = UINT32(np.int32(word) >> np.int32(31))  # all bits, or none
            count = word ^ upper
            # The octave is the exponent of the count as a float. Clear low bits so that the
            # conversion rounds down.
            whole = count | LEAST
            whole &= ~(whole >> UINT32(24))
            octave = (np.float32(np.int32(whole)).view(UINT32) >> UINT32(23)) - EXPONENT
            rows[i] = ((octave << SEGMENTS) + (count >> octave)) | (upper & SIGN)
            words[start + i] = (count << (UINT32(31) - octave)) << UINT32(1)
        for i in range(m):
            i = UINT64(i)
            row, place = UINT64(rows[i] & ROW), UINT64(words[start + i])
            front, back = C0_C1[row], C2_C3[row]
            fall = (place * (back & LOW)) >> SHIFT_32
            fall = (place * ((back >> SHIFT_32) - fall)) >> SHIFT_32
            fall = (place * ((front & LOW) - fall)) >> FALL
            lower = ~UINT32(np.int32(rows[i]) >> np.int32(31))
            words[start + i] = (UINT32((front >> SHIFT_32) - fall) ^ lower) - lower  # -m, or m
        start += m
