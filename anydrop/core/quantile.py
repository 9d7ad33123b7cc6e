"""Normal numbers, version 1: what the standard normal number of a word is.

The word w stands for the number below which a fraction (w + 1/2) / 2**32 of all standard normal
numbers lie: its quantile. It is a whole multiple of 2**-28, and integers alone define it. So it has
the same bits wherever integers have. `numerator` is the definition, and every other spelling is
held to it bit for bit. A change of any bit is a new version, never an edit.

A word is counted from the nearer end of the range, so that both halves are alike: the number of
count 0 is the farthest from zero. Each octave of counts has 32 segments. Each segment has a row in
the table ``normals.bin``: the coefficients of a polynomial of the third degree.
``tests/vectors/make_normals.py`` makes the table.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from anydrop.core.stream import WORD

# A number is a whole multiple of 2**-BITS.
BITS = 28
UNIT = 2.0**-BITS
# Segments of an octave, as a power of two.
SEGMENTS = 5
# From the unit of the coefficients, but for the constant one, to that of the result.
FINER = 8


@cache
def table() -> np.ndarray[Any, Any]:
    """Return the coefficients of each segment, the constant one first; shape (864, 4), uint32."""
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
