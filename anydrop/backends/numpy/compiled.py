"""The stream in numba: one pass over memory that draws, scales and selects.

Its `kernel` is that of `anydrop.backends.numpy.chunked`: the same arguments and the same bits.
Beside it are kernels of memory by its addresses, and of arrays of any strides. What is compiled is
in `anydrop.backends.numpy.kernels`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import from_dtype, njit, types

from anydrop.backends.base import dtype_name
from anydrop.backends.common.strides import Step, merged
from anydrop.backends.numpy import chunked, kernels
from anydrop.backends.numpy.chunked import Kernel
from anydrop.backends.numpy.kernels import TILE
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
    compiled, (numbers, factors) = _compiled_at(dtype), _packed(dtype, *constants)

    def draw(x: int, y: int, n: int, key: Key, step: int, first: int) -> None:
        k0, k1 = key
        compiled(x, y, n, k0, k1, step, first, numbers, factors)

    return draw


class Tiles(NamedTuple):
    """A kernel for two arrays of any strides, which takes tiles from one number to another.

    Attributes
    ----------
    draw : callable
        Takes the first tile, the one to stop before, a key and a step.
    total : int
        How many tiles there are.
    elements : int
        How many a whole tile has.
    """

    draw: Callable[[int, int, Key, int], None]
    total: int
    elements: int


def tiled(x: Array, y: Array, recipe: Recipe, affine: Affine) -> Tiles:
    """Return the kernel for two arrays whose strides are multiples of their elements' size.

    They may be one and the same, but not overlap otherwise.
    """
    size = x.itemsize
    strides = ([stride // size for stride in array.strides] for array in (x, y))
    axes = merged(x.shape, recipe.strides, *map(tuple, strides))
    along = next((axis for axis in axes if axis.mask == 1), Step(1, 1, 0, 0))
    across, *outer = sorted((a for a in axes if a is not along), key=_way) or [Step(1, 0, 0, 0)]
    straight = across.length == 1 or _way(along) <= _way(across)
    axes = [along, across, *outer]
    # Memory from the lowest address on, so that no place in it is negative.
    before_x, after_x = _extent(axis.x * (axis.length - 1) for axis in axes)
    before_y, after_y = _extent(axis.y * (axis.length - 1) for axis in axes)
    addresses = x.ctypes.data - size * before_x, y.ctypes.data - size * before_y
    reach = max(before_x + after_x, before_y + after_y) + 1
    constants = recipe.threshold, before_x, before_y, straight
    packed = (number % 2**64 for axis in axes for number in axis)
    numbers = np.array([*constants, *packed], np.uint64)
    factors = chunked.factors(x.dtype, affine)
    compiled, first = _compiled_tiles(x.dtype), recipe.placement.first

    def draw(start: int, stop: int, key: Key, step: int) -> None:
        compiled(*addresses, reach, start, stop, *key, step, first, numbers, factors)

    tiles = math.prod(-(-axis.length // TILE) for axis in (along, across))
    elements = math.prod(min(axis.length, TILE) for axis in (along, across))
    return Tiles(draw, tiles * math.prod(axis.length for axis in outer), elements)


def _way(axis: Step) -> int:
    """Return how far a step along an axis goes in memory, in either direction."""
    return abs(axis.x) + abs(axis.y)


def _extent(ends: Iterable[int]) -> tuple[int, int]:
    """Return how far memory goes below and beyond the first element, by the axes' ends."""
    ends = list(ends)
    return -sum(min(0, end) for end in ends), sum(max(0, end) for end in ends)


def _packed(
    dtype: Any,
    placement: Placement,
    threshold: int = 0,
    affine: Affine = UNCHANGED,
) -> tuple[Array, Array]:
    """Return a kernel's constants in two arrays: to pass a number costs as much as an array."""
    outer, run, repeat = placement.rows
    numbers = [threshold, run, repeat]
    for axis in reversed(outer):
        numbers += axis
    return np.array(numbers, np.uint64), chunked.factors(_number(dtype), affine)


def _number(dtype: Any) -> Any:
    """Return a dtype of numbers: any will do for masks and words, which have no factors."""
    return np.dtype(np.float32) if dtype.kind in "bu" else dtype


@lru_cache
def _compiled(dtype: Any) -> tuple[Any, Any]:
    """Return how arrays of a dtype enter their kernel, None if as they are, and the kernel."""
    element = _element(dtype)
    arrays = types.Array(element, 1, "C", readonly=True), types.Array(element, 1, "C")
    kernel = _compile(kernels.runs, dtype, *arrays, types.uint64)
    return BITS.get(dtype_name(dtype)), kernel


@lru_cache
def _compiled_at(dtype: Any) -> Any:
    """Return the kernel of a dtype that takes addresses."""
    function = kernels.runs_of(_element(dtype))
    return _compile(function, dtype, types.uintp, types.uintp, types.intp)


@lru_cache
def _compiled_tiles(dtype: Any) -> Any:
    """Return the kernel of a dtype for arrays of any strides."""
    function = kernels.tiles_of(_element(dtype))
    return _compile(function, dtype, types.uintp, types.uintp, *(types.intp,) * 3)


def _element(dtype: Any) -> Any:
    return from_dtype(BITS.get(dtype_name(dtype)) or dtype)


def _compile(function: Any, dtype: Any, *memory: Any) -> Any:
    """Compile a function of memory, two words of a key, a step, a first index and constants."""
    factor = from_dtype(chunked.compute_dtype(_number(dtype)))
    packed = (types.Array(kind, 1, "C", readonly=True) for kind in (types.uint64, factor))
    signature = types.void(*memory, types.uint32, types.uint32, types.uint64, types.uint64, *packed)
    try:
        return njit(signature, nogil=True, cache=True)(function)
    except Exception as error:
        # No folder that the cache may be written to, or a damaged file in it: unpickling that
        # raises anything. What is wrong with the kernel itself is raised again below.
        logging.getLogger(__name__).warning(
            "a kernel for %s is compiled in each process anew, which takes seconds, since numba's "
            "cache can't be used (%s): let NUMBA_CACHE_DIR name a folder that can be written to",
            *(dtype, error),
        )
        return njit(signature, nogil=True)(function)
