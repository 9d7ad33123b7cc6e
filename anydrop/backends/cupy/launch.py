"""Everything about calling the kernels of philox.cu that needs neither a GPU nor CuPy.

It knows memory by addresses and strides alone, so the tests use it as it is to run the same source,
compiled for the host, on NumPy's memory.
"""

from __future__ import annotations

import ctypes
import math
from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

from anydrop.backends.common import normals as quantiles
from anydrop.backends.common.strides import Step, merged
from anydrop.core.recipe import Recipe


class Element(NamedTuple):
    """A dtype: its struct in philox.cu, its bytes, and what its addresses are multiples of."""

    struct: str
    size: int
    width: int  # how many a thread serves
    aligned: int


ELEMENTS = {
    "bool": Element("Bool", 1, 16, 1),
    "float16": Element("Float16", 2, 8, 2),
    "bfloat16": Element("BFloat16", 2, 8, 2),
    "float32": Element("Float32", 4, 4, 4),
    "float64": Element("Float64", 8, 4, 8),
    "complex64": Element("Complex64", 8, 4, 4),
    "complex128": Element("Complex128", 16, 4, 8),
    "normals_float32": Element("Normal<Quantile_float32>", 4, 4, 4),
    "normals_float64": Element("Normal<Quantile_float64>", 8, 4, 8),
}
OPTIONS = ("--std=c++17",)

# A block of threads, and the most of them; beyond, a thread serves several groups.
THREADS = 256
MOST_BLOCKS = 2**16

# The axes that remain have two elements or more, each with memory of its own in y: so many would
# take a terabyte.
MOST_AXES = 40


class Axis(ctypes.Structure):
    """As in philox.cu: its length, and what a step along it adds to the index and addresses."""

    _fields_ = [
        ("length", ctypes.c_uint64),
        ("mask", ctypes.c_uint64),
        ("x", ctypes.c_int64),
        ("y", ctypes.c_int64),
    ]


class Args(ctypes.Structure):
    """As in philox.cu: the one argument of every kernel, which travels by value."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("x", "y", "keep", "first", "items", "groups")),
        ("wide", ctypes.c_double * 3),
        ("narrow", ctypes.c_float * 3),
        ("key", ctypes.c_uint32 * 2),
        ("step", ctypes.c_uint32 * 2),
        *((name, ctypes.c_uint32) for name in ("threshold", "ndim", "run")),
        ("axes", Axis * MOST_AXES),
    ]


# CuPy takes a structure by value as a NumPy array of one. Its bytes suffice, since CuPy would have
# the fields of a dtype spelled out at every launch, which takes 30 us.
ARGS = np.dtype((np.void, ctypes.sizeof(Args)))


class Memory(NamedTuple):
    """Where an array lies: the address of its first element, and its strides in bytes."""

    address: int
    strides: tuple[int, ...]


class Launch(NamedTuple):
    """A kernel's call: which, of how many blocks and threads, and its one argument."""

    kernel: str
    blocks: int
    threads: int
    args: np.ndarray[Any, Any]


@lru_cache
def source(dtype: str) -> str:
    """Return the CUDA source of a dtype's kernels."""
    text = files("anydrop.backends.cupy").joinpath("philox.cu").read_text(encoding="utf-8")
    return text + instances(dtype)


def instances(dtype: str) -> str:
    """Return the lines of CUDA that make a dtype's kernels of their template."""
    line = f"KERNELS({dtype}, {ELEMENTS[dtype].struct})\n"
    kind, _, number = dtype.rpartition("_")
    return _quantile(number) + line if kind == "normals" else line


def _quantile(dtype: str) -> str:
    """Return the struct of the functions that make normal numbers of words."""
    number, suffix = {"float32": ("float", "f"), "float64": ("double", "")}[dtype]

    def polynomial(constant: float, *rest: float) -> str:
        literal = f"{constant!r}{suffix}"
        return f"({literal} + x * {polynomial(*rest)})" if rest else literal

    lines = [f"struct Quantile_{dtype} {{", f"    typedef {number} Number;"]
    for name in ("CENTRAL", "CENTRAL_SQUARED", "TAIL"):
        lines += [f"    static constexpr {number} {name} = {getattr(quantiles, name)!r}{suffix};"]
    for name in ("central", "tail"):
        dividend, divisor = quantiles.QUANTILES[dtype, name]
        ratio = f"{polynomial(*dividend)} / {polynomial(*divisor)}"
        lines += [f"    static INLINE {number} {name}({number} x) {{ return {ratio}; }}"]
    return "\n".join([*lines, "};\n"])


