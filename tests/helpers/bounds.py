"""Bounds that a right implementation keeps to, for all but a stated share of seeds.

Every draw of a test has a fixed seed, so a test that passes once passes always; the share says how
likely a right implementation was to fail when the seed was chosen.
"""

import math
from functools import lru_cache

import numpy as np

# Standard deviations to either side of a mean, beyond which 6e-7 of all normal numbers lie.
SIGMAS = 5.0


@lru_cache
def binomial(n, p, share):
    """Return the least and the largest count of which at most `share` of all lie beyond; exact."""
    chance = [
        math.exp(
            (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1))
            + (k * math.log(p) + (n - k) * math.log1p(-p))
        )
        for k in range(n + 1)
    ]

    def beyond(chances):
        below = 0.0
        for k, one in enumerate(chances):
            below += one
            if below > share / 2:
                return k
        raise AssertionError("no count is likely")

    return beyond(chance), n - beyond(reversed(chance))


def outside(counts, n, p, share):
    """Return the counts of n that a binomial test refuses, `share` of all such arrays refused."""
    counts = np.asarray(counts)
    least, most = binomial(n, p, share / counts.size)
    return counts[(counts < least) | (counts > most)]


def sigmas(numbers, mean, variance):
    """Return by how many standard deviations the mean of numbers is off its closed form."""
    return (np.mean(numbers) - mean) / math.sqrt(variance / np.size(numbers))


def variance_of_a_rate(size, block, p):
    """Return the variance of the rate at which DropBlock drops elements of one map.

    Two elements both survive if no block begins at any place from which it covers one of them: at
    ``2 * volume - overlap`` places, each of which stays free with probability
    ``(1 - p) ** (1 / volume)``.
    """
    volume = block ** len(size)
    at = np.indices(size).reshape(len(size), -1)
    overlap = np.clip(block - np.abs(at[:, :, None] - at[:, None, :]), 0, None).prod(axis=0)
    both = (1 - p) ** (2 - overlap / volume)
    return np.mean(both) - (1 - p) ** 2


def rate_is_off_by(drops, block, p):
    """Return by how many standard deviations the rate over whole maps is off p."""
    rates = drops.reshape(len(drops), -1).mean(axis=1)
    return sigmas(rates, p, variance_of_a_rate(drops.shape[1:], block, p))
