"""The random words of the stream in numba, in single blocks and in groups of blocks.

Philox [1]_ has ten rounds of two multiplications. LLVM vectorizes a plain loop over blocks, but
stores each word in 64 bits, and waits for one product before it begins the next. So if numba
compiles for AVX2, this module computes `GROUP` blocks in vectors of sixteen lanes of 32 bits. They
form `CHAINS` chains that don't wait for each other. LLVM splits the vectors to fit the processor's
registers. Without AVX2, the plain loop draws all words.

.. [1] J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from anydrop.core import stream

M0, M1 = (np.uint64(m) for m in stream.MULTIPLIERS)
W0, W1 = (np.uint32(w) for w in stream.WEYL)
# Indices are unsigned. For each signed index, numba would check whether it counts from the end.
ZERO, ONE, TWO, THREE, SHIFT_32 = map(np.uint64, (0, 1, 2, 3, 32))

LANES, CHAINS = 16, 2
# How many blocks and words a group has.
GROUP = LANES * CHAINS
WORDS = 4 * GROUP
BLOCKS = np.uint64(GROUP)
# The largest low half of a block's number with which a group needs no carry to the high half.
NO_CARRY = np.uint32(2**32 - GROUP)


def target_features() -> frozenset[str]:
    """Return the processor features that numba compiles for.

    These are the features of this machine, unless NUMBA_CPU_NAME or NUMBA_CPU_FEATURES is set.
    """
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return frozenset(name[1:] for name in features.split(",") if name.startswith("+"))


VECTORS = "avx2" in target_features()


@njit(inline="always")  # because a call per block would triple the time
def _block(words, b, block, drawn):
    """Write the four words of a block, the b-th from the beginning of `words`."""
    k0, k1, c2, c3 = drawn
    c0, c1 = np.uint32(block), np.uint32(block >> SHIFT_32)
    for _ in range(stream.ROUNDS):
        p0, p1 = M0 * np.uint64(c0), M1 * np.uint64(c2)
        c0, c1 = np.uint32(p1 >> SHIFT_32) ^ c1 ^ k0, np.uint32(p1)
        c2, c3 = np.uint32(p0 >> SHIFT_32) ^ c3 ^ k1, np.uint32(p0)
        k0, k1 = np.uint32(k0 + W0), np.uint32(k1 + W1)
    words[4 * b], words[4 * b + 1], words[4 * b + 2], words[4 * b + 3] = c0, c1, c2, c3


@njit
def draw(words, blocks, block, drawn):
    """Write the words of neighbouring blocks; `block` is the number of the first.

    `drawn` has the two words of a key, and the low and the high half of a step.
    """
    for b in range(blocks):
        _block(words, b, block + b, drawn)


@njit(inline="always")
def draw_group(words, b, block, drawn):
    """Write the words of `GROUP` neighbouring blocks, from the b-th block of `words` on."""
    if VECTORS and np.uint32(block) <= NO_CARRY:
        _group(words, b, block, drawn[0], drawn[1], drawn[2], drawn[3])
    else:
        draw(words[4 * b :], BLOCKS, block, drawn)


@njit
def draw_many(words, blocks, block, drawn):
    """Write the words of any number of neighbouring blocks: whole groups, then the rest."""
    b = ZERO
    while b + BLOCKS <= blocks:
        draw_group(words, b, block + b, drawn)
        b += BLOCKS
    if b < blocks:
        draw(words[4 * b :], blocks - b, block + b, drawn)


# A group in vectors ------------------------------------------------------------------------------

I32, I64 = ir.IntType(32), ir.IntType(64)
NARROW, WIDE = ir.VectorType(I32, LANES), ir.VectorType(I64, LANES // 2)


def _shuffled(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    """Return lanes of two vectors; the numbers of b's lanes follow those of a."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


def _splat(builder: Any, number: Any) -> Any:
    """Return a vector with a number in each lane."""
    first = builder.insert_element(ir.Constant(NARROW, ir.Undefined), number, I32(0))
    return _shuffled(builder, first, first, [0] * LANES)


def _multiplied(builder: Any, x: Any, multiplier: int) -> tuple[Any, Any]:
    """Return the high and the low halves of products.

    A processor computes 64-bit products only in every other lane. So the even lanes are multiplied
    first, and then the odd ones. One shuffle takes the high halves of both. It works within 128
    bits, and leaves the lanes in the order 0, 2, 1, 3 (`SWAPPED`). The low halves are in the order
    of x.
    """
    factor = ir.Constant(WIDE, [multiplier] * WIDE.count)
    shift, low = (ir.Constant(WIDE, [n] * WIDE.count) for n in (32, stream.WORD))
    pairs = builder.bitcast(x, WIDE)
    even = builder.mul(builder.and_(pairs, low), factor)
    odd = builder.mul(builder.lshr(pairs, shift), factor)
    even, odd = (builder.bitcast(product, NARROW) for product in (even, odd))
    fours = range(0, LANES, 4)
    places = [place for i in fours for place in (i + 1, i + 3, LANES + i + 1, LANES + i + 3)]
    high = _shuffled(builder, even, odd, places)
    return high, builder.mul(x, ir.Constant(NARROW, [multiplier] * LANES))


