"""The stream in numba: one pass over memory that draws, scales and selects.

Each function that returns a `Kernel` or a `KernelOfTwo` has a counterpart of the same name in
`anydrop.backends.numpy.chunked`. The two take the same arguments and give the same bits. Other
kernels take memory addresses, arrays of any strides, packed masks or connected blocks. The
functions that numba compiles are in the folder `kernels`.
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
from anydrop.backends.numpy.chunked import Kernel, KernelOfTwo
from anydrop.backends.numpy.kernels import entries, rules, tiles
from anydrop.backends.numpy.kernels.rules import Rule
from anydrop.core import place
from anydrop.core.recipe import UNCHANGED, Affine, Placement, Recipe, scaled
from anydrop.core.stream import Key
from anydrop.core.typing import Array

if numba.config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set, and these kernels are nothing uncompiled")

NAME = "numba"
# Elements below which a second thread costs more than it saves; ``nox -s bench`` measures it.
CROSSOVER = 2**20
# Noise takes several times as long.
NOISE_CROSSOVER = 2**18

# The dtypes that numba lacks, and the integers that their arrays are viewed as.
BITS = {"float16": np.dtype(np.uint16), "bfloat16": np.dtype(np.int16)}


def kernel(dtype: Any, *constants: Any, rule: Callable[..., Rule] = rules.Select) -> Kernel:
    """Return the function that draws with these constants; see `chunked.kernel`."""
    numbers, factors = _constants(dtype, *constants)
    bits, compiled = _compiled(entries.runs_of_arrays, rule, dtype, isinstance(numbers, int))
    if bits is None:

        def draw(x: Array, y: Array, start: int, key: Key, step: int, first: int) -> None:
            k0, k1 = key
            compiled(x, y, start, k0, k1, step, first, numbers, factors)

    else:

        def draw(x: Array, y: Array, start: int, key: Key, step: int, first: int) -> None:
            compiled(x.view(bits), y.view(bits), start, *key, step, first, numbers, factors)

    return draw


def kernel_at(dtype: Any, *constants: Any) -> Callable[[int, int, int, Key, int, int], None]:
    """Return a `kernel` that takes addresses and starts at the placement's first element.

    The kernel takes the addresses of x and y, the number of elements, a key, a step and the first
    index. It is for libraries that return an address in less time than they make a NumPy array.
    """
    numbers, factors = _constants(dtype, *constants)
    _, compiled = _compiled(entries.runs_of, rules.Select, dtype, isinstance(numbers, int))

    def draw(x: int, y: int, n: int, key: Key, step: int, first: int) -> None:
        k0, k1 = key
        compiled(x, y, n, k0, k1, step, first, numbers, factors)

    return draw


def normal(dtype: Any, placement: Placement) -> Kernel:
    """Return the function that writes standard normal numbers; see `chunked.normal`."""
    return kernel(dtype, placement, rule=rules.Normal)


def perturbing(dtype: Any, placement: Placement, std: float, relative: bool) -> Kernel:
    """Return the function that multiplies or adds noise; see `chunked.perturbing`."""
    return kernel(dtype, placement, 0, scaled(std), rule=noise(relative))


def dropping(dtype: Any, placement: Placement, threshold: int) -> Kernel:
    """Return the function that keeps the elements that a mask drops; see `chunked.dropping`."""
    return kernel(dtype, placement, threshold, rule=rules.Drop)


def choosing(dtype: Any, placement: Placement, threshold: int) -> KernelOfTwo:
    """Return the function that takes one of two elements; see `chunked.choosing`."""
    return _of_two((dtype, dtype), placement, threshold, scaled(1.0), None, rules.Choose)


def packed(dtype: Any, affine: Affine) -> Callable[[Array, Array, Array, int], None]:
    """Return the function that applies a mask of one bit per element.

    The function takes x, the bits, y, and the position of the first element in the mask; see
    `kernel`.
    """
    factors, bits, compiled = chunked.factors(dtype, affine), _bits(dtype), _compiled_packed(dtype)

    def select(x: Array, mask: Array, y: Array, start: int) -> None:
        if bits is not None:
            x, y = x.view(bits), y.view(bits)
        compiled(x, mask, y, start, factors)

    return select


def noise(relative: bool) -> Callable[..., Rule]:
    """Return the rule for relative or absolute noise."""
    return rules.MultiplyNoise if relative else rules.AddNoise


def summing(
    dtypes: tuple[Any, Any],
    placement: Placement,
    threshold: int,
    scale: float,
    bias: Array | None = None,
) -> KernelOfTwo:
    """Return the function that draws and adds a residual; see `chunked.summing`."""
    return _of_two(dtypes, placement, threshold, scaled(scale), bias, rules.Add)


def _of_two(
    dtypes: tuple[Any, Any],
    placement: Placement,
    threshold: int,
    affine: Affine,
    bias: Array | None,
    rule: Callable[..., Rule],
) -> KernelOfTwo:
    """Return the function that computes y from two arrays, and from a bias if there is one."""
    numbers, factors = _constants(dtypes[0], placement, threshold, affine)
    wide = None if bias is None else bias.dtype
    compiled = _compiled_of_two(entries.runs_of_two, rule, *dtypes, wide, isinstance(numbers, int))
    x_bits, bits = map(_bits, dtypes)
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
    arrays: Sequence[Array],
    y: Array,
    recipe: Recipe,
    affine: Affine = UNCHANGED,
    rule: Callable[..., Rule] = rules.Select,
) -> tuple[Callable[[int, int], None], int, float, int]:
    """Return the arguments of `Pool.run` that draw a recipe for arrays of any strides, in tiles.

    The arguments are a function that computes a range of tiles, the number of tiles, `CROSSOVER`,
    and the number of elements in a whole tile.

    Parameters
    ----------
    arrays : sequence of array
        The arrays that the rule takes, all of the same shape. Strides must be multiples of the item
        size. A bias has the dtype of the computation.
    y : array
        The array to write to. It may be one of the arrays, but must not partly overlap with them.
    recipe, affine : Recipe, Affine
        The mask, and scale, shift and fill.
    rule : type
        One of `kernels.rules`.
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
    # Arrays begin at their lowest address, so that no offset is negative.
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
        _, compiled = _compiled(entries.tiles_of, rule, y.dtype)
    else:
        x, _, *biases = (array.dtype for array in arrays)
        wide = biases[0] if biases else None
        compiled = _compiled_of_two(entries.tiles_of_two, rule, x, y.dtype, wide)

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
    """Return the function that drops connected blocks in a range of bands of plain arrays.

    Parameters
    ----------
    x, y : array
        Arrays of the same dtype. If it is bool, the kernel ignores x and writes the keep mask.
    recipe : Recipe
        The recipe of the places where blocks begin.
    geometry : list of int
        The numbers of an `anydrop.backends.numpy.blocks.Geometry`.
    affine : Affine
        Scale, shift and fill.
    """
    outer, run, repeat = recipe.placement.rows
    placed = [recipe.threshold, run, repeat, *chain.from_iterable(reversed(outer))]
    numbers = np.array([*geometry, *placed], np.uint64)
    factors = chunked.factors(y.dtype, affine)
    drawn = *recipe.key, place.known_step(recipe.step), recipe.placement.first
    _, compiled = _compiled(entries.blocks_of, rules.Select, y.dtype, not outer and repeat == 1)

    def draw(start: int, stop: int) -> None:
        compiled(x.ctypes.data, y.ctypes.data, y.size, start, stop, *drawn, numbers, factors)

    return draw


