"""The stream, version 1: the 32 random bits (the "word") of each index.

This file is the definition, in plain Python integers. The kernels in ``anydrop.backends`` are
faster implementations of `word`, and tests compare each of them with it, bit for bit. If any bit
changes, it must become a new version.

Philox4x32-10 is from Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as 1, 2, 3*,
SC 2011, https://doi.org/10.1145/2063384.2063405.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from anydrop.core.tracing import constant

VERSION = 1
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
WORD = 0xFFFFFFFF
LAST_STEP = 2**64 - 1

Seed: TypeAlias = "int | tuple[int, ...] | np.random.SeedSequence | Keyed"
# The low and high 32 bits of a 64-bit number, such as a key or a step.
Words: TypeAlias = tuple[int, int]
Key: TypeAlias = Words


class Keyed(NamedTuple):
    """A seed given by its key, which modules for frameworks pass to functions.

    In a call that a compiler traces, the key may consist of integer scalar arrays.
    """

    key: Any


def key_of(seed: Seed) -> Key:
    """Return the 64-bit key of a seed, as two 32-bit words.

    Examples
    --------
    >>> key_of(0)
    (2968811710, 3677149159)
    """
    if isinstance(seed, Keyed):
        key: Key = seed.key
        return key
    return _key_of(seed)


@constant  # A compiler can't trace a SeedSequence.
def _key_of(seed: int | tuple[int, ...] | np.random.SeedSequence) -> Key:
    if type(seed) is not int and isinstance(seed, np.random.SeedSequence):
        return _first_words(seed)
    return key_of_entropy(seed)


@lru_cache(maxsize=1024)
def key_of_entropy(seed: int | tuple[int, ...]) -> Key:
    """Return the key of ints. It is cached, since a SeedSequence takes microseconds."""
    return _first_words(np.random.SeedSequence(seed))


def _first_words(sequence: np.random.SeedSequence) -> Key:
    low, high = sequence.generate_state(2, np.uint32).tolist()
    return low, high


def threshold(p: float) -> int:
    """Return the least word that is kept at drop probability `p`.

    Examples
    --------
    >>> threshold(0.5) == 2**31
    True
    """
    return min(round(p * 2**32), WORD)


def halves(value: int) -> Words:
    """Split a 64-bit integer into its low and high 32 bits."""
    return value & WORD, value >> 32


def round_keys(key: Key) -> tuple[Key, ...]:
    """Return the keys of the ten Philox rounds."""
    return tuple(
        ((key[0] + r * WEYL[0]) & WORD, (key[1] + r * WEYL[1]) & WORD) for r in range(ROUNDS)
    )


def philox(counter: tuple[int, int, int, int], key: Key) -> tuple[int, int, int, int]:
    """Return the four words of one Philox4x32-10 block.

    Examples
    --------
    >>> [f"{word:08x}" for word in philox((0, 0, 0, 0), (0, 0))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    for k0, k1 in round_keys(key):
        low0, high0 = halves(MULTIPLIERS[0] * c0)
        low1, high1 = halves(MULTIPLIERS[1] * c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
    return c0, c1, c2, c3


def word(index: int, step: int, key: Key) -> int:
    """Return the word of an index.

    Parameters
    ----------
    index : int
        Index of the element, in C order, in the mask's global shape.
    step : int
        Step of the seed, ``0 <= step < 2**64``.
    key : tuple of int
        From `key_of`.

    Returns
    -------
    int
        32 random bits. The element is kept if this is ``>= threshold(p)``.

    Examples
    --------
    >>> word(0, 0, key_of(0))
    524788716
    """
    block, lane = divmod(index, 4)
    return philox((*halves(block), *halves(step)), key)[lane]
