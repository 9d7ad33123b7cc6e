"""Means, variances and values against their closed forms.

A bound of 5 standard deviations refuses 6e-7 of right implementations, by the normal approximation,
which is within a factor of 2 of that at these numbers of draws. No test here has more than 100.
"""

import itertools
import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from bounds import SIGMAS, binomial, sigmas
from catalogue import KINDS
from variants import SELU, alpha

import anydrop
from anydrop.core import stream

FATES = 40_000
RATES = [0.05, 0.3, 0.6, 0.9]
# Those that scale, and whose batch may be as large as a test wants.
SCALED = [v for v in KINDS if v.affine(0.5)[0] == 2 and v.name != "stochastic_depth-batch"]


def enlarged(variant):
    """Return a shape with many fates: longer along the first axis that is not shared."""
    shape = list(variant.shape)
    fates = math.prod(n for a, n in enumerate(shape) if a not in variant.shared)
    axis = next(a for a in range(len(shape)) if a not in variant.shared)
    shape[axis] *= math.ceil(FATES / fates)
    return tuple(shape)


def one_of_each_fate(variant, y):
    return y[variant.fates].ravel()


def refuted(y, mean, variance, fourth):
    """Return which moments of numbers are not those of a closed form, `fourth` about the mean.

    False alarms: 1.2e-6.
    """
    off = {
        "mean": sigmas(y, mean, variance),
        "variance": sigmas((y - mean) ** 2, variance, fourth - variance**2),
    }
    return {name: by for name, by in off.items() if abs(by) > SIGMAS}


def two_values(p, kept, dropped):
    """Return the mean, variance and fourth central moment of what is `dropped` with chance p."""
    mean = (1 - p) * kept + p * dropped
    return mean, *((1 - p) * (kept - mean) ** k + p * (dropped - mean) ** k for k in (2, 4))


def test_that_wrong_moments_are_seen():
    """A rate off by a twentieth, and a scale off by a fiftieth."""
    rng, p = np.random.default_rng(0), 0.3
    y = (rng.random(FATES) >= p) / (1 - p)
    assert not refuted(y, 1, *two_values(p, 1 / (1 - p), 0)[1:])
    wrong = (rng.random(FATES) >= p * 1.05) / (1 - p)
    assert "mean" in refuted(wrong, 1, *two_values(p, 1 / (1 - p), 0)[1:])
    assert "mean" in refuted(y * 1.02, 1, *two_values(p, 1 / (1 - p), 0)[1:])
    assert "variance" in refuted(y * 1.1, 1.1, *two_values(p, 1 / (1 - p), 0)[1:])


@pytest.mark.parametrize("p", RATES)
@pytest.mark.parametrize("variant", SCALED, ids=str)
def test_scaled_in_training(variant, p):
    """Of ones: mean 1, variance p / (1 - p), and a share p of zeros.

    False alarms: 1.8e-6 a case, 1e-4 in all.
    """
    y = one_of_each_fate(variant, variant(np.ones(enlarged(variant)), p, seed=31))
    least, most = binomial(y.size, p, 6e-7)
    assert least <= (y == 0).sum() <= most
    mean, variance, fourth = two_values(p, 1 / (1 - p), 0)
    assert math.isclose(mean, 1)
    assert math.isclose(variance, p / (1 - p))
    assert not refuted(y, 1, p / (1 - p), fourth)


@pytest.mark.parametrize("p", RATES)
@pytest.mark.parametrize("variant", SCALED, ids=str)
def test_scaled_at_inference(variant, p):
    """Of ones in training: mean 1 - p, variance p * (1 - p). At inference the mean, exactly.

    False alarms: 1.2e-6 a case, 1e-4 in all.
    """
    x = np.ones(enlarged(variant))
    y = one_of_each_fate(variant, variant(x, p, seed=32, scaling="inference"))
    assert set(np.unique(y)) == {0.0, 1.0}
    assert not refuted(y, 1 - p, p * (1 - p), two_values(p, 1, 0)[2])
    expected = variant(x, p, training=False, scaling="inference")
    assert np.array_equal(expected, np.full(x.shape, 1 - p))
    assert variant(x, p, training=False).mean() == 1


