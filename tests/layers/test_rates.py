"""Drop rates at every position, by an exact binomial test over 1,000 draws.

A position of a right implementation survives in binomially many of its draws. Each test allows
itself a share of 1e-8 of false alarms, divided among its positions, and there are fewer than 100.
"""

import math

import numpy as np
import pytest
from bounds import SIGMAS, binomial, outside, rate_is_off_by
from catalogue import KINDS, NORMAL

import anydrop

DRAWS = 1000
SHARE = 1e-8


def test_the_bounds_themselves():
    """Of 10 tosses of a coin, 0 and 10 heads are 0.2 %, and 1 and 9 are 2 % more."""
    assert binomial(10, 0.5, 0.002) == (1, 9)
    assert binomial(10, 0.5, 0.0019) == (0, 10)
    assert binomial(10, 0.5, 0.0215) == (2, 8)
    assert outside([0, 1, 5, 9, 10], 10, 0.5, 5 * 0.002).tolist() == [0, 10]
    least, most = binomial(1000, 0.1, 6e-7)  # near those of a normal number, and skewed
    assert abs(least - (100 - SIGMAS * math.sqrt(90))) < 5
    assert abs(most - (100 + SIGMAS * math.sqrt(90))) < 8


def survivors(variant, p):
    """Return what survives of ones at each step."""
    x, fill = np.ones(variant.shape, "f4"), np.float32(variant.affine(p)[2])
    return np.asarray([variant(x, p, seed=2024, step=step) for step in range(DRAWS)]) != fill


@pytest.mark.parametrize("variant", KINDS, ids=str)
def test_every_position(variant):
    """False alarms: 1e-8."""
    kept = survivors(variant, 0.3)[variant.fates].reshape(DRAWS, -1)
    assert not outside(kept.sum(axis=0), DRAWS, 0.7, SHARE).size


def test_that_a_wrong_rate_is_seen():
    """Half as much again at one position of 35."""
    variant = next(v for v in KINDS if v.name == "zoneout")
    kept = survivors(variant, 0.3)
    kept[:, 2, 3] &= np.random.default_rng(0).random(DRAWS) > 0.15 / 0.7
    assert outside(kept.sum(axis=0), DRAWS, 0.7, SHARE).size == 1


@pytest.mark.parametrize("variant", NORMAL, ids=str)
def test_the_sign_of_noise(variant):
    """A fair coin at every position. False alarms: 1e-8."""
    x = np.ones(variant.shape)
    above = [variant(x, 0.3, seed=5, step=step) > 1 for step in range(DRAWS)]
    assert not outside(np.sum(above, axis=0), DRAWS, 0.5, SHARE).size


# DropBlock at the sizes of the paper's feature maps -----------------------------------------------

FUNCTIONS = {1: anydrop.drop_block1d, 2: anydrop.drop_block2d, 3: anydrop.drop_block3d}
MAPS = [
    *[((size,) * 2, block) for size in (7, 14) for block in (1, 3, 5, 7)],
    *[((14,), block) for block in (1, 3, 7)],
    *[((6, 6, 6), block) for block in (1, 3, 5)],
]


def dropped(size, block, p):
    """Return where elements of a feature map are dropped: of 10 channels, 5 examples, 20 steps."""
    function, x = FUNCTIONS[len(size)], np.ones((5, 10, *size), "f4")
    drops = [function(x, p, block, seed=7, step=step) == 0 for step in range(20)]
    return np.asarray(drops).reshape(DRAWS, *size)


def peers(size, block, p, everywhere):
    """Return where the peers' construction drops elements, of maps in two dimensions.

    Blocks begin inside of the map alone, as in the paper, or have their middle anywhere, as in its
    fast form, with ``gamma = p * H * W / block**2 / ((H - block + 1) * (W - block + 1))``.
    """
    n, rng = size[0], np.random.default_rng(0)
    inside = n - block + 1
    gamma = p * n * n / block**2 / inside**2
    drops = np.zeros((DRAWS, n, n), bool)
    reach = block // 2
    for step in range(DRAWS):
        middles = rng.random((n, n) if everywhere else (inside, inside)) < gamma
        for row, column in np.argwhere(middles) + (0 if everywhere else reach):
            rows = slice(max(0, row - reach), row + reach + 1)
            drops[step, rows, max(0, column - reach) : column + reach + 1] = True
    return drops


@pytest.mark.parametrize("p", [0.1, 0.4])
@pytest.mark.parametrize(("size", "block"), MAPS, ids=str)
def test_drop_block(size, block, p):
    """The nominal rate at every position, and over the map.

    False alarms: 1e-8 for the positions, 6e-7 for the maps; 2e-5 in all.
    """
    drops = dropped(size, block, p)
    assert not outside(drops.sum(axis=0), DRAWS, p, SHARE).size
    assert abs(rate_is_off_by(drops, block, p)) < SIGMAS


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_drop_block_at_corners_edges_and_centre(p):
    """The same, of so many maps that the bounds lie within a hundredth of the rate.

    False alarms: 1e-8.
    """
    rows, columns = [0, 0, 13, 13, 7], [0, 7, 6, 13, 7]
    places, maps = np.zeros(5, int), 100_000
    for seed in range(10):
        y = anydrop.drop_block2d(np.ones((maps // 1000, 100, 14, 14), "f4"), p, 7, seed=seed)
        places += (y[:, :, rows, columns] == 0).sum(axis=(0, 1))
    assert not outside(places, maps, p, SHARE).size
    least, most = binomial(maps, p, SHARE / 5)
    assert p - 0.01 < least / maps < most / maps < p + 0.01


@pytest.mark.parametrize("size", [7, 14])
@pytest.mark.parametrize("block", [3, 5, 7])
def test_that_the_peers_construction_fails(size, block):
    """Seeds inside alone: corners are dropped less than p, and blocks that overlap count twice."""
    drops = peers((size, size), block, 0.1, everywhere=False)
    counts = drops.sum(axis=0)
    if block == size:  # one block, and it is the whole map
        assert (counts == counts[0, 0]).all()
    else:
        assert {counts[0, 0], counts[-1, -1]} <= set(outside(counts, DRAWS, 0.1, SHARE))
        assert counts[0, 0] < counts[size // 2, size // 2] / 2


def test_that_the_peers_fast_construction_fails():
    """Nominal 0.1 on 14x14 really drops 0.117 (block 3) and 0.213 (block 7)."""
    for block, rate in ((3, 0.117), (7, 0.213)):
        drops = peers((14, 14), block, 0.1, everywhere=True)
        assert abs(drops.mean() - rate) < 0.006
        assert abs(rate_is_off_by(drops, block, 0.1)) > SIGMAS


def test_that_the_peers_construction_passes_where_it_is_plain_dropout():
    drops = peers((14, 14), 1, 0.1, everywhere=False)
    assert not outside(drops.sum(axis=0), DRAWS, 0.1, SHARE).size
    assert abs(rate_is_off_by(drops, 1, 0.1)) < SIGMAS
