"""Functions that work on pieces of arrays, and functions that cut arrays into pieces.

A `Work` takes a piece of each array and the position where the pieces begin. The pieces are plain
memory of the same length. The work writes to the last one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from anydrop.backends.common.threads import Pool
from anydrop.backends.numpy import chunked
from anydrop.core import place
from anydrop.core.recipe import UNCHANGED, Affine, Placement, Recipe, scaled
from anydrop.core.typing import Array

Work = Callable[..., None]

# A bias with fewer elements is repeated, so that each call of a kernel handles more elements.
SHORT = 2**13


def drawing(
    kernels: ModuleType,
    dtype: Any,
    recipe: Recipe,
    placement: Placement,
    affine: Affine = UNCHANGED,
) -> Work:
    """Return the work that draws a recipe for elements of a dtype and applies it."""
    draw = kernels.kernel(dtype, placement, recipe.threshold, affine)
    return placed(draw, recipe, placement)


def placed(draw: Callable[..., None], recipe: Recipe, placement: Placement) -> Work:
    """Return the work that calls a kernel with the key, step and first index of a recipe."""
    key, step, first = recipe.key, place.known_step(recipe.step), placement.first
    return lambda *arrays_and_start: draw(*arrays_and_start, key, step, first)


def summing(
    kernels: ModuleType,
    dtypes: tuple[Any, Any],
    recipe: Recipe | None,
    scale: float,
    bias: Array | None,
) -> Work:
    """Return the work that draws and applies a recipe, if there is one, and adds a residual."""
    if recipe is None:

        def add(x: Array, residual: Array, y: Array, start: int) -> None:
            for a in range(0, len(x), chunked.CHUNK):
                here = slice(a, a + chunked.CHUNK)
                wide = chunked.biased(x[here], start + a, bias)
                if scale != 1.0:
                    chunked.apply(wide, wide, scaled(scale))
                chunked.add(wide, residual[here], y[here])

        return add
    draw = kernels.summing(dtypes, recipe.spread, recipe.threshold, scale, bias)
    return placed(draw, recipe, recipe.spread)


def repeated(bias: Array | None, shape: tuple[int, ...]) -> Array | None:
    """Return the block of bias values that repeats along the elements of a shape in C order.

    A short block is itself repeated, until it is long enough for kernels to run at full speed.
    """
    if bias is None:
        return None
    lengths = (1,) * (len(shape) - bias.ndim) + bias.shape
    outer = next((a for a, n in enumerate(lengths) if n != 1), len(lengths))
    inner = shape[outer:]
    block = np.broadcast_to(bias.reshape(lengths[outer:]), inner).ravel()
    return np.tile(block, max(1, min(SHORT, math.prod(shape)) // block.size))


def repeated_block(x: Array) -> Array | None:
    """Return the block of plain memory that a broadcast array repeats along its first axes.

    Return None if x is not such an array, or if the block is too short to be worth a call.
    """
    outer = next((a for a in range(x.ndim) if x.strides[a] and x.shape[a] > 1), x.ndim)
    block = x[(0,) * outer]
    return block.ravel() if block.size >= SHORT and is_plain(block) else None


def round_and_round(work: Work, block: Array) -> Work:
    """Return a work that takes only the target, and reads its source from a repeating block."""

    def turn(target: Array, start: int) -> None:
        at = 0
        while at < len(target):
            place = (start + at) % len(block)
            n = min(len(block) - place, len(target) - at)
            work(block[place : place + n], target[at : at + n], start + at)
            at += n

    return turn


def multiplying(affine: Affine) -> Work:
    """Return the work that keeps all elements and applies scale and shift."""

    def multiply(source: Array, target: Array, start: int) -> None:
        for a in range(0, len(source), chunked.CHUNK):
            here = slice(a, a + chunked.CHUNK)
            chunked.apply(source[here], target[here], affine)

    return multiply


def serve(
    pool: Pool,
    kernels: ModuleType,
    arrays: list[Array],
    work: Callable[[], Work],
    tiled: Callable[[], Any] | None = None,
    crossover: float | None = None,
) -> None:
    """Do a work on arrays, and write to the last one.

    Threads split plain arrays. Other arrays are processed in tiles if the kernels support that, and
    through buffers otherwise.
    """
    *sources, y = arrays
    apart = all(are_apart(x, y) for x in sources)
    crossover = kernels.CROSSOVER if crossover is None else crossover
    if apart and all(map(is_plain, arrays)):
        share(pool, work(), arrays, crossover)
        return
    one = apart and len(sources) == 1 and is_plain(y)
    block = repeated_block(sources[0]) if one else None
    if block is not None:
        share(pool, round_and_round(work(), block), [y], crossover)
    elif tiled and apart and hasattr(kernels, "tiled") and all(map(is_even, arrays)):
        pool.run(*tiled())
    else:
        buffered(work(), arrays)


def share(pool: Pool, work: Work, arrays: list[Array], crossover: float) -> None:
    """Do a work on plain arrays, with several threads from `crossover` elements on."""
    flat = [array.ravel() for array in arrays]
    n = flat[0].size
    pool.run(lambda a, b: work(*[part[a:b] for part in flat], a), n, crossover)


def buffered(work: Work, arrays: list[Array]) -> None:
    """Do a work on arrays of any layout, in buffers of plain memory."""
    ways: list[Any] = ["readonly"] * (len(arrays) - 1) + ["writeonly"]
    with np.nditer(
        arrays,
        ["external_loop", "buffered", "copy_if_overlap"],
        [[way, "overlap_assume_elementwise"] for way in ways],
        op_dtypes=[native(array) for array in arrays],
        order="C",
        casting="equiv",
        buffersize=chunked.CHUNK,
    ) as pieces:
        start = 0
        for *sources, target in pieces:
            if all(map(is_plain, (*sources, target))):
                work(*sources, target, start)
            else:  # The iterator passes some pieces on without a copy.
                copy = np.empty(len(target), native(target))
                work(*map(np.ascontiguousarray, sources), copy, start)
                target[...] = copy
            start += len(target)


def is_plain(x: Array) -> bool:
    """Tell whether an array is C-contiguous, aligned and in native byte order."""
    return x.flags.c_contiguous and x.flags.aligned and x.dtype.isnative


def native(x: Array) -> Any:
    """Return the dtype of an array in native byte order."""
    return x.dtype.newbyteorder("=")


def is_even(x: Array) -> bool:
    """Tell whether a kernel can step through an array.

    Its strides must be multiples of the item size, and it must be aligned and in native byte order.
    """
    whole = not any(stride % x.itemsize for stride in x.strides)
    return whole and x.flags.aligned and x.dtype.isnative


def are_apart(x: Array, y: Array) -> bool:
    """Tell whether x and y are the same array or share no memory."""
    return x is y or not np.may_share_memory(x, y)
