"""Normal numbers as statistics see them: over indices, steps and seeds, one by one and in pairs.

Each statistic refuses a share of `SHARE` of right implementations: at most by Chernoff's bound, and
for the distances and the cells in the limit of many numbers. There are 67 of them, so 7e-6 of right
implementations would fail here.
"""

import math
from functools import cache
from statistics import NormalDist

import numpy as np
import pytest

import anydrop
from anydrop.backends.base import Backend
from anydrop.backends.common import normals
from anydrop.core import quantile

SHARE = 1e-7
SIDE = 1024
N = SIDE**2
LARGEST = 6.338
GRID = np.linspace(-LARGEST, LARGEST, 20_001)
DENSITY = np.exp(-(GRID**2) / 2) / math.sqrt(2 * math.pi) * (GRID[1] - GRID[0])


@cache
def indices():
    return anydrop.gaussian_noise(np.zeros((SIDE, SIDE)), seed=11)


@cache
def steps():
    x = np.zeros(SIDE)
    return np.stack([anydrop.gaussian_noise(x, seed=12, step=t) for t in range(SIDE)])


@cache
def seeds():
    x = np.zeros(SIDE)
    return np.stack([anydrop.gaussian_noise(x, seed=seed) for seed in range(SIDE)])


@cache
def far_indices():
    window = anydrop.Window((2**34 - 300, 5), (2**40, 2**11))
    return anydrop.gaussian_noise(np.zeros((SIDE, SIDE)), seed=13, step=2**40, window=window)


SAMPLES = [indices, steps, seeds, far_indices]


def farthest(n, cumulants, scale):
    """Return what the mean of n numbers exceeds with a chance of at most ``SHARE / 2``.

    Chernoff's bound, ``exp(n * (K(s) - s * mean))``, for the best of some s: K is the logarithm of
    the mean of ``exp(s * number)``, and the standard deviation of a number is `scale`.
    """
    s = np.geomspace(0.05, 20, 200) / (scale * math.sqrt(n))
    return ((math.log(2 / SHARE) / n + np.array([cumulants(one) for one in s])) / s).min()


@cache
def bounds_of_moment(power):
    """Return the bounds of the mean of ``z**power`` over N numbers."""
    scale = math.sqrt(math.prod(range(1, 2 * power, 2)))

    def beyond(sign):
        return farthest(
            N, lambda s: math.log((DENSITY * np.exp(sign * s * GRID**power)).sum()), scale
        )

    return -beyond(-1), beyond(1)


def refuted(z):
    """Return which statistics of N standard normal numbers are not as they should be: of 10."""
    z = np.sort(z.ravel())
    off = set()
    for power in range(1, 9):
        least, most = bounds_of_moment(power)
        if not least <= (z**power).mean() <= most:
            off.add(f"moment {power}")
    halves = (z / math.sqrt(2)).tolist()
    below = np.array([math.erfc(-one) for one in halves]) / 2
    above = np.array([math.erfc(one) for one in halves]) / 2
    # Kolmogorov's series, of which the first term is a bound.
    ranks = np.arange(N)
    distance = max((below - ranks / N).max(), ((ranks + 1) / N - below).max())
    if 2 * math.exp(-2 * N * distance**2) < SHARE:
        off.add("Kolmogorov-Smirnov")
    # A sum of squares of normal numbers, divided by j (j + 1), for all j from 1 on; its tail is
    # that of the first, times the root of 3 (Zolotarev, 1961).
    squared = -N - ((2 * ranks + 1) * (np.log(below) + np.log(above[::-1]))).mean()
    if math.sqrt(3) * math.erfc(math.sqrt(max(squared, 0))) < SHARE:
        off.add("Anderson-Darling")
    return off


BINS = 32
EDGES = [NormalDist().inv_cdf(k / BINS) for k in range(1, BINS)]


def refuted_as_pairs(one, other):
    """Return which statistics of independent pairs are not as they should be: of 3."""
    a, b = one.ravel(), other.ravel()
    n, off = a.size, set()
    # The mean of exp(s a b) is (1 - s^2)^(-1/2).
    if abs((a * b).mean()) > farthest(n, lambda s: -0.5 * math.log1p(-(min(s, 0.999) ** 2)), 1):
        off.add("correlation")

    def of_squares(s, sign=1):
        # The mean of exp(c (b^2 - 1)) is exp(-c) (1 - 2 c)^(-1/2).
        c = sign * s * (GRID**2 - 1) / 2
        if c.max() >= 0.5:
            return math.inf
        return math.log((DENSITY * np.exp(-c) / np.sqrt(1 - 2 * c)).sum())

    squares = ((a**2 - 1) * (b**2 - 1)).mean() / 2
    if not -farthest(n, lambda s: of_squares(s, -1), 1) <= squares <= farthest(n, of_squares, 1):
        off.add("correlation of squares")
    cells = np.searchsorted(EDGES, a) * BINS + np.searchsorted(EDGES, b)
    counts, expected, free = np.bincount(cells, minlength=BINS**2), n / BINS**2, BINS**2 - 1
    chi2 = ((counts - expected) ** 2 / expected).sum()
    # Wilson and Hilferty, 1931.
    deviation = ((chi2 / free) ** (1 / 3) - (1 - 2 / (9 * free))) / math.sqrt(2 / (9 * free))
    if math.erfc(abs(deviation) / math.sqrt(2)) < SHARE:
        off.add("cells")
    return off