def kernel_names(dtype: str) -> tuple[str, str]:
    """Return the names of a dtype's kernels: of plain arrays, and of any."""
    return f"anydrop_{dtype}_flat", f"anydrop_{dtype}_any"


def draw(dtype: str, recipe: Recipe, y: Memory) -> Launch:
    """Return the call that writes what is drawn of a recipe to `y`, which is not empty.

    That is its keep mask if `dtype` is "bool", and else its normal numbers, in such a dtype as
    "normals_float32".
    """
    return select(dtype, recipe.keep_shape, y, y, recipe)


def select(
    dtype: str,
    shape: tuple[int, ...],
    x: Memory,
    y: Memory,
    keep: Recipe | Memory | None,
    scale: float = 1.0,
    shift: float | None = None,
    fill: float = 0.0,
) -> Launch:
    """Return the call that writes ``where(keep, x * scale + shift, fill)`` to `y`.

    Parameters
    ----------
    dtype, shape
        Of x and y, which are not empty.
    x, y : Memory
        May be the same, but not overlap otherwise.
    keep : Recipe, Memory or None
        What to draw, a boolean keep mask broadcast to the shape, or None to keep everything.
    scale, shift, fill : float
        A shift of None is none.

    Raises
    ------
    ValueError
        If elements lie where CUDA can't read them.
    """
    drawn = isinstance(keep, Recipe)
    first = keep.placement.first if isinstance(keep, Recipe) else 0
    mask = (0,) * len(shape) if keep is None else keep.strides
    off = (x.address | y.address) % ELEMENTS[dtype].aligned
    kernel, blocks, plan = _plan(dtype, shape, off, x.strides, y.strides, mask, first % 4, drawn)
    args = Args.from_buffer_copy(plan)
    args.x, args.y, args.first = x.address, y.address, first
    # Adding -0.0 changes nothing, not even a zero's sign.
    args.wide = args.narrow = scale, -0.0 if shift is None else shift, fill
    if isinstance(keep, Recipe):
        args.key, args.step, args.threshold = keep.key, keep.step_words, keep.threshold
    elif keep is not None:
        args.keep = keep.address
    return Launch(kernel, blocks, THREADS, np.ndarray((), ARGS, memoryview(args)))


@lru_cache(maxsize=256)
def _plan(
    dtype: str,
    shape: tuple[int, ...],
    off: int,
    x: tuple[int, ...],
    y: tuple[int, ...],
    mask: tuple[int, ...],
    lead: int,
    drawn: bool,
) -> tuple[str, int, Args]:
    """Return the kernel, the blocks and the arguments of a layout.

    The strides of x, y and the mask say where elements lie. `off` is how far the first ones lie
    behind a place where CUDA reads them, and `lead` the first one's place in its block. A mask that
    is not drawn is given, or keeps everything if its threshold stays 0.
    """
    _, size, width, aligned = ELEMENTS[dtype]
    axes = merged(shape, mask, x, y)
    if off or any(axis.x % aligned or axis.y % aligned for axis in axes):
        raise ValueError(
            f"CUDA reads and writes {dtype} at multiples of {aligned} bytes only, and an array "
            "here lies elsewhere: copy it first"
        )
    if not axes or (drawn and axes[-1].mask not in (0, 1)):
        axes.append(Step(1, 1, size, size))
    *outer, run = axes
    # A run is grouped from the start of its first block; if that is not the same for all runs, from
    # the earliest that it may be.
    if not (drawn and run.mask):
        lead = 0
    elif any(axis.mask % 4 for axis in outer):
        lead = 3
    groups = -(-(lead + run.length) // width)
    items = groups * math.prod(axis.length for axis in outer)
    flat = drawn and axes == [(run.length, 1, size, size)]
    # Threads beside each other work beside each other in y, whatever its layout.
    axes.sort(key=lambda axis: -abs(axis.y))
    args = Args(items=items, groups=groups, ndim=len(axes), run=axes.index(run))
    for a, axis in enumerate(axes):
        args.axes[a] = axis
    return kernel_names(dtype)[not flat], min(-(-items // THREADS), MOST_BLOCKS), args
