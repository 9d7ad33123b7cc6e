"""What the demo's headlines claim: no more than the seeds show, whatever they show."""

import re

import numpy as np
import pytest
from subjects import available

from anydrop import demo

missing = [name for module, name in demo.NEEDED.items() if not available(module)]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"the demo needs {', '.join(missing)}")

if not missing:
    from scipy import stats

    from anydrop.demo.tables import headline

CLAIM = re.compile(r"dropout (gains|loses) (\d+\.\d) ± (\d+\.\d) points")
ONE = re.compile(r"([+-]\d+\.\d) points with dropout in one seed, which can't tell the spread")
OPEN = re.compile(
    r"([+-]\d+\.\d) ± (\d+\.\d) points with dropout, which (\d+) seeds can't tell from chance"
)
IMAGE = 100 / 797


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([17.6], "+17.6 points with dropout in one seed, which can't tell the spread"),
        ([-3.2], "-3.2 points with dropout in one seed, which can't tell the spread"),
        ([0.0], "+0.0 points with dropout in one seed, which can't tell the spread"),
        ([-0.01], "+0.0 points with dropout in one seed, which can't tell the spread"),
        ([17.0, 17.2], "dropout gains 17.1 ± 0.1 points"),
        ([-17.0, -17.2], "dropout loses 17.1 ± 0.1 points"),
        ([10, 20], "+15.0 ± 5.0 points with dropout, which 2 seeds can't tell from chance"),
        ([-10, -20], "-15.0 ± 5.0 points with dropout, which 2 seeds can't tell from chance"),
        ([1, -1], "+0.0 ± 1.0 points with dropout, which 2 seeds can't tell from chance"),
        ([0, 0, 0], "+0.0 ± 0.0 points with dropout, which 3 seeds can't tell from chance"),
        ([20, 20, 20], "dropout gains 20.0 ± 0.0 points"),
        ([-4, -5, -6], "dropout loses 5.0 ± 0.6 points"),
        # Two seeds with one more image each: chance as like as not.
        (
            [IMAGE, IMAGE],
            "+0.1 ± 0.0 points with dropout, which 2 seeds can't tell from chance",
        ),
    ],
)
def test_headline(points, expected):
    assert headline(np.array(points) / 100) == expected


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("n", range(2, 31))
def test_the_rule_is_students(n, sign):
    """Just below its 97.5 % quantile nothing is claimed, and just above it, up to ten seeds."""
    spread = np.linspace(-0.1, 0.1, n)
    limit = stats.t.ppf(0.975, n - 1) * stats.sem(spread)
    assert OPEN.fullmatch(headline(sign * (spread + 0.99 * limit)))
    above = 1.01 if n <= 10 else 1.13  # up to 2.27 / 1.96 with ever more seeds
    assert CLAIM.fullmatch(headline(sign * (spread + above * limit)))


@pytest.mark.parametrize("images", [1, 3, 10])
@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_false_alarms(n, images):
    """Where dropout changes nothing, one claim in 20 at most: 4,000 runs, four standard errors."""
    gains = np.random.default_rng(n).normal(0, images, (4000, n)).round() / 797
    claims = np.mean([bool(CLAIM.fullmatch(headline(row))) for row in gains])
    assert claims < 0.05 + 4 * (0.05 * 0.95 / len(gains)) ** 0.5


def test_a_clear_gain_is_claimed():
    gains = np.random.default_rng(0).normal(0.16, 0.02, (200, 5))
    assert all(headline(row).startswith("dropout gains 1") for row in gains)


def test_the_numbers_are_those_measured():
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(2000):
        n = int(rng.integers(1, 13))
        gains = rng.normal(rng.normal(0, 0.05), rng.choice([0.001, 0.02]), n)
        text, mean = headline(gains), 100 * gains.mean()
        if claim := CLAIM.fullmatch(text):
            measured = float(claim[2]) * {"gains": 1, "loses": -1}[claim[1]]
            error = float(claim[3])
        elif n == 1:
            measured, error = float(ONE.fullmatch(text)[1]), None
        else:
            told = OPEN.fullmatch(text)
            measured, error = float(told[1]), float(told[2])
            assert int(told[3]) == n
        assert measured == pytest.approx(mean, abs=0.0501)
        assert error is None or error == pytest.approx(100 * stats.sem(gains), abs=0.0501)
        seen.add((bool(claim), n == 1, mean > 0))
    assert len(seen) == 6  # gains and losses, claimed, open and of one seed
