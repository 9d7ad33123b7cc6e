"""Standard normal numbers from words of the stream, in any namespace.

`anydrop.core.quantile` defines them for one word. This file does the same for an array of words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anydrop.backends.common.words import high_half
from anydrop.core.quantile import FINER, SEGMENTS, UNIT, table
from anydrop.core.stream import WORD
from anydrop.core.typing import Array, Namespace


def octave_of(xp: Namespace, count: Array) -> Array:
    """Return ``max(floor(log2(count)) - SEGMENTS, 0)``, by five comparisons."""
    octave, left = count * 0, count >> SEGMENTS
    for bits in (16, 8, 4, 2, 1):
        here = xp.astype((left >> bits) > 0, count.dtype) * bits
        octave, left = octave + here, left >> here
    return octave


def standard_normal(
    xp: Namespace,
    words: Array,
    dtype: str,
    device: Any,
    octave: Callable[[Namespace, Array], Array] = octave_of,
    high: Callable[[Array, Array], Array] = high_half,
) -> Array:
    """Return the standard normal numbers of words.

    Parameters
    ----------
    xp : namespace
        Of the array API.
    words : array of one dimension
        Of 32 bits each, in uint32 or in integers that are longer.
    dtype : {"float32", "float64"}
        Of the numbers.
    device : object
        Of the words.
    octave, high : callable
        Faster functions of a library, if it has them: the octave of a count, and the high half of a
        32-by-32-bit product.

    Returns
    -------
    array of that dtype, shape of `words`
    """
    upper = words >> 31
    count = words ^ (upper * WORD)
    at = octave(xp, count)
    row = xp.astype((at << SEGMENTS) + (count >> at), xp.int32)
    # In two steps, since a shift of uint32 by 32 bits, as in the lowest octave, is undefined.
    place = ((count << (31 - at)) << 1) & WORD
    columns = xp.asarray(table().T, dtype=words.dtype, device=device)
    c0, c1, c2, c3 = (xp.take(columns[i, ...], row) for i in range(4))
    fall = high(place, c1 - high(place, c2 - high(place, c3))) >> FINER
    magnitude = xp.astype(c0 - fall, xp.int32)
    # The sign is applied to the integer, so that zero is +0.
    return xp.astype(xp.where(upper > 0, magnitude, -magnitude), getattr(xp, dtype)) * UNIT
