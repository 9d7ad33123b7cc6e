"""The stream in numba: one pass over memory that draws, scales and selects.

Its `kernel` and `summing` are interchangeable with those of `anydrop.backends.numpy.chunked`: they
take the same arguments and give the same bits. Beside them are kernels of memory by its addresses,
and of arrays of any strides. The functions that numba compiles are in the folder `kernels`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import numba
import numpy as np
from numba import from_dtype, njit, types

from anydrop.backends.base import dtype_name
from anydrop.backends.common.strides import MergedAxis, merged
from anydrop.backends.numpy import chunked
from anydrop.backends.numpy.chunked import Kernel, Summing
from anydrop.backends.numpy.kernels import entries, tiles
from anydrop.core import place
from anydrop.core.recipe import UNCHANGED, Affine, Placement, Recipe, scaled
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
    numbers, factors = _packed(dtype, *constants)
    bits, compiled = _compiled(entries.runs_of_arrays, dtype, isinstance(numbers, int))
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
    numbers, factors = _packed(dtype, *constants)
    _, compiled = _compiled(entries.runs_of, dtype, isinstance(numbers, int))

    def draw(x: int, y: int, n: int, key: Key, step: int, first: int) -> None:
        k0, k1 = key
        compiled(x, y, n, k0, k1, step, first, numbers, factors)

    return draw


def summing(
    dtypes: tuple[Any, Any],
    placement: Placement,
    threshold: int,
    scale: float,
    bias: Array | None = None,
) -> Summing:
    """Return the function that draws and sums with these constants; see `chunked.summing`."""
    numbers, factors = _packed(dtypes[0], placement, threshold, scaled(scale))
    wide = None if bias is None else bias.dtype
    compiled = _compiled_sum(entries.sums_of, *dtypes, wide, isinstance(numbers, int))
    x_bits, bits = (BITS.get(dtype_name(dtype)) for dtype in dtypes)
    biases = () if bias is None else (bias,)

    def draw(
        x: Array, residual: Array, y: Array, start: int, key: Key, step: int, first: int
    ) -> None:
        if x_bits is not None:
            x = x.view(x_bits)
        if bits is not None:
            residual, y = residual.view(bits), y.view(bits)
        compiled(x, residual, *biases, y, start, *key, step, first, numbers, factors)

    return draw


def tiled(
    arrays: Sequence[Array], y: Array, recipe: Recipe, affine: Affine
) -> tuple[Callable[[int, int], None], int, float, int]:
    """Return the arguments of `Pool.run` that draw a recipe for arrays of any strides, in tiles.

    They are a function that serves the tiles from one number to another, the number of tiles,
    `CROSSOVER`, and the number of elements of a whole tile.

    Parameters
    ----------
    arrays : sequence of array
        Of one shape: x, or x, the residual and, if there is one, the bias in the dtype that is
        computed with. Their strides are multiples of their elements' size.
    y : array
        Where to write. It may be one of them, but not overlap with them otherwise.
    recipe, affine : Recipe, Affine
        What to draw, and what becomes of an element.
    """
    all_arrays = [y, *arrays]
    strides = [tuple(n // array.itemsize for n in array.strides) for array in all_arrays]
    axes = merged(y.shape, recipe.strides, *strides)
    none = (0,) * len(all_arrays)
    along = next((axis for axis in axes if axis.mask == 1), MergedAxis(1, 1, none))
    others = sorted((axis for axis in axes if axis is not along), key=_way)
    across, *outer = others or [MergedAxis(1, 0, none)]
    straight = across.length == 1 or _way(along) <= _way(across)
    axes = [along, across, *outer]
    # Memory from the lowest address on, so that no place in it is negative.
    extents = [
        _extent([axis.steps[number] * (axis.length - 1) for axis in axes])
        for number in range(len(all_arrays))
    ]
    places = [before for before, _ in extents]
    addresses = [
        array.ctypes.data - array.itemsize * before
        for array, before in zip(all_arrays, places, strict=True)
    ]
    reach = max(before + after for before, after in extents) + 1
    packed = (number % 2**64 for axis in axes for number in (axis.length, axis.mask, *axis.steps))
    numbers = np.array([recipe.threshold, straight, *places, *packed], np.uint64)
    drawn = *recipe.key, place.known_step(recipe.step), recipe.placement.first
    factors = chunked.factors(arrays[0].dtype, affine)
    if len(arrays) == 1:
        _, compiled = _compiled(entries.tiles_of, y.dtype)
    else:
        x, _, *biases = (array.dtype for array in arrays)
        wide = biases[0] if biases else None
        compiled = _compiled_sum(entries.summed_tiles_of, x, y.dtype, wide)

    def draw(start: int, stop: int) -> None:
        target, *sources = addresses
        compiled(*sources, target, reach, start, stop, *drawn, numbers, factors)

    sides = (along.length, tiles.ALONG), (across.length, tiles.ACROSS)
    count = math.prod(-(-length // side) for length, side in sides)
    elements = math.prod(min(length, side) for length, side in sides)
    return draw, count * math.prod(axis.length for axis in outer), CROSSOVER, elements


def blocks(
    x: Array, y: Array, recipe: Recipe, geometry: list[int], affine: Affine
) -> Callable[[int, int], None]:
    """Return the function that serves plain arrays from one band of blocks to another.

    Parameters
    ----------
    x, y : array
        Of one dtype: bool for the keep mask, whatever `x` is, of others what `affine` makes of x.
    recipe : Recipe
        Of the places where blocks begin.
    geometry : list of int
        What the kernel takes of it; see `anydrop.backends.numpy.blocks.Geometry`.
    affine : Affine
        What becomes of an element.
    """
    outer, run, repeat = recipe.placement.rows
    placed = [recipe.threshold, run, repeat, *chain.from_iterable(reversed(outer))]
    numbers = np.array([*geometry, *placed], np.uint64)
    factors = chunked.factors(y.dtype, affine)
    drawn = *recipe.key, place.known_step(recipe.step), recipe.placement.first
    _, compiled = _compiled(entries.blocks_of, y.dtype, not outer and repeat == 1)

    def draw(start: int, stop: int) -> None:
        compiled(x.ctypes.data, y.ctypes.data, y.size, start, stop, *drawn, numbers, factors)

    return draw


def _way(axis: MergedAxis) -> int:
    """Return how far a step along an axis goes in memory, in either direction."""
    return sum(map(abs, axis.steps))


def _extent(ends: list[int]) -> tuple[int, int]:
    """Return how far memory goes below and beyond the first element, by the axes' ends."""
    return -sum(min(0, end) for end in ends), sum(max(0, end) for end in ends)


