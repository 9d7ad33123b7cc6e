"""Makes ``normals_v1.json``, the known answers of normal numbers, without anydrop.

``python tests/vectors/make_normal_vectors.py FILE`` writes it. Words come from a Philox of its own,
numbers from the table of ``make_normals.py`` in Python's integers, and noise from fractions, which
are rounded one by one, to nearest, and ties to even.
"""

import hashlib
import json
import random
import struct
import sys
from fractions import Fraction
from functools import lru_cache
from itertools import product
from math import prod
from pathlib import Path

import make_normals
from numpy.random import SeedSequence

ABOUT = (
    "Known answers of anydrop's normal numbers, version 1; make_normal_vectors.py makes them "
    "without anydrop. numerators: words, and their numbers in units of 2**-28. places: the numbers "
    "of the indices from first_index on, in these units. noise: SHA-256 of x * (1 + std * z) where "
    "relative, else of x + std * z, in C order and little-endian. Each operation is rounded by "
    "itself in that dtype, std is rounded first, and element i of x is (i % 1000 - 499.5) / 8."
)
ROWS = list(struct.iter_unpack("<4I", make_normals.table()))
WORDS = 2**32
PRECISION = {"float32": (24, "f"), "float64": (53, "d")}

PLACES = [(0, 0, 0), (42, 3, 0), (1, 2**64 - 1, 5), (7, 1, 2**34 - 3), (0, 2**32, 2**63 + 1)]
NOISE = [
    {"relative": False, "std": 1.0, "seed": 0, "step": 0, "shape": (7,)},
    {"relative": False, "std": 0.1, "seed": 42, "step": 3, "shape": (33, 65)},
    {"relative": True, "std": 0.5, "seed": 0, "step": 1, "shape": (128, 128)},
    {"relative": True, "std": 1 / 3, "seed": 42, "step": 3, "shape": (9, 16, 21)},
    {"relative": True, "std": 3.0, "seed": 7, "step": 12345678901234567890, "shape": (64, 33)},
]
PARTS = [
    *({"shared_axes": (), "window": None},) * 3,
    {"shared_axes": (1,), "window": None},
    {"shared_axes": (), "window": ((2**31 - 5, 7), (2**32, 50))},
]


def numerator(word):
    """Return the number of a word in units of 2**-28: a cubic polynomial in its segment."""
    count = min(word, WORDS - 1 - word)
    row, size = count, 1
    while row >= 64:
        row, size = row // 2, 2 * size
    place = count % size * WORDS // size
    constant, *others = ROWS[row + 32 * (size.bit_length() - 1)]
    fall = 0
    for coefficient in reversed(others):
        fall = place * (coefficient - fall) // WORDS
    value = constant - fall // 2**8
    return value if word > count else -value


@lru_cache(maxsize=8)
def block(number, step, key):
    """Return four words: Philox4x32-10."""
    a, b, c, d = number % WORDS, number // WORDS, step % WORDS, step // WORDS
    left, right = key
    for _ in range(10):
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b = second // WORDS ^ b ^ left, second % WORDS
        c, d = first // WORDS ^ d ^ right, first % WORDS
        left, right = (left + 0x9E3779B9) % WORDS, (right + 0xBB67AE85) % WORDS
    return a, b, c, d


def key_of(seed):
    return tuple(map(int, SeedSequence(seed).generate_state(2)))


def number_at(index, step, key):
    return numerator(block(index // 4, step, key)[index % 4])


def rounded(value, bits):
    """Return a fraction rounded to so many bits."""
    low, high = abs(value).as_integer_ratio()
    exponent = low.bit_length() - high.bit_length()
    exponent -= abs(value) < Fraction(2) ** exponent
    unit = Fraction(2) ** (exponent - bits + 1)
    return round(value / unit) * unit  # Python's round takes ties to even


def index_of(at, shape, shared_axes, window):
    offset, extent = window or ((0,) * len(shape), shape)
    index = 0
    for axis, here in enumerate(at):
        if axis not in shared_axes:
            index = index * extent[axis] + offset[axis] + here
    return index


def digest(dtype, relative, std, seed, step, shape, shared_axes, window):
    """Return the SHA-256 of noise upon the published numbers."""
    (bits, code), key, out = PRECISION[dtype], key_of(seed), []
    factor = rounded(Fraction(std), bits)
    for i, at in enumerate(product(*map(range, shape))):
        z = Fraction(number_at(index_of(at, shape, shared_axes, window), step, key), 2**28)
        x, noise = Fraction(2 * (i % 1000) - 999, 16), rounded(rounded(z, bits) * factor, bits)
        y = x * rounded(1 + noise, bits) if relative else x + noise
        out.append(float(rounded(y, bits)))
    assert len(out) == prod(shape)
    return hashlib.sha256(struct.pack(f"<{len(out)}{code}", *out)).hexdigest()


def words():
    """Yield both ends, the middle, both ends of each octave's segments, and some at random."""
    yield from (*range(5), *range(2**31 - 5, 2**31 + 5), *range(WORDS - 5, WORDS))
    for octave in range(26):
        for row in (32, 33, 47, 63):
            for word in (row << octave, ((row + 1) << octave) - 1):
                yield from (word, WORDS - 1 - word)
    yield from map(random.Random(0).getrandbits, [32] * 100)


def vectors():
    numerators = {word: numerator(word) for word in sorted(set(words()))}
    for word, value in numerators.items():
        exact = make_normals.magnitude(min(word, WORDS - 1 - word))
        assert abs(abs(value) - exact * 2**28) < 3.95e-9 * 2**28
    places = [
        {
            **{"seed": seed, "key": key_of(seed), "step": step, "first_index": first},
            "numerators": [number_at(first + i, step, key_of(seed)) for i in range(9)],
        }
        for seed, step, first in PLACES
    ]
    noise = [
        {**place, **{dtype: digest(dtype, **place) for dtype in PRECISION}}
        for place in (n | p for n, p in zip(NOISE, PARTS, strict=True))
    ]
    return {"_about": ABOUT, "numerators": numerators, "places": places, "noise": noise}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(vectors(), indent=1) + "\n")
