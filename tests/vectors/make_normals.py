"""Makes the table of normal numbers, ``anydrop/core/normals.bin``.

``python tests/vectors/make_normals.py FILE`` writes it, with 40 digits of mpmath, and the tests
compare it with what is shipped. Counts, segments and units are those of `anydrop.core.quantile`.

A segment's polynomial runs through four points of the quantile: both ends of the segment, and two
places inside that make the three largest errors between them equal. Then it is tilted, since at its
beginning it has the constant coefficient, which is a whole multiple of 2**-28.
"""

import sys
from pathlib import Path

import mpmath
import numpy as np

mpmath.mp.dps = 40
ROWS = 864
HALF = mpmath.mpf(1) / 2
NODES = [mpmath.mpf(0), 1 - mpmath.sqrt(HALF), mpmath.sqrt(HALF), mpmath.mpf(1)]


def magnitude(count):
    """Return how far the quantile of a count, from the end of the range, is from zero."""
    return mpmath.sqrt(2) * mpmath.erfinv(1 - (count + HALF) / 2**31)


def coefficients(row):
    """Return a row's four coefficients: the first in units of 2**-28, the others of 2**-36."""
    octave = max(row // 32 - 1, 0)
    first = (row - 32 * octave) << octave
    if not octave:  # one count
        return int(mpmath.nint(magnitude(first) * 2**28)), 0, 0, 0
    values = [magnitude(first + node * 2**octave) * 2**36 for node in NODES]
    powers = mpmath.matrix([[node**j for j in range(4)] for node in NODES])
    *_, square, cube = mpmath.lu_solve(powers, mpmath.matrix(values))
    # What is subtracted from the first coefficient is rounded down, so that half a unit less is
    # right on average.
    c0 = int(mpmath.nint(values[0] / 2**8 - HALF))
    c2, c3 = int(mpmath.nint(square)), int(mpmath.nint(-cube))
    c1 = int(mpmath.nint((c0 + HALF) * 2**8 - values[-1])) + c2 - c3
    return c0, c1, c2, c3


def table():
    """Return the table as bytes: rows of four little-endian numbers of 32 bits."""
    return np.array([coefficients(row) for row in range(ROWS)], "<u4").tobytes()


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(table())
