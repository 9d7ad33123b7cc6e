"""The loop over plain memory with a stored mask of one bit per element."""

from __future__ import annotations

import numpy as np
from numba import carray, njit

from anydrop.backends.numpy.kernels.elements import put
from anydrop.backends.numpy.kernels.memory import own_memory
from anydrop.backends.numpy.kernels.philox import ONE, THREE, WORDS, ZERO
from anydrop.backends.numpy.kernels.rules import Select
from anydrop.backends.numpy.kernels.sources import ask_ahead, places

GROUP, SEVEN, BYTES = np.uint64(WORDS), np.uint64(7), WORDS // 8


@njit(inline="always")
def packed(x, bits, y, start, factors):
    """Apply the bits from `start` on; the first of eight elements has the lowest bit of a byte."""
    rule = Select(np.uint32(1), factors[0], factors[1], factors[2])
    kept = carray(own_memory(WORDS, np.uint32), WORDS, np.uint32)
    results = carray(own_memory(WORDS, y.dtype), WORDS, y.dtype)
    at, end = ZERO, np.uint64(y.size)
    while at < end:
        here = start + at
        if here & SEVEN == ZERO and end - at >= GROUP:
            ask_ahead(x, y, at)
            byte = here >> THREE
            for b in range(BYTES):
                eight = np.uint32(bits[byte + np.uint64(b)])
                for lane in range(8):
                    kept[8 * b + lane] = (eight >> np.uint32(lane)) & np.uint32(1)
            for i in range(WORDS):
                put(results, i, x, places(x, at + np.uint64(i)), kept[i], rule)
            for i in range(WORDS):
                y[at + np.uint64(i)] = results[i]
            at += GROUP
        else:
            bit = (bits[here >> THREE] >> np.uint8(here & SEVEN)) & np.uint8(1)
            put(y, at, x, places(x, at), np.uint32(bit), rule)
            at += ONE
