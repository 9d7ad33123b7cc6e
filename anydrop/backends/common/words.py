"""The words of the stream in arrays of uint32, in any namespace."""

from __future__ import annotations

from typing import Any

from anydrop.core import stream
from anydrop.core.recipe import Recipe
from anydrop.core.typing import Array, Namespace

# The standard leaves integer overflow to the library, and some have integers of any size. So what
# may outgrow 32 bits is masked.


def words(xp: Namespace, device: Any, recipe: Recipe) -> Array:
    """Return the words of a recipe's indices, on the axes of its placement."""
    placement = recipe.placement

    def constant(value: int) -> Array:
        return xp.full((1,) * len(placement.axes), value, dtype=xp.uint32, device=device)

    low, high = (constant(half) for half in stream.halves(placement.first))
    for a, axis in enumerate(placement.axes):
        count = xp.arange(axis.length, dtype=xp.uint32, device=device)
        count = xp.reshape(count, tuple(-1 if b == a else 1 for b in range(len(placement.axes))))
        stride_low, stride_high = stream.halves(axis.stride)
        add_low, add_high = _multiply(count, stride_low)
        low = (low + add_low) & stream.WORD
        carry = xp.astype(low < add_low, xp.uint32)
        high = high + add_high + count * stride_high + carry
        high = high & stream.WORD

    counter = ((low >> 2) | ((high & 3) << 30), high >> 2, *map(constant, recipe.step_words))
    w0, w1, w2, w3 = _philox(counter, recipe.key)
    lane = low & 3
    return xp.where(lane < 2, xp.where(lane == 0, w0, w1), xp.where(lane == 2, w2, w3))


def _philox(counter: tuple[Array, ...], key: stream.Key) -> tuple[Array, ...]:
    c0, c1, c2, c3 = counter
    for k0, k1 in stream.round_keys(key):
        low0, high0 = _multiply(c0, stream.MULTIPLIERS[0])
        low1, high1 = _multiply(c2, stream.MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
    return c0, c1, c2, c3


def high_half(a: Array, b: Array) -> Array:
    """Return the high words of 32-by-32-bit products."""
    return _multiply(a, b)[1]


def _multiply(a: Array, b: Array | int) -> tuple[Array, Array]:
    """Return the low and high words of a 32-by-32-bit product, by 16-bit parts."""
    a_low, a_high = a & 0xFFFF, a >> 16
    b_low, b_high = b & 0xFFFF, b >> 16
    low, cross0, cross1 = a_low * b_low, a_low * b_high, a_high * b_low
    middle = (low >> 16) + (cross0 & 0xFFFF) + (cross1 & 0xFFFF)
    high = a_high * b_high + (cross0 >> 16) + (cross1 >> 16) + (middle >> 16)
    return ((middle & 0xFFFF) << 16) | (low & 0xFFFF), high
