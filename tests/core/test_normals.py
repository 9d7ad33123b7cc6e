"""Normal numbers: the table, the properties that the documentation states, and known answers."""

import hashlib
import subprocess
import sys
from pathlib import Path
from statistics import NormalDist

import array_api_compat.numpy as xp
import numpy as np
import pytest

import anydrop
from anydrop.backends.common.normals import standard_normal
from anydrop.core import quantile, stream

TABLE = Path(quantile.__file__).with_name("normals.bin")
MAKE = Path(__file__).parents[1] / "vectors" / "make_normals.py"
ROWS, COUNTS = 864, 2**31
# All 2**31 counts were walked once: this is the largest error, and where it is.
ERROR, THE_WORST = 3.95e-9, 1084482
SHIPPED = quantile.table().astype(np.uint64)


def sample():
    """Return counts, in order: all below 2**16, those around each row's ends, and two million."""
    rng = np.random.default_rng(0)
    octaves = np.maximum(np.arange(ROWS) // 32 - 1, 0)
    firsts = (np.arange(ROWS) - 32 * octaves) << octaves
    seams = np.add.outer(np.append(firsts, COUNTS), np.arange(-9, 9)).ravel()
    of_each_size = np.exp2(31 * rng.random(1_500_000)).astype(np.int64)
    all_of_them = (
        np.arange(2**16),
        seams,
        [THE_WORST],
        of_each_size,
        rng.integers(0, COUNTS, 1_500_000),
    )
    counts = np.unique(np.concatenate(all_of_them))
    return counts[(counts >= 0) & (counts < COUNTS)].astype(np.uint64)


SAMPLE = sample()
# How far the quantile of some of these counts is from zero; the worst is the first.
SOME = np.append(np.uint64(THE_WORST), SAMPLE[::8])
MAGNITUDES = np.asarray([-NormalDist().inv_cdf((c + 0.5) / 2**32) for c in SOME.tolist()])


def walked(table, counts):
    """Return the rows of counts, their numerators without the sign, and the largest product."""
    octave = np.frexp(np.maximum(counts, 32).astype(np.float64))[1].astype(np.uint64) - 6
    row = (octave << 5) + (counts >> octave)
    place = (counts << (32 - octave)) & 0xFFFFFFFF
    c0, c1, c2, c3 = table[np.minimum(row, ROWS - 1)].T
    cube = place * c3
    square = place * (c2 - (cube >> 32))
    line = place * (c1 - (square >> 32))
    return row, (c0 - (line >> 40)).astype(np.int64), max(p.max() for p in (cube, square, line))


def broken(table):
    """Return which properties a table of normal numbers does not have."""
    row, magnitude, product = walked(table, SAMPLE)
    error = np.abs(walked(table, SOME)[1] * 2.0**-28 - MAGNITUDES).max()
    limits = 2 ** np.asarray([31, 31, 24, 19])
    holds = {
        "rows": row[0] == 0 and row[-1] == ROWS - 1 and set(np.diff(row)) <= {0, 1},
        "order": (np.diff(magnitude) <= 0).all(),
        "error": error < ERROR,
        "limits": (table < limits).all(),
        "products": product < 2**63,
        "end": magnitude[0] * 2.0**-28 == 6.337957754731178,
        "zeros": SAMPLE[magnitude == 0].tolist() == list(range(COUNTS - 3, COUNTS)),
    }
    return {name for name, right in holds.items() if not right}


def test_the_table_is_what_its_script_makes(tmp_path):
    subprocess.run([sys.executable, MAKE, tmp_path / "made.bin"], check=True)
    made, shipped = (tmp_path / "made.bin").read_bytes(), TABLE.read_bytes()
    assert made == shipped
    digest = hashlib.sha256(shipped).hexdigest()
    assert digest == "046e0e4d2e6d3fbfcdba33d6ad103b7bea35b62ce560afe534721b250882f89e"


def test_properties():
    """No index leaves the table; numbers are in order, near enough, and fit their integers."""
    assert len(SAMPLE) > 2_000_000
    assert set(SAMPLE[: 2**16]) == set(range(2**16))
    assert set(walked(SHIPPED, SAMPLE)[0]) == set(range(ROWS))
    assert not broken(SHIPPED)
    error = np.abs(walked(SHIPPED, SOME)[1] * 2.0**-28 - MAGNITUDES)
    assert error.argmax() == 0
    assert error[0] > ERROR - 1e-11


@pytest.mark.parametrize(
    ("row", "column", "by", "named"),
    [
        (0, 0, 1, {"end"}),
        (0, 0, 2**31 - 1, {"limits", "error", "end"}),
        (100, 0, -(2**26), {"order", "error"}),
        (300, 0, 2, {"error"}),
        (500, 1, 2**16, {"order", "error"}),
        (700, 1, -(2**12), {"error"}),
        (400, 2, 2**24, {"limits", "error"}),
        (64, 3, 2**19, {"limits"}),
        (863, 0, 8, {"zeros"}),
    ],
)
def test_a_wrong_coefficient_is_seen(row, column, by, named):
    table = SHIPPED.astype(np.int64)
    table[row, column] += by
    assert broken(table.astype(np.uint64)) >= named


def test_wrong_rows_are_seen():
    assert broken(np.roll(SHIPPED, 1, axis=0)) >= {"order", "error", "end", "zeros"}


def test_the_definition_walks_this_way():
    """One word at a time, at all ends of rows and some more, in both halves."""
    counts = np.concatenate([SAMPLE[:: 2**8], SAMPLE[2**16 : 2**16 + 9], SAMPLE[-9:]])
    magnitudes = walked(SHIPPED, counts)[1].tolist()
    for count, magnitude in zip(counts.tolist(), magnitudes, strict=True):
        assert quantile.numerator(count) == -magnitude
        assert quantile.numerator(2**32 - 1 - count) == magnitude


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_of_words_walk_this_way(dtype):
    """In integers of 32 bits and in longer ones; the numbers are rounded once."""
    magnitude = walked(SHIPPED, SAMPLE)[1]
    for words, expected in ((SAMPLE, -magnitude), (2**32 - 1 - SAMPLE, magnitude)):
        wanted = (expected * 2.0**-28).astype(dtype)
        for kind in (np.uint32, np.int64):
            z = standard_normal(xp, words.astype(kind), dtype, None)
            assert z.dtype == dtype
            assert z.tobytes() == wanted.tobytes()
    assert not np.signbit(wanted[wanted == 0]).any()


def test_the_ends_and_the_middle():
    assert quantile.numerator(0) == -quantile.numerator(2**32 - 1) == -1701332580
    middle = range(2**31 - 4, 2**31 + 4)
    assert list(map(quantile.numerator, middle)) == [-1, *[0] * 6, 1]


def test_known_answers(normal_vectors):
    for word, expected in normal_vectors["numerators"].items():
        assert quantile.numerator(int(word)) == expected


def test_known_answers_of_places(normal_vectors, subject_and_dtype):
    """Of a seed, a step and an index, in every way to draw them."""
    subject, dtype = subject_and_dtype
    for case in normal_vectors["places"]:
        first, step, expected = case["first_index"], case["step"], case["numerators"]
        key, n = stream.key_of(case["seed"]), len(case["numerators"])
        assert list(key) == case["key"]
        words = [stream.word(first + i, step, key) for i in range(n)]
        assert [quantile.numerator(word) for word in words] == expected
        window = anydrop.Window((first,), (first + n,))
        recipe = anydrop.Mask.from_seed((n,), 0.5, seed=case["seed"], step=step, window=window)
        z = subject.numpy(subject.backend.normals(recipe, subject.array(np.ones(1, dtype))))
        wide = "float64" if dtype in ("float64", "complex128") else "float32"
        assert z.tobytes() == (np.asarray(expected) * 2.0**-28).astype(wide).tobytes()
