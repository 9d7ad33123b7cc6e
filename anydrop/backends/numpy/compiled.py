"""The stream in numba: one pass over memory that draws, scales and selects.

Its `kernel` is that of `anydrop.backends.numpy.chunked`: the same arguments and the same bits.
Beside it are kernels of memory by its addresses, and of arrays of any strides. What is compiled is
in `anydrop.backends.numpy.kernels`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import lru_cache
from itertools import chain
from typing import Any

import numba
import numpy as np
from numba import from_dtype, njit, types

from anydrop.backends.base import dtype_name
from anydrop.backends.common.strides import Step, merged
from anydrop.backends.numpy import chunked, kernels
from anydrop.backends.numpy.chunked import Kernel
from anydrop.core import place
from anydrop.core.recipe import UNCHANGED, Affine, Placement, Recipe
from anydrop.core.stream import Key
from anydrop.core.typing import Array

if numba.config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set, and these kernels are nothing uncompiled")

NAME = "numba"
# Elements below which a second thread costs more than it saves; ``nox -s bench`` measures it.
CROSSOVER = 2**20

# How the dtypes that numba lacks enter a kernel.
BITS = {"float16": np.dtype(np.uint16), "bfloat16": np.dtype(np.int16)}


def kernel(dtype: Any, *constants: Any) -> Kernel:
    """Return the function that draws with these constants; see `chunked.kernel`."""
    (bits, compiled), (numbers, factors) = _compiled(dtype), _packed(dtype, *constants)
    if bits is None:

        def draw(x: Array, y: Array, start: int, key: Key, step: int, first: int) -> None:
            k0, k1 = key
            compiled(x, y, start, k0, k1, step, first, numbers, factors)

    else:

        def draw(x: Array, y: Array, start: int, key: Key, step: int, first: int) -> None:
            compiled(x.view(bits), y.view(bits), start, *key, step, first, numbers, factors)

    return draw


def kernel_at(dtype: Any, *constants: Any) -> Callable[[int, int, int, Key, int, int], None]:
    """Return a `kernel` of n elements at two addresses, from the placement's first one on.

    It is called with the addresses of x and y, n, a key, a step and the first index, by libraries
    that tell an address sooner than they make a NumPy array.
    """
    _, compiled = _compiled(dtype, kernels.runs_of)
    numbers, factors = _packed(dtype, *constants)

    def draw(x: int, y: int, n: int, key: Key, step: int, first: int) -> None:
        k0, k1 = key
        compiled(x, y, n, k0, k1, step, first, numbers, factors)

    return draw


def tiled(
    x: Array, y: Array, recipe: Recipe, affine: Affine
) -> tuple[Callable[[int, int], None], int, float, int]:
    """Return what a thread pool runs to draw a recipe for arrays of any strides, in tiles.

    That is the work on tiles from one number to another, how many there are, `CROSSOVER`, and how
    many elements a whole tile has. The strides are multiples of the elements' size. The arrays may
    be one and the same, but not overlap otherwise.
    """
    size = x.itemsize
    strides = ([stride // size for stride in array.strides] for array in (x, y))
    axes = merged(x.shape, recipe.strides, *map(tuple, strides))
    along = next((axis for axis in axes if axis.mask == 1), Step(1, 1, 0, 0))
    across, *outer = sorted((a for a in axes if a is not along), key=_way) or [Step(1, 0, 0, 0)]
    straight = across.length == 1 or _way(along) <= _way(across)
    axes = [along, across, *outer]
    # Memory from the lowest address on, so that no place in it is negative.
    before_x, after_x = _extent([axis.x * (axis.length - 1) for axis in axes])
    before_y, after_y = _extent([axis.y * (axis.length - 1) for axis in axes])
    addresses = x.ctypes.data - size * before_x, y.ctypes.data - size * before_y
    reach = max(before_x + after_x, before_y + after_y) + 1
    packed = (number % 2**64 for number in chain.from_iterable(axes))
    numbers = np.array([recipe.threshold, before_x, before_y, straight, *packed], np.uint64)
    drawn = *recipe.key, place.known_step(recipe.step), recipe.placement.first
    factors = chunked.factors(x.dtype, affine)
    _, compiled = _compiled(x.dtype, kernels.tiles_of, 3)

    def draw(start: int, stop: int) -> None:
        compiled(*addresses, reach, start, stop, *drawn, numbers, factors)

    sides = (along.length, kernels.ALONG), (across.length, kernels.ACROSS)
    tiles = math.prod(-(-length // side) for length, side in sides)
    elements = math.prod(min(length, side) for length, side in sides)
    return draw, tiles * math.prod(axis.length for axis in outer), CROSSOVER, elements


def _way(axis: Step) -> int:
    """Return how far a step along an axis goes in memory, in either direction."""
    return abs(axis.x) + abs(axis.y)


def _extent(ends: list[int]) -> tuple[int, int]:
    """Return how far memory goes below and beyond the first element, by the axes' ends."""
    return -sum(min(0, end) for end in ends), sum(max(0, end) for end in ends)


def _packed(
    dtype: Any, placement: Placement, threshold: int = 0, affine: Affine = UNCHANGED
) -> tuple[Array, Array]:
    """Return a kernel's constants in two arrays: to pass a number costs as much as an array."""
    outer, run, repeat = placement.rows
    numbers = [threshold, run, repeat, *chain.from_iterable(reversed(outer))]
    return np.array(numbers, np.uint64), chunked.factors(dtype, affine)


@lru_cache
def _compiled(dtype: Any, at: Any = None, sizes: int = 1) -> tuple[Any, Any]:
    """Return how arrays of a dtype enter their kernel, None if as they are, and the kernel.

    The kernel is `kernels.runs`, or what `at` makes to take two addresses and so many sizes.
    """
    bits = BITS.get(dtype_name(dtype))
    element = from_dtype(bits or dtype)
    factor = from_dtype(chunked.compute_dtype(dtype))
    if at is None:
        arrays = (types.Array(element, 1, "C", readonly=readonly) for readonly in (True, False))
        function, memory = kernels.runs_of_arrays(element), (*arrays, types.uint64)
    else:
        function, memory = at(element), (types.uintp, types.uintp, *(types.intp,) * sizes)
    place = types.uint32, types.uint32, types.uint64, types.uint64  # key, step and first index
    packed = (types.Array(kind, 1, "C", readonly=True) for kind in (types.uint64, factor))
    signature = types.void(*memory, *place, *packed)
    try:
        return bits, njit(signature, nogil=True, cache=True)(function)
    except Exception as error:
        # No folder that the cache may be written to, or a damaged file in it: unpickling that
        # raises anything. What is wrong with the kernel itself is raised again below.
        logging.getLogger(__name__).warning(
            "a kernel for %s is compiled in each process anew, which takes seconds, since numba's "
            "cache can't be used (%s): let NUMBA_CACHE_DIR name a folder that can be written to",
            *(dtype, error),
        )
        return bits, njit(signature, nogil=True)(function)