def refuted_as_tail(count, n, least):
    """Tell whether too few or too many of n numbers are farther than `least` from zero.

    Chernoff's bound of a binomial count.
    """
    p, share = math.erfc(least / math.sqrt(2)), count / n
    divergence = (share * math.log(share / p) if share else 0.0) + (1 - share) * (
        math.log1p(-share) - math.log1p(-p)
    )
    return 2 * math.exp(-n * divergence) < SHARE


# What is drawn -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.__name__)
def test_moments_and_distribution(sample):
    assert not refuted(sample())


def halves(z):
    """Yield pairs of neighbours along the first axis, none of them in two pairs at once."""
    yield z[0::2], z[1::2]
    yield z[1:-1:2], z[2::2]


def test_neighbouring_indices():
    z = indices().ravel()
    for pairs in (*halves(z), (z[: N // 2], z[N // 2 :])):
        assert not refuted_as_pairs(*pairs)
    blocks = z.reshape(-1, 4)
    assert not refuted_as_pairs(blocks[0::2], blocks[1::2])  # of the same lane


@pytest.mark.parametrize("sample", [steps, seeds], ids=lambda sample: sample.__name__)
def test_neighbouring_draws(sample):
    for pairs in halves(sample()):
        assert not refuted_as_pairs(*pairs)


TAILS = (3.0, 4.0, 5.0)
MANY = 2**25


@cache
def beyond():
    """Return how many of 2**25 numbers are farther from zero than each of `TAILS`."""
    x = np.zeros(MANY // 16, "f4")
    counts = np.zeros(3, int)
    for step in range(16):
        z = np.abs(anydrop.gaussian_noise(x, seed=14, step=step))
        counts += [np.count_nonzero(z > least) for least in TAILS]
    return counts.tolist()


@pytest.mark.parametrize("tail", range(3))
def test_tails(tail):
    assert not refuted_as_tail(beyond()[tail], MANY, TAILS[tail])


# What would be wrong -----------------------------------------------------------------------------


def test_wrong_numbers_are_seen():
    z = indices().ravel()
    faults = {
        "scaled": (z * 1.01, {"moment 2", "moment 4", "Anderson-Darling"}),
        "shifted": (z + 0.02, {"moment 1", "Kolmogorov-Smirnov", "Anderson-Darling"}),
        "clipped": (np.clip(z, -3, 3), {"moment 4", "moment 6", "moment 8"}),
        "skew": (np.where(z > 0, 1.02 * z, z), {"moment 1", "moment 3", "moment 5", "moment 7"}),
    }
    seen = {name: refuted(wrong) for name, (wrong, _) in faults.items()}
    for name, (_, expected) in faults.items():
        assert seen[name] >= expected, name
    assert len(set().union(*seen.values())) == 10


def test_a_wrong_row_of_the_table_is_seen(monkeypatch):
    table = quantile.table().copy()
    table[840] = table[841]
    monkeypatch.setattr(normals, "table", lambda: table)
    recipe = anydrop.Mask.from_seed((SIDE, SIDE), 0.5, seed=11)
    z = Backend("numpy", "array_api_compat.numpy").normals(recipe, np.zeros(1))
    assert 0 < np.count_nonzero(z != indices()) < 0.02 * N
    assert refuted(z)


def test_wrong_pairs_are_seen():
    z = indices()
    a, b = z[0::2], z[1::2]
    assert "correlation" in refuted_as_pairs(a, b + 0.02 * a)
    assert "cells" in refuted_as_pairs(a, np.where(np.abs(a) < 0.5, np.abs(b), b))
    larger = np.where(np.abs(a) > 1, 1.02, 0.99) * b
    assert "correlation of squares" in refuted_as_pairs(a, larger)
    assert refuted_as_pairs(a, a) == {"correlation", "correlation of squares", "cells"}


def test_wrong_tails_are_seen():
    for least, count in zip(TAILS, beyond(), strict=True):
        assert refuted_as_tail(0, MANY, least)  # such as those of numbers clipped there
        assert refuted_as_tail(5 * count, MANY, least)
    assert refuted_as_tail(round(beyond()[0] * 1.03), MANY, 3.0)