SWAPPED = [i + lane for i in range(0, LANES, 4) for lane in (0, 2, 1, 3)]


@intrinsic
def _group(context, words, b, block, k0, k1, s0, s1):
    """Write the words of `GROUP` blocks; their numbers must have the same high 32 bits."""

    def code(context, builder, signature, arguments):
        array, b, block, k0, k1, s0, s1 = arguments
        memory = context.make_array(signature.args[0])(context, builder, array).data
        keys = [
            (builder.add(k0, I32(w0)), builder.add(k1, I32(w1)))
            for w0, w1 in stream.round_keys((0, 0))
        ]
        for chain, lanes in enumerate(_counters(builder, block, s0, s1, keys)):
            words_before = builder.mul(b, I64(4))
            place = builder.gep(memory, [builder.add(words_before, I64(4 * LANES * chain))])
            target = builder.bitcast(place, ir.VectorType(I32, 4 * LANES).as_pointer())
            builder.store(_interleaved(builder, *lanes), target, align=4)
        return context.get_dummy_value()

    return types.void(words, types.uint64, types.uint64, *(types.uint32,) * 4), code


def _counters(builder: Any, block: Any, s0: Any, s1: Any, keys: list[tuple[Any, Any]]) -> list[Any]:
    """Return the four words of the blocks of each chain."""
    # In each of the first two rounds, one of the two products is the same in all lanes.
    m0, m1 = stream.MULTIPLIERS
    low, high = builder.trunc(block, I32), builder.trunc(builder.lshr(block, I64(32)), I32)

    def product(x: Any, multiplier: int) -> tuple[Any, Any]:
        wide = builder.mul(builder.zext(x, I64), I64(multiplier))
        return builder.trunc(builder.lshr(wide, I64(32)), I32), builder.trunc(wide, I32)

    high2, low2 = product(s0, m1)
    c0 = builder.xor(builder.xor(high2, high), keys[0][0])
    high0, low0 = product(c0, m0)
    onto1, onto2 = builder.xor(s1, keys[0][1]), builder.xor(low2, keys[1][0])
    onto1, onto2, onto3, fourth = (
        _splat(builder, n) for n in (onto1, onto2, builder.xor(high0, keys[1][1]), low0)
    )
    first, chains = _splat(builder, low), []
    for chain in range(CHAINS):
        places = ir.Constant(NARROW, [LANES * chain + lane for lane in range(LANES)])
        c2, c3 = _multiplied(builder, builder.add(first, places), m0)
        high1, c1 = _multiplied(builder, builder.xor(c2, onto1), m1)
        chains.append((builder.xor(high1, onto2), c1, builder.xor(c3, onto3), fourth))
    # Now the lanes of the second and the fourth word are swapped, and those of the others are not.
    # Each round reverses that. It swaps the lanes of a high half once more, so that they are in the
    # order of the word that it is combined with.
    for k0, k1 in keys[2:]:
        k0, k1 = _splat(builder, k0), _splat(builder, k1)
        chains = [_round(builder, *words, k0, k1) for words in chains]
    return chains


def _round(
    builder: Any, c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any
) -> tuple[Any, Any, Any, Any]:
    high0, low0 = _multiplied(builder, c0, stream.MULTIPLIERS[0])
    high1, low1 = _multiplied(builder, c2, stream.MULTIPLIERS[1])
    c0 = builder.xor(builder.xor(high1, c1), k0)
    c2 = builder.xor(builder.xor(high0, c3), k1)
    return c0, low1, c2, low0


def _interleaved(builder: Any, c0: Any, c1: Any, c2: Any, c3: Any) -> Any:
    """Return the words in one vector, block by block."""
    c1, c3 = (_shuffled(builder, word, word, SWAPPED) for word in (c1, c3))
    pairs = [place for lane in range(LANES) for place in (lane, LANES + lane)]
    front, back = _shuffled(builder, c0, c1, pairs), _shuffled(builder, c2, c3, pairs)
    twos = range(0, 2 * LANES, 2)
    fours = [place for i in twos for place in (i, i + 1, 2 * LANES + i, 2 * LANES + i + 1)]
    return _shuffled(builder, front, back, fours)