@pytest.mark.parametrize("p", [0.1, 0.6])
def test_blocks(p):
    """Of ones, in either scaling; one position of each map, which is a fate of its own.

    False alarms: 4e-6.
    """
    x = np.ones((20, FATES // 20, 5, 5))
    y = anydrop.drop_block2d(x, p, 3, seed=8)[:, :, 2, 1]
    assert not refuted(y, 1, p / (1 - p), two_values(p, 1 / (1 - p), 0)[2])
    y = anydrop.drop_block2d(x, p, 3, seed=9, scaling="inference")[:, :, 0, 4]
    assert not refuted(y, 1 - p, p * (1 - p), two_values(p, 1, 0)[2])
    y = anydrop.drop_block2d(x[:2], p, 3, scaling="inference", training=False)
    assert np.array_equal(y, np.full(y.shape, 1 - p))


# Alpha dropout ------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", RATES)
@pytest.mark.parametrize("features", [False, True])
def test_alpha_keeps_mean_0_and_variance_1(p, features):
    """Of standard normal input. False alarms: 1.2e-6 a case, 1e-5 in all.

    A kept element is ``a z + b`` and a dropped one v, so the fourth moment is
    ``(1 - p) (3 a^4 + 6 a^2 b^2 + b^4) + p v^4``.
    """
    a, b, v = alpha(p)
    x = np.random.default_rng(5).standard_normal((400, 1000))
    if features:
        y = anydrop.feature_alpha_dropout(np.stack([x, x], axis=2), p, seed=3)
        assert ((y == v).all(axis=2) == (y == v).any(axis=2)).all()
        y = y[:, :, 1]
    else:
        y = anydrop.alpha_dropout(x, p, seed=3)
    fourth = (1 - p) * (3 * a**4 + 6 * a**2 * b**2 + b**4) + p * v**4
    assert not refuted(y, 0, 1, fourth)


@pytest.mark.parametrize("p", [*RATES, 1e-9, 1 - 1e-9])
def test_alphas_affine_map(p):
    """PyTorch's formula: ``a = 1 / sqrt((alpha^2 p + 1) (1 - p))``, ``b = -a alpha p``."""
    a = 1 / math.sqrt((SELU**2 * p + 1) * (1 - p))
    x = np.linspace(-3, 3, 501)
    y, mask = anydrop.alpha_dropout(x, p, seed=1, return_mask=True)
    kept = mask.keep(like=x)
    assert mask.scale == pytest.approx(a, rel=1e-14)
    assert np.allclose(y[kept], a * x[kept] - a * SELU * p, rtol=1e-13, atol=1e-13 * a)
    assert np.allclose(y[~kept], a * SELU - a * SELU * p, rtol=1e-13)
    if p in RATES:
        assert 0 < kept.sum() < x.size


def test_where_selu_saturates():
    """Klambauer's constants, to all their digits: -1.0507... * 1.6732..."""
    assert pytest.approx(-1.0507009873554804934 * 1.6732632423543772848, rel=1e-15) == SELU
    y, mask = anydrop.alpha_dropout(np.zeros(100), 0.5, seed=0, return_mask=True)
    dropped = y[~mask.keep(like=y)]
    assert np.unique(dropped / mask.scale) == pytest.approx(SELU * (1 - 0.5), rel=1e-14)


# Normal noise -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2"])
def test_a_normal_number_is_the_quantile_of_its_word(dtype):
    """Below the number of a word w lies a share (w + 1/2) / 2**32, in all dtypes."""
    key = stream.key_of(12)
    words = [stream.word(i, 3, key) for i in range(2000)]
    x = np.zeros(2000, dtype)
    noise = anydrop.gaussian_noise(x, 1.0, seed=12, step=3, return_mask=True)[1]
    z = noise.keep(like=x)
    assert z.dtype == {"f8": "f8", "f4": "f4", "f2": "f4"}[dtype]
    exact = np.array([NormalDist().inv_cdf((word + 0.5) / 2**32) for word in words])
    rounded = np.spacing(np.abs(exact).astype(z.dtype)) / 2 if dtype != "f8" else 0.0
    assert (np.abs(z - exact) <= 4e-9 + rounded).all()
    assert max(map(abs, z)) > 3


def chi_square(numbers, bins=64):
    """Return how far numbers are from being normal ones, as a standard normal number.

    The counts in bins that are equally likely give a chi-square of ``bins - 1`` degrees of freedom,
    whose cube root is nearly normal (Wilson and Hilferty, 1931).
    """
    edges = [NormalDist().inv_cdf(k / bins) for k in range(1, bins)]
    counts = np.bincount(np.searchsorted(edges, numbers), minlength=bins)
    expected, free = numbers.size / bins, bins - 1
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    return ((chi2 / free) ** (1 / 3) - (1 - 2 / (9 * free))) / math.sqrt(2 / (9 * free))


def refuted_as_normal(z):
    """Return what of standard normal numbers is not as it should be; z is in C order.

    False alarms: 4e-6, at 6e-7 each for 7 statistics.
    """
    n = z.size
    off = {
        "mean": z.mean() * math.sqrt(n),
        "variance": ((z**2).mean() - 1) * math.sqrt(n / 2),
        "skewness": (z**3).mean() * math.sqrt(n / 15),
        "fourth moment": ((z**4).mean() - 3) * math.sqrt(n / 96),
        "shape": chi_square(z),
        "neighbours": (z[1:] * z[:-1]).mean() * math.sqrt(n - 1),
        "their squares": ((z[1:] ** 2 - 1) * (z[:-1] ** 2 - 1)).mean() * math.sqrt((n - 1) / 4),
    }
    return {name: by for name, by in off.items() if abs(by) > SIGMAS}


NORMALS = 2**18


def test_that_what_is_not_normal_is_seen():
    rng = np.random.default_rng(0)
    z = rng.standard_normal(NORMALS)
    assert not refuted_as_normal(z)
    uniform = (rng.random(NORMALS) - 0.5) * math.sqrt(12)
    assert refuted_as_normal(uniform).keys() == {"fourth moment", "shape"}
    assert refuted_as_normal(z * 1.02).keys() >= {"variance", "fourth moment"}
    assert refuted_as_normal(z + 0.02).keys() >= {"mean"}
    ordered = refuted_as_normal(z + 0.02 * np.roll(z, 1))
    assert ordered.keys() == {"neighbours"}
    twins = z * np.where(np.arange(NORMALS) % 2, rng.choice([-1, 1], NORMALS), 1)
    twins[1::2] = np.abs(twins[::2]) * np.sign(twins[1::2])
    assert refuted_as_normal(twins).keys() == {"their squares"}


@pytest.mark.parametrize("p", RATES)
def test_gaussian_dropout(p):
    """Of ones: mean 1, variance p / (1 - p), and normal. False alarms: 4e-6 a case, 2e-5 in all."""
    y = anydrop.gaussian_dropout(np.ones((512, 512)), p, seed=2)
    assert not refuted_as_normal((y.ravel() - 1) / math.sqrt(p / (1 - p)))


@pytest.mark.parametrize("std", [0.1, 3.0])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_gaussian_noise(std, dtype):
    """Added: mean 0, variance std**2, and normal. False alarms: 4e-6 a case, 2e-5 in all."""
    y = anydrop.gaussian_noise(np.zeros(NORMALS, dtype), std, seed=4)
    assert not refuted_as_normal(y.astype("f8") / std)


def test_noise_of_neighbouring_draws():
    """Of the next step, of another seed, and of the next row. False alarms: 2e-6."""
    x, n = np.zeros((256, 1024)), NORMALS
    z = anydrop.gaussian_noise(x, seed=4)
    for other in (
        anydrop.gaussian_noise(x, seed=4, step=1),
        anydrop.gaussian_noise(x, seed=5),
        np.roll(z, 1, axis=0),
    ):
        assert abs((z * other).mean()) * math.sqrt(n) < SIGMAS


def test_noise_is_relative_or_not():
    """What the noise makes of a number x: x times it, or x and it."""
    x = np.asarray([-3.0, 0.0, 0.5, 100.0])
    noise = anydrop.gaussian_noise(np.zeros(4), 0.5, seed=1)
    assert np.array_equal(anydrop.gaussian_noise(x, 0.5, seed=1), x + noise)
    assert np.array_equal(anydrop.gaussian_noise(x, 0.0, seed=1), x)
    factor = anydrop.gaussian_dropout(np.ones(4), 0.2, seed=1)  # of standard deviation 0.5
    assert np.allclose(factor, 1 + noise, rtol=0, atol=1e-15)
    assert np.array_equal(anydrop.gaussian_dropout(x, 0.2, seed=1), x * factor)
    assert np.array_equal(anydrop.gaussian_dropout(x, 0.0, seed=1), x)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8"])
def test_noise_of_one_number(dtype):
    """An array comes back, as everywhere, though NumPy makes scalars of such products."""
    x = np.asarray(3, dtype)
    for function in (anydrop.gaussian_dropout, anydrop.gaussian_noise)[: 1 + (dtype != "c8")]:
        y = function(x, 0.5, seed=0)
        assert type(y) is np.ndarray
        assert (y.dtype, y.shape) == (dtype, ())


def test_noise_that_overflows():
    """It is infinite, and warns of nothing: pytest turns warnings into errors here."""
    for dtype in ("f2", "f4", "f8", "c8"):
        x = np.full(50, np.finfo(dtype).max, dtype)
        y = anydrop.gaussian_dropout(x, 0.5, seed=0)
        assert np.isinf(y).any()
    assert np.isinf(anydrop.gaussian_noise(np.zeros(50, "f2"), 1e6, seed=0)).any()


# Zoneout and depth --------------------------------------------------------------------------------


@pytest.mark.parametrize("p", RATES)
def test_zoneout(p):
    """Training: the old value with chance p. Inference: what it is on average, exactly.

    False alarms: 1.2e-6 a case, 5e-6 in all.
    """
    new, old = np.full(FATES, 3.0), np.full(FATES, -1.0)
    y = anydrop.zoneout(new, old, p, seed=6)
    mean, variance, fourth = two_values(p, 3, -1)
    assert not refuted(y, mean, variance, fourth)
    expected = anydrop.zoneout(new, old, p, training=False)
    assert np.allclose(expected, 3 * (1 - p) - p, rtol=1e-15)
    assert np.ptp(expected) == 0


def test_depth_rates_from_zero():
    """Those of ``torch.linspace(0, p, depth)``, by which timm's models are made."""
    for last, depth in itertools.product((0.0, 0.1, 0.75), (1, 2, 3, 24)):
        rates = anydrop.depth_rates(last, depth, from_zero=True)
        assert np.allclose(rates, np.linspace(0, last, depth), rtol=1e-15)
        assert all(type(rate) is float for rate in rates)
    assert anydrop.depth_rates(0.1, 4, from_zero=True)[-1] == 0.1
    with pytest.raises(TypeError, match="from_zero must be True or False"):
        anydrop.depth_rates(0.1, 4, from_zero=0)


def test_depth_rates():
    """The paper: the l-th of L branches survives with probability 1 - l / L * (1 - p_L)."""
    for last, depth in itertools.product((0.0, 0.2, 0.5, 0.875), (1, 2, 7, 54)):
        rates = anydrop.depth_rates(last, depth)
        assert len(rates) == depth
        for branch, p in enumerate(rates, 1):
            survival = 1 - Fraction(branch, depth) * (1 - (1 - Fraction(last)))
            assert math.isclose(1 - p, survival, rel_tol=1e-15)
        assert rates[-1] == last


def test_the_depth_of_a_network():
    """The paper's expected depth for p = 0.5 at the end: (3 L - 1) / 4 branches of L.

    False alarms: 6e-7.
    """
    depth, x = 12, np.ones((5000, 1))
    rates = anydrop.depth_rates(0.5, depth)
    assert math.isclose(sum(1 - p for p in rates), (3 * depth - 1) / 4)
    alive = sum(
        anydrop.stochastic_depth(x, p, seed=(1, branch)) != 0 for branch, p in enumerate(rates)
    )
    assert abs(sigmas(alive, (3 * depth - 1) / 4, sum(p * (1 - p) for p in rates))) < SIGMAS
