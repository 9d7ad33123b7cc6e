"""Normal numbers, version 1: the standard normal number of 32 random bits.

The number of a word w (32 random bits) is a quantile of the normal distribution: a fraction
(w + 1/2) / 2**32 of the distribution lies below it. It is a multiple of 2**-28 and is computed
with integers only, so it has the same bits on every machine. `numerator` is the definition, and
tests compare every other implementation with it. If any bit changes, it must become a new version.

The word's distance from the nearer end of the range is its count, so both halves are alike, and
the number of count 0 is the farthest from zero. Each octave of counts has 32 segments. Each segment
has a row in the table ``normals.bin``: the coefficients of a cubic polynomial.
``tests/vectors/make_normals.py`` makes the table.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from anydrop.core.stream import WORD

# A number is a multiple of 2**-BITS.
BITS = 28
UNIT = 2.0**-BITS
# An octave has 2**SEGMENTS segments.
SEGMENTS = 5
# All coefficients but the constant one have units finer than the result's by 2**-FINER.
FINER = 8


@cache
def table() -> np.ndarray[Any, Any]:
    """Return the coefficients of all segments, the constant one first: shape (864, 4), uint32."""
    numbers = np.fromfile(Path(__file__).with_name("normals.bin"), "<u4").astype(np.uint32)
    numbers.flags.writeable = False
    return numbers.reshape(-1, 4)


def numerator(word: int) -> int:
    """Return the standard normal number of a word, in units of 2**-28.

    Examples
    --------
    >>> numerator(0) * 2.0**-28
    -6.337957754731178
    >>> numerator(2**31), numerator(2**31 + 2**28) * 2.0**-28
    (0, 0.15731068328022957)
    """
    upper = word >> 31
    count = WORD - word if upper else word
    octave = max(count.bit_length() - 1 - SEGMENTS, 0)
    row = (octave << SEGMENTS) + (count >> octave)
    place = (count << (32 - octave)) & WORD  # in the segment, as a fraction of 2**32
    c0, c1, c2, c3 = map(int, table()[row])
    magnitude = c0 - (place * (c1 - (place * (c2 - (place * c3 >> 32)) >> 32)) >> (32 + FINER))
    return magnitude if upper else -magnitude
