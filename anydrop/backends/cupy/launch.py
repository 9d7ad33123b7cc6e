"""Prepares calls of the kernels of philox.cu, without a GPU or CuPy.

It knows memory only by addresses and strides. So the tests also use it to run the same source,
compiled for the CPU, on NumPy's memory.
"""

from __future__ import annotations

import ctypes
import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from anydrop.backends.common.strides import MergedAxis, merged
from anydrop.backends.cupy.sources import ELEMENTS, FAMILIES, kernel_name
from anydrop.core.recipe import Recipe

# Threads of a block, and the most blocks. Beyond that, a thread handles several groups.
THREADS = 256
MOST_BLOCKS = 2**16

# The axes that remain have at least two elements, each with its own memory in y. This many axes
# would take a terabyte.
MOST_AXES = 40


class Axis(ctypes.Structure):
    """As in philox.cu: the length of an axis, and what a step adds to the index and addresses."""

    _fields_ = [
        ("length", ctypes.c_uint64),
        ("mask", ctypes.c_uint64),
        ("x", ctypes.c_int64),
        ("y", ctypes.c_int64),
    ]


class Args(ctypes.Structure):
    """As in philox.cu: the argument of a kernel, passed by value."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("x", "y", "keep", "first", "items", "groups")),
        ("wide", ctypes.c_double * 3),
        ("narrow", ctypes.c_float * 3),
        ("key", ctypes.c_uint32 * 2),
        ("step", ctypes.c_uint32 * 2),
        *((name, ctypes.c_uint32) for name in ("threshold", "ndim", "run", "inverse")),
        ("axes", Axis * MOST_AXES),
    ]


class Beside(ctypes.Structure):
    """As in philox.cu: what a step along an axis adds to the addresses of arrays beside x."""

    _fields_ = [("residual", ctypes.c_int64), ("bias", ctypes.c_int64)]


class MoreArgs(Args):
    """As in philox.cu: the argument of a kernel with an array beside x."""

    _fields_ = [
        ("residual", ctypes.c_uint64),
        ("bias", ctypes.c_uint64),
        ("beside", Beside * MOST_AXES),
    ]


# CuPy takes a structure by value as a NumPy array of one element. It is an array of bytes, since
# CuPy would spell out the fields of a structured dtype at every launch, which takes 30 us.
BYTES = {kind: np.dtype((np.void, ctypes.sizeof(kind))) for kind in (Args, MoreArgs)}


class Memory(NamedTuple):
    """The memory of an array: the address of its first element, and its strides in bytes."""

    address: int
    strides: tuple[int, ...]


class Launch(NamedTuple):
    """A call of a kernel: its names, the number of blocks and threads, and its argument."""

    family: str
    kernel: str
    blocks: int
    threads: int
    args: np.ndarray[Any, Any]


def draw(name: str, recipe: Recipe, y: Memory) -> Launch:
    """Return the call that draws a recipe into `y`, which is not empty.

    The name is "bool" for a keep mask, or a name such as "normals_float32" for normal numbers.
    """
    return _launch(name, recipe.keep_shape, (y, y), recipe)


def select(
    dtype: str,
    shape: tuple[int, ...],
    x: Memory,
    y: Memory,
    keep: Recipe | Memory | None,
    scale: float = 1.0,
    shift: float | None = None,
    fill: float = 0.0,
    inverse: bool = False,
) -> Launch:
    """Return the call that writes ``where(keep, x * scale + shift, fill)`` to `y`.

    Parameters
    ----------
    dtype, shape
        Of x and y, which are not empty.
    x, y : Memory
        They may be the same, but must not overlap otherwise.
    keep : Recipe, Memory or None
        A recipe to draw, or a boolean keep mask broadcast to the shape, or None to keep everything.
    scale, shift, fill : float
        A shift of None adds nothing.
    inverse : bool
        Whether to keep what the mask drops, and to drop the rest.

    Raises
    ------
    ValueError
        If elements are not aligned, so that CUDA can't read them.
    """
    # Adding -0.0 changes nothing, not even a zero's sign.
    factors = scale, -0.0 if shift is None else shift, fill
    return _launch(dtype, shape, (x, y), keep, factors, inverse)


def perturb(
    dtype: str,
    shape: tuple[int, ...],
    x: Memory,
    y: Memory,
    recipe: Recipe,
    std: float,
    relative: bool,
) -> Launch:
    """Return the call that writes ``x * (1 + std * z)`` or ``x + std * z`` to `y`.

    The arguments are as for `select`, and z are the normal numbers of the recipe.
    """
    name, shift = (f"times_{dtype}", 1.0) if relative else (f"plus_{dtype}", -0.0)
    return _launch(name, shape, (x, y), recipe, (std, shift, 0.0))


def choose(
    dtype: str,
    shape: tuple[int, ...],
    y: Memory,
    arrays: tuple[Memory, ...],
    keep: Recipe | Memory | None,
) -> Launch:
    """Return the call that writes ``where(keep, new, previous)`` of two arrays to `y`.

    The arguments are as for `select_add`.
    """
    new, previous = arrays
    return _launch(f"choose_{dtype}", shape, (new, y, previous), keep)


def select_add(
    dtypes: tuple[str, ...],
    shape: tuple[int, ...],
    y: Memory,
    arrays: tuple[Memory, ...],
    keep: Recipe | Memory | None,
    scale: float,
) -> Launch:
    """Return the call that writes ``residual + where(keep, (x + bias) * scale, 0)`` to `y`.

    Parameters
    ----------
    dtypes : tuple of str
        Of x, the residual, and the bias if there is one. y has the dtype of the residual.
    shape : tuple of int
        Of all of them. It is not empty.
    y : Memory
        It may be one of the arrays, but must not overlap them otherwise.
    arrays : tuple of Memory
        In the order of `dtypes`.
    keep : Recipe, Memory or None
        As for `select`.
    scale : float
        Factor for survivors.

    Raises
    ------
    ValueError
        If elements are not aligned, so that CUDA can't read them.
    """
    x, *others = arrays
    return _launch("_".join(("add", *dtypes)), shape, (x, y, *others), keep, (scale, 0.0, 0.0))


def _launch(
    name: str,
    shape: tuple[int, ...],
    arrays: tuple[Memory, ...],
    keep: Recipe | Memory | None,
    factors: tuple[float, float, float] = (1.0, -0.0, 0.0),
    inverse: bool = False,
) -> Launch:
    """Return the call of a kernel for x, y and the arrays beside x: a residual, and a bias."""
    drawn = isinstance(keep, Recipe)
    first = keep.placement.first if isinstance(keep, Recipe) else 0
    mask = (0,) * len(shape) if keep is None else keep.strides
    off = tuple([array.address % 8 for array in arrays])
    strides = tuple([array.strides for array in arrays])
    kernel, blocks, plan = _plan(name, shape, off, mask, strides, first % 4, drawn)
    args = type(plan).from_buffer_copy(plan)
    args.first, args.wide, args.narrow = first, factors, factors
    args.inverse = 0xFFFFFFFF if inverse else 0
    args.x, args.y = arrays[0].address, arrays[1].address
    if isinstance(args, MoreArgs):
        args.residual, args.bias = arrays[2].address, arrays[-1].address
    if isinstance(keep, Recipe):
        args.key, args.step, args.threshold = keep.key, keep.step_words, keep.threshold
    elif keep is not None:
        args.keep = keep.address
    packed = np.ndarray((), BYTES[type(args)], memoryview(args))
    return Launch(name, kernel, blocks, THREADS, packed)


@lru_cache(maxsize=256)
def _plan(
    name: str,
    shape: tuple[int, ...],
    off: tuple[int, ...],
    mask: tuple[int, ...],
    strides: tuple[tuple[int, ...], ...],
    lead: int,
    drawn: bool,
) -> tuple[str, int, Args]:
    """Return the kernel, the number of blocks and the arguments for a layout.

    The layout is given by the strides of the mask and of the arrays, the addresses of the arrays
    modulo 8 bytes, `off`, and the place of the first index in its Philox block, `lead`. If `drawn`
    is False, the mask is given, or everything is kept.
    """
    family = FAMILIES[name]
    x, *beside = family.dtypes
    dtypes = x, beside[0] if beside else x, *beside  # y has the dtype of the residual
    axes = merged(shape, mask, *strides)
    for a, dtype in enumerate(dtypes):
        aligned = ELEMENTS[dtype].aligned
        if off[a] % aligned or any(axis.steps[a] % aligned for axis in axes):
            raise ValueError(
                f"CUDA reads and writes {dtype} only at multiples of {aligned} bytes, and this "
                "array is not aligned: copy it first"
            )
    plain = MergedAxis(1, 1, tuple(ELEMENTS[dtype].size for dtype in dtypes))
    if not axes or (drawn and axes[-1].mask not in (0, 1)):
        axes.append(plain)
    *outer, run = axes
    # Groups of a run begin with its first Philox block. If runs differ, they begin at the earliest
    # place that a run may need.
    if not (drawn and run.mask):
        lead = 0
    elif any(axis.mask % 4 for axis in outer):
        lead = 3
    groups = -(-(lead + run.length) // ELEMENTS[dtypes[0]].width)
    items = groups * math.prod(axis.length for axis in outer)
    flat = "flat" in family.kinds and drawn and axes == [plain._replace(length=run.length)]
    kernel = kernel_name(name, "flat" if flat else "any")
    # Neighbouring threads write neighbouring elements of y, whatever its layout.
    axes.sort(key=lambda axis: -abs(axis.steps[1]))
    kind = MoreArgs if family.beside else Args
    args = kind(items=items, groups=groups, ndim=len(axes), run=axes.index(run))
    for a, axis in enumerate(axes):
        args.axes[a] = axis.length, axis.mask, *axis.steps[:2]
        if isinstance(args, MoreArgs):
            args.beside[a] = axis.steps[2:]
    return kernel, min(-(-items // THREADS), MOST_BLOCKS), args
