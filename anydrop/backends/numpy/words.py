"""The random 32-bit words of the stream in plain NumPy."""

from __future__ import annotations

import sys

import numpy as np

from anydrop.core import stream
from anydrop.core.typing import Array

UINT64 = np.uint64
WORD, SHIFT_32 = UINT64(stream.WORD), UINT64(32)
MULTIPLIERS = np.array(stream.MULTIPLIERS, UINT64)[:, None]
# Slices of 64-bit words that are viewed as pairs of 32 bits: from the first low half to the last,
# and from the first high half to the last.
LOW, HIGH = (slice(0, -1), slice(1, None))[:: 1 if sys.byteorder == "little" else -1]
# After this many rounds, each word is back in its place in memory.
CYCLE = 4


class Words:
    """Draws words into the same memory in each call.

    Allocating memory for each piece of a long array would take longer than drawing, because the
    operating system clears new pages. The memory is freed with this object. Threads must not share
    the object.

    Parameters
    ----------
    key : tuple of int
        The key's two words of 32 bits.
    step : int
        The number of the draw with this key.
    """

    def __init__(self, key: stream.Key, step: int) -> None:
        self._keys, self._step = stream.round_keys(key), step
        self._round_keys = np.array(self._keys, UINT64)[:, :, None]
        self._places = self._memory = np.empty(0, UINT64)
        self._blocks = 0

    def draw(self, starts: Array, n: int) -> Array:
        """Return the n words of runs of neighbouring indices, in uint32.

        All runs have the same length. You may write to the array, which is valid until the next
        call.
        """
        run = n // len(starts)
        lead = (starts & UINT64(3)).astype(np.intp)
        blocks_a_run = (run + int(lead.max()) + 3) // 4
        first = starts >> UINT64(2)
        self._lay_out(len(starts), blocks_a_run)
        blocks = self._numbers[: self._blocks]
        np.add(first[:, None], self._places[:blocks_a_run], out=blocks.reshape(len(starts), -1))
        ends = np.concatenate([first, first + UINT64(blocks_a_run)]) >> SHIFT_32
        drawn = self._philox(blocks, int(ends[0]) if np.all(ends == ends[0]) else None)
        if len(starts) == 1:
            return drawn[lead[0] : lead[0] + run]
        at = lead[:, None] + np.arange(run)
        return np.take_along_axis(drawn.reshape(len(starts), -1), at, axis=1).reshape(-1)

    def _lay_out(self, runs: int, blocks_a_run: int) -> None:
        """Make the arrays for this many runs and blocks, unless they exist."""
        if blocks_a_run > len(self._places):
            self._places = np.arange(blocks_a_run, dtype=UINT64)
        n = runs * blocks_a_run
        if n == self._blocks:
            return
        length = whole_lines(n)
        if 7 * length > len(self._memory):
            self._memory = aligned(7 * length)
        rows = self._memory[: 7 * length].reshape(7, -1)
        self._blocks, self._numbers, self._drawn = n, rows[4], rows[5:].reshape(-1)
        multiplied, added = rows[:4].reshape(2, 2, -1)[..., :n]
        self._rounds = list[tuple[Array, Array, Array, Array]]()
        for _ in range(CYCLE):
            # A round xors the high halves of the products into the low halves of other words. One
            # of these views of 32 bits begins a half later, so that the two line up. The other
            # halves are xored, too, and the round then clears them.
            onto, products = added.view(np.uint32), multiplied[::-1].view(np.uint32)
            self._rounds.append((multiplied, onto[:, LOW], products[:, HIGH], added))
            multiplied, added = added, multiplied[::-1]

    def _philox(self, blocks: Array, high: int | None) -> Array:
        """Return the words of blocks.

        `high` is the high half of the blocks' numbers, or None if they differ in it.

        Philox multiplies its first and third word, and xors its second and fourth with the
        products. Each pair shares an array, so that the calls of NumPy are fewer and longer. Each
        call then releases the interpreter's lock for longer. A word is the low half of 64 bits. In
        the second and fourth word, the high half is a leftover of a product.
        """
        multiplied, _, _, added = self._rounds[0]
        done = 0
        if high is None:
            np.bitwise_and(blocks, WORD, out=multiplied[0])
            np.right_shift(blocks, SHIFT_32, out=added[0])
            multiplied[1], added[1] = stream.halves(self._step)
        else:
            self._two_rounds(blocks, high, multiplied, added)
            done = 2
        for number, round_key in enumerate(self._round_keys[done:]):
            multiplied, onto, products, added = self._rounds[number % CYCLE]
            np.multiply(multiplied, MULTIPLIERS, out=multiplied)
            np.bitwise_xor(onto, products, out=onto)
            np.bitwise_and(added, WORD, out=added)
            np.bitwise_xor(added, round_key, out=added)
        multiplied, _, _, added = self._rounds[(stream.ROUNDS - done) % CYCLE]
        drawn = self._drawn.view(np.uint32)[: 4 * self._blocks].reshape(-1, 4)
        for lane, words in enumerate((multiplied[0], added[0], multiplied[1], added[1])):
            drawn[:, lane] = words
        return drawn.reshape(-1)

    def _two_rounds(self, blocks: Array, high: int, multiplied: Array, added: Array) -> None:
        """Do the first two rounds if the blocks differ only in their first word.

        In the first round, only two words become arrays. The other two are still one number for all
        blocks.
        """
        (m0, m1), (k0, k1), (k2, k3) = stream.MULTIPLIERS, *self._keys[:2]
        c2, c3 = stream.halves(self._step)
        low1, high1 = stream.halves(m1 * c2)
        low0, high0 = stream.halves(m0 * (high1 ^ high ^ k0))
        first, third, product = multiplied[0], multiplied[1], added[0]
        np.bitwise_and(blocks, WORD, out=third)
        np.multiply(third, UINT64(m0), out=third)
        np.right_shift(third, SHIFT_32, out=product)
        np.bitwise_xor(product, UINT64(c3 ^ k1), out=product)
        np.multiply(product, UINT64(m1), out=product)
        np.right_shift(product, SHIFT_32, out=first)
        np.bitwise_xor(first, UINT64(low1 ^ k2), out=first)
        np.bitwise_and(third, WORD, out=third)
        np.bitwise_xor(third, UINT64(high0 ^ k3), out=third)
        added[1] = low0


def whole_lines(n: int) -> int:
    """Return n 64-bit words rounded up to whole cache lines."""
    return -(-n // 8) * 8


def aligned(n: int) -> Array:
    """Return memory for n 64-bit words, aligned to a cache line.

    A pass over unaligned memory would take a fifth longer.
    """
    memory = np.empty(n + 8, UINT64)
    start = -(memory.ctypes.data // memory.itemsize) % 8
    return memory[start : start + n]