def _packed(
    dtype: Any, placement: Placement, threshold: int = 0, affine: Affine = UNCHANGED
) -> tuple[Array | int, Array]:
    """Return a kernel's constants in two arrays: passing a number costs as much as an array.

    If the placement is one run, the first is no array but the threshold alone.
    """
    outer, run, repeat = placement.rows
    factors = chunked.factors(dtype, affine)
    if not outer and repeat == 1:
        return threshold, factors
    numbers = [threshold, run, repeat, *chain.from_iterable(reversed(outer))]
    return np.array(numbers, np.uint64), factors


# Compiling ---------------------------------------------------------------------------------------

PLACE = types.uint32, types.uint32, types.uint64, types.uint64  # key, step and first index


@lru_cache
def _compiled(make: Any, dtype: Any, one_run: bool = False) -> tuple[Any, Any]:
    """Return a kernel, and before it the dtype that arrays are viewed as, None for their own.

    Parameters
    ----------
    make : callable
        Of `entries`: makes the kernel, of arrays or of their addresses.
    dtype : numpy.dtype
        Of x and y.
    one_run : bool
        Whether the indices run on, so that the kernel's numbers are a threshold alone.
    """
    bits, element = BITS.get(dtype_name(dtype)), _element(dtype)
    memory = {
        entries.runs_of_arrays: (_plain(element), _plain(element, readonly=False), types.uint64),
        entries.runs_of: (types.uintp, types.uintp, types.intp),
        entries.tiles_of: (types.uintp, types.uintp, *(types.intp,) * 3),
        entries.blocks_of: (types.uintp, types.uintp, *(types.intp,) * 3),
    }[make]
    function = make(element) if make is entries.tiles_of else make(element, one_run)
    return bits, _jitted(function, memory, dtype, one_run and make is not entries.blocks_of)


@lru_cache
def _compiled_sum(make: Any, x: Any, dtype: Any, bias: Any, one_run: bool = False) -> Any:
    """Return a kernel of `entries` with a residual.

    `x` and `bias` are dtypes, the latter None without a bias; `dtype` is that of the residual and
    of the result.
    """
    elements = _element(x), _element(dtype), None if bias is None else _element(bias)
    source, target, third = elements
    if make is entries.sums_of:
        arrays = [_plain(source), _plain(target), _plain(target, readonly=False)]
        if third:
            arrays.insert(2, _plain(third))
        function, memory = make(*elements, one_run), (*arrays, types.uint64)
    else:
        memory = (types.uintp,) * (4 if third else 3) + (types.intp,) * 3
        function = make(*elements)
    return _jitted(function, memory, x, one_run)


def _element(dtype: Any) -> Any:
    return from_dtype(BITS.get(dtype_name(dtype), dtype))


def _plain(element: Any, readonly: bool = True) -> Any:
    return types.Array(element, 1, "C", readonly=readonly)


def _jitted(function: Any, memory: tuple[Any, ...], dtype: Any, one_run: bool) -> Any:
    """Return a function compiled, from the cache if it is there."""
    factor = from_dtype(chunked.compute_dtype(dtype))
    numbers = types.uint32 if one_run else _plain(types.uint64)
    signature = types.void(*memory, *PLACE, numbers, _plain(factor))
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
