"""Makes the table of normal numbers, ``anydrop/core/normals.bin``.

``python tests/vectors/make_normals.py FILE`` writes it, with 40 digits of mpmath, and the tests
compare it with what is shipped. Counts, segments and units are those of `anydrop.core.quantile`.

A segment's polynomial runs through four points of the quantile: both ends of the segment, and one
and three quarters of it. Then its ends are moved to the whole multiples of 2**-28 that the
neighbouring segments begin with. So the numbers never fall from one segment to the next.
"""

import sys
from pathlib import Path

import mpmath
import numpy as np

mpmath.mp.dps = 40
ROWS = 864
NODES = [mpmath.mpf(n) / 4 for n in (0, 1, 3, 4)]
HALF = mpmath.mpf(1) / 2


def magnitude(count):
    """Return how far the quantile of a count, from the end of the range, is from zero."""
    return mpmath.sqrt(2) * mpmath.erfinv(1 - (count + HALF) / 2**31)


def octave_of(row):
    return max(row // 32 - 1, 0)


def constant(row):
    """Return a row's first coefficient, in units of 2**-28.

    What is subtracted from it is rounded down, so the result would be half a unit too large on
    average. In the rows of one count nothing is subtracted.
    """
    octave = octave_of(row)
    first = (row - 32 * octave) << octave
    return int(mpmath.nint(magnitude(first) * 2**28 - (HALF if octave else 0)))


def coefficients(row):
    """Return a row's four coefficients, all but the first in units of 2**-36."""
    octave, start, end = octave_of(row), constant(row), constant(row + 1)
    if not octave:
        return start, 0, 0, 0
    first = (row - 32 * octave) << octave
    values = [magnitude(first + node * 2**octave) * 2**36 for node in NODES]
    powers = mpmath.matrix([[node**j for j in range(4)] for node in NODES])
    *_, square, cube = mpmath.lu_solve(powers, mpmath.matrix(values))
    c2, c3 = int(mpmath.nint(square)), int(mpmath.nint(-cube))
    # Each of the two products inside is rounded down as well: by two units the polynomial stays
    # above the number that the next segment begins with.
    return start, (start - end) * 2**8 + c2 - c3 - 2, c2, c3


def table():
    """Return the table as bytes: rows of four little-endian numbers of 32 bits."""
    return np.array([coefficients(row) for row in range(ROWS)], "<u4").tobytes()


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(table())
