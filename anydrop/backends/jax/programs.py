"""The stream and the selection as XLA programs.

Indices and products are 64-bit integers, so call everything here with x64 enabled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Sharding

from anydrop.backends.common import pairwise
from anydrop.backends.common.blocks import eroded
from anydrop.backends.common.normals import standard_normal
from anydrop.backends.jax.private import within_explicit_axes
from anydrop.core import stream
from anydrop.core.quantile import SEGMENTS
from anydrop.core.typing import Array


class Layout(NamedTuple):
    """The part of a recipe for which a program is compiled. The rest is passed at run time."""

    shape: tuple[int, ...]  # of the keep mask
    strides: tuple[int, ...]  # the distance between the indices of neighbours along each axis
    wide: bool  # whether indices need more than 32 bits


@lru_cache(maxsize=512)
def compiled(
    function: Callable[..., Array], sharding: Sharding | None, *static: int
) -> Callable[..., Array]:
    """Return a compiled function whose results have a sharding, or lie anywhere if that is None.

    It is compiled for each value of the arguments at the positions in `static`.
    """
    return jax.jit(function, static_argnums=static, out_shardings=sharding)


def keep(words: Array, layout: Layout) -> Array:
    """Draw a keep mask from seven words."""
    return _kept(lax.optimization_barrier(words), layout)


def keep_blocks(words: Array, layout: Layout, sizes: tuple[int, ...]) -> Array:
    """Draw the keep mask of blocks from the seven words of the places where they begin."""
    return _kept_blocks(lax.optimization_barrier(words), layout, sizes)


def normals(words: Array, layout: Layout, dtype: str) -> Array:
    """Draw normal numbers from seven words."""
    return _normals(lax.optimization_barrier(words), layout, dtype)


@partial(jax.jit, static_argnums=(3, 4))
def select_drawn(x: Array, words: Array, factors: Array, layout: Layout, shifted: bool) -> Array:
    """Draw a keep mask, and return ``where(keep, x * scale + shift, fill)``.

    The backward pass draws the mask again: `jax.checkpoint` keeps only the words and factors for
    it. With a custom rule for the gradient, forward mode would not work.
    """

    def selected(x: Array, words: Array, factors: Array) -> Array:
        # One barrier for all numbers. Without it, XLA would move what depends only on them, the
        # whole array of indices, out of a surrounding loop and store it.
        words, factors = lax.optimization_barrier((words, factors))
        return _select(x, _kept(words, layout), factors, shifted)

    return jax.checkpoint(within_explicit_axes(selected, x))(x, words, factors)


@partial(jax.jit, static_argnums=(3, 4))
def select_blocks(
    x: Array, words: Array, factors: Array, layout: Layout, sizes: tuple[int, ...]
) -> Array:
    """Return ``where(keep, x * scale, 0)`` with the mask of `keep_blocks`; see `select_drawn`."""

    def selected(x: Array, words: Array, factors: Array) -> Array:
        words, factors = lax.optimization_barrier((words, factors))
        return _select(x, _kept_blocks(words, layout, sizes), factors, False)

    return jax.checkpoint(within_explicit_axes(selected, x))(x, words, factors)


@partial(jax.jit, static_argnums=(3, 4))
def perturb(x: Array, words: Array, std: Array, layout: Layout, relative: bool) -> Array:
    """Return ``x * (1 + std * z)`` or ``x + std * z``, with z drawn here; see `select_drawn`."""

    def perturbed(x: Array, words: Array, std: Array) -> Array:
        words, std = lax.optimization_barrier((words, std))
        noise = _apart(_normals(words, layout, str(std.dtype)) * std)
        if jnp.iscomplexobj(x):
            noise = 1 + noise
            return lax.complex(_apart(x.real * noise), _apart(x.imag * noise))
        wide = _wide(x, std.dtype)
        y = _apart(wide * (1 + noise)) if relative else wide + noise
        return y.astype(x.dtype)

    return jax.checkpoint(within_explicit_axes(perturbed, x))(x, words, std)


@partial(jax.jit, static_argnums=3)
def choose_drawn(new: Array | None, previous: Array | None, words: Array, layout: Layout) -> Array:
    """Return ``where(keep, new, previous)``, or the share of one of them; see `select_drawn`."""

    def chosen(new: Array | None, previous: Array | None, words: Array) -> Array:
        return _choose(new, previous, _kept(lax.optimization_barrier(words), layout))

    program = within_explicit_axes(chosen, previous if new is None else new)
    return jax.checkpoint(program)(new, previous, words)


@jax.jit
def choose(new: Array | None, previous: Array | None, kept: Array) -> Array:
    """Return ``where(kept, new, previous)``, or the share of one of them."""
    program = within_explicit_axes(_choose, previous if new is None else new)
    return program(new, previous, kept)


@partial(jax.jit, static_argnums=3)
def select(x: Array, kept: Array | None, factors: Array, shifted: bool) -> Array:
    """Return ``where(kept, x * scale + shift, fill)``, or everything kept."""
    # XLA would leave out an addition of 0.0 that it sees, but that addition makes +0 of -0.
    return _select(x, kept, lax.optimization_barrier(factors), shifted)


@partial(jax.jit, static_argnums=5)
def select_add_drawn(
    x: Array, residual: Array, bias: Array | None, words: Array, factors: Array, layout: Layout
) -> Array:
    """Return ``residual + where(keep, (x + bias) * scale, 0)``; see `select_drawn`."""

    def added(x: Array, residual: Array, bias: Array | None, words: Array, factors: Array) -> Array:
        words, factors = lax.optimization_barrier((words, factors))
        return _select_add(x, residual, bias, _kept(words, layout), factors)

    program = within_explicit_axes(added, x)
    return jax.checkpoint(program)(x, residual, bias, words, factors)


@jax.jit
def select_add(
    x: Array, residual: Array, bias: Array | None, kept: Array | None, factors: Array
) -> Array:
    """Return ``residual + where(kept, (x + bias) * scale, 0)``, or everything kept."""
    return _select_add(x, residual, bias, kept, lax.optimization_barrier(factors))


@partial(jax.jit, static_argnums=(1, 2))
def sum_to(x: Array, shape: tuple[int, ...], dtype: str) -> Array:
    """Sum x to a shape, as a tree of additions."""
    half = x.dtype in (jnp.float16, jnp.bfloat16)

    def summed(x: Array) -> Array:
        return pairwise.sum_to(jnp, _wide(x, jnp.float32) if half else x, shape).astype(dtype)

    return within_explicit_axes(summed, x, whole=x.shape != shape)(x)


def _select_add(
    x: Array, residual: Array, bias: Array | None, kept: Array | None, factors: Array
) -> Array:
    dtype = x.dtype if jnp.iscomplexobj(x) else factors.dtype
    moved = _wide(x, dtype)
    if bias is not None:
        moved = moved + _wide(bias, dtype)
    y = _select(moved, kept, factors, False)
    # Otherwise XLA would fuse product and sum to a multiply-add.
    y = lax.complex(_apart(y.real), _apart(y.imag)) if jnp.iscomplexobj(y) else _apart(y)
    return (_wide(residual, dtype) + y).astype(residual.dtype)


def _wide(x: Array, dtype: Any) -> Array:
    """Return an array in the dtype in which it is computed."""
    wide = x.astype(dtype)
    # XLA omits the rounding where it fuses the operation that made a bfloat16.
    return lax.reduce_precision(wide, 8, 7) if x.dtype == jnp.bfloat16 else wide


def _select(x: Array, kept: Array | None, factors: Array, shifted: bool) -> Array:
    scale, shift, fill = factors

    def affine(part: Array) -> Array:
        return _apart(part * scale) + shift if shifted else part * scale

    if jnp.iscomplexobj(x):
        y = lax.complex(affine(x.real), x.imag * scale)
        fill = lax.complex(fill, jnp.zeros_like(fill))
    else:
        y = affine(_wide(x, factors.dtype))
    if kept is not None:
        y = jnp.where(kept, y, fill)
    return y.astype(x.dtype)


def _choose(new: Array | None, previous: Array | None, kept: Array) -> Array:
    # No multiplication by one, which would flush subnormals.
    like: Array = previous if new is None else new
    zero = jnp.zeros((), like.dtype)
    return jnp.where(kept, zero if new is None else new, zero if previous is None else previous)


@jax.custom_jvp
def _apart(product: Array) -> Array:
    """Return a product unchanged, so that no compiler fuses it with the sum that follows.

    A fused multiply-add rounds once where NumPy rounds twice. XLA on the CPU fuses even through
    `lax.optimization_barrier` and `lax.reduce_precision`. It does not know that one of two
    consecutive integers is always even.
    """
    integers = jnp.uint64 if product.dtype == jnp.float64 else jnp.uint32
    bits = lax.bitcast_convert_type(product, integers)
    return lax.bitcast_convert_type(bits ^ ((bits * (bits + 1)) & 1), product.dtype)


@_apart.defjvp
def _apart_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _apart(*primals), tangents[0]


# The stream ------------------------------------------------------------------------------------


def _kept(words: Array, layout: Layout) -> Array:
    return _drawn(words, layout) >= words[6]


def _kept_blocks(words: Array, layout: Layout, sizes: tuple[int, ...]) -> Array:
    # The barrier has XLA store the mask. Otherwise it is drawn again for each place in a block.
    return eroded(jnp, lax.optimization_barrier(_kept(words, layout)), sizes)


# With its own jit, since jax.checkpoint would keep the table that this closes over.
@partial(jax.jit, static_argnums=(1, 2))
def _normals(words: Array, layout: Layout, dtype: str) -> Array:
    return standard_normal(jnp, _drawn(words, layout), dtype, None, _octave_of, _high_half)


def _octave_of(xp: Any, count: Array) -> Array:
    return np.uint32(31 - SEGMENTS) - lax.clz(count | np.uint32(1 << SEGMENTS))


def _high_half(a: Array, b: Array) -> Array:
    return (a.astype(np.uint64) * b >> 32).astype(np.uint32)


def _drawn(words: Array, layout: Layout) -> Array:
    """Draw the words for a key, a step and a first index, two words each, before a threshold."""
    key0, key1, step0, step1, first0, first1, _ = words
    dtype = np.uint64 if layout.wide else np.uint32
    first = first0.astype(dtype)
    if layout.wide:
        first |= first1.astype(dtype) << 32
    index = jnp.broadcast_to(first, layout.shape)
    for axis, (length, stride) in enumerate(zip(layout.shape, layout.strides, strict=True)):
        if length > 1:
            # One axis at a time, which the compiler fuses. It would store an array of more axes.
            steps = lax.iota(dtype, length) * dtype(stride)
            index += lax.broadcast_in_dim(steps, layout.shape, (axis,))
    block, lane = index >> 2, index & 3
    high = (block >> 32).astype(np.uint32) if layout.wide else np.uint32(0)
    w0, w1, w2, w3 = _philox((block.astype(np.uint32), high, step0, step1), (key0, key1))
    return jnp.where(lane < 2, jnp.where(lane == 0, w0, w1), jnp.where(lane == 2, w2, w3))


def _philox(counter: tuple[Array, ...], key: tuple[Array, Array]) -> tuple[Array, ...]:
    c0, c1, c2, c3 = counter
    for weyl0, weyl1 in stream.round_keys((0, 0)):
        p0 = c0.astype(np.uint64) * np.uint64(stream.MULTIPLIERS[0])
        p1 = c2.astype(np.uint64) * np.uint64(stream.MULTIPLIERS[1])
        c0 = (p1 >> 32).astype(np.uint32) ^ c1 ^ (key[0] + np.uint32(weyl0))
        c2 = (p0 >> 32).astype(np.uint32) ^ c3 ^ (key[1] + np.uint32(weyl1))
        c1, c3 = p1.astype(np.uint32), p0.astype(np.uint32)
    return c0, c1, c2, c3