def _way(axis: MergedAxis) -> int:
    """Return how far a step along an axis goes in memory, in either direction."""
    return sum(map(abs, axis.steps))


def _extent(ends: list[int]) -> tuple[int, int]:
    """Return how far memory extends before and after the first element, given the axes' ends."""
    return -sum(min(0, end) for end in ends), sum(max(0, end) for end in ends)


def _constants(
    dtype: Any, placement: Placement, threshold: int = 0, affine: Affine = UNCHANGED
) -> tuple[Array | int, Array]:
    """Return a kernel's constants in two arrays.

    Arrays save time, because passing one number to numba costs as much as passing an array. If the
    placement is one run, the first result is the threshold instead of an array.
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
def _compiled(
    make: Any, rule: Callable[..., Rule], dtype: Any, one_run: bool = False
) -> tuple[Any, Any]:
    """Return the dtype that arrays must be viewed as, or None, and the compiled kernel.

    Parameters
    ----------
    make : callable
        The function of `entries` that makes the kernel. Kernels take arrays or addresses.
    rule : type
        One of `kernels.rules`.
    dtype : numpy.dtype
        The dtype of x and y.
    one_run : bool
        Whether the indices are one run. The kernel then takes the threshold instead of an array of
        numbers.
    """
    bits, element = _bits(dtype), _element(dtype)
    memory = {
        entries.runs_of_arrays: (_plain(element), _plain(element, readonly=False), types.uint64),
        entries.runs_of: (types.uintp, types.uintp, types.intp),
        entries.tiles_of: (types.uintp, types.uintp, *(types.intp,) * 3),
        entries.blocks_of: (types.uintp, types.uintp, *(types.intp,) * 3),
    }[make]
    flags = () if make is entries.tiles_of else (one_run,)
    function = make(rule, element, *flags)
    return bits, _jitted(function, memory, dtype, one_run and make is not entries.blocks_of)


@lru_cache
def _compiled_of_two(
    make: Any, rule: Callable[..., Rule], x: Any, dtype: Any, bias: Any, one_run: bool = False
) -> Any:
    """Return the compiled kernel for x, a second array, and a bias if there is one.

    `x` and `bias` are dtypes, and `bias` is None without a bias. `dtype` is the dtype of the second
    array and the result.
    """
    elements = _element(x), _element(dtype), None if bias is None else _element(bias)
    source, target, third = elements
    if make is entries.runs_of_two:
        arrays = [_plain(source), _plain(target), _plain(target, readonly=False)]
        if third:
            arrays.insert(2, _plain(third))
        function, memory = make(rule, *elements, one_run), (*arrays, types.uint64)
    else:
        memory = (types.uintp,) * (4 if third else 3) + (types.intp,) * 3
        function = make(rule, *elements)
    return _jitted(function, memory, x, one_run)


@lru_cache
def _compiled_packed(dtype: Any) -> Any:
    """Return the compiled kernel for a mask of one bit per element."""
    element, factor = _element(dtype), from_dtype(chunked.compute_dtype(dtype))
    target = _plain(element, readonly=False)
    arrays = _plain(element), _plain(types.uint8), target, types.uint64, _plain(factor)
    return _cached(types.void(*arrays), entries.packed_of(element), dtype)


@lru_cache
def _bits(dtype: Any) -> Any:
    """Return the dtype that arrays of a dtype must be viewed as, or None."""
    return BITS.get(dtype_name(dtype))


def _element(dtype: Any) -> Any:
    bits = _bits(dtype)
    return from_dtype(dtype if bits is None else bits)


def _plain(element: Any, readonly: bool = True) -> Any:
    return types.Array(element, 1, "C", readonly=readonly)


def _jitted(function: Any, memory: tuple[Any, ...], dtype: Any, one_run: bool) -> Any:
    """Return a compiled function that takes memory, then the key and the other constants."""
    factor = from_dtype(chunked.compute_dtype(dtype))
    numbers = types.uint32 if one_run else _plain(types.uint64)
    return _cached(types.void(*memory, *PLACE, numbers, _plain(factor)), function, dtype)


def _cached(signature: Any, function: Any, dtype: Any) -> Any:
    """Compile a function, or load it from numba's cache."""
    try:
        return njit(signature, nogil=True, cache=True)(function)
    except Exception as error:
        # The cache can't be written to, or it has a damaged file. Unpickling that may raise
        # anything. An error in the kernel itself is raised again below.
        logging.getLogger(__name__).warning(
            "a kernel for %s is compiled in each process anew, which takes seconds, since numba's "
            "cache can't be used (%s): let NUMBA_CACHE_DIR name a folder that can be written to",
            *(dtype, error),
        )
        return njit(signature, nogil=True)(function)
