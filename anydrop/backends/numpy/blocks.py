"""Connected blocks in NumPy arrays: the geometry that the compiled kernel needs."""

from __future__ import annotations

import math
from types import ModuleType
from typing import NamedTuple

import numpy as np

from anydrop.backends.common.blocks import distances
from anydrop.backends.common.threads import Pool
from anydrop.backends.numpy import works
from anydrop.core.recipe import UNCHANGED, Affine, Recipe, scaled
from anydrop.core.typing import Array

# The most places of a band. The kernel uses as many bytes of working memory again, and both fit in
# the innermost cache.
BAND = 2**14
# Neighbouring bands of a region overlap, and the overlap is drawn twice. A band is at least this
# many times as long as the overlap.
LONGER = 8


class Geometry(NamedTuple):
    """The layout of elements and places; `anydrop.backends.numpy.kernels.blocks` defines the terms.

    `inner_axes`, `own_axes` and `shared_axes` alternate lengths and strides, starting with the
    innermost axis. The strides of `inner_axes` count places. The strides of the other two count
    regions of x.
    """

    regions: int  # number of regions of places
    size: int  # places in a region
    batch: int  # regions in a band
    bands: int  # bands in a region
    band: int  # length of a band along the first axis with blocks
    length: int  # length of x along that axis
    reach: int  # how far blocks extend along it beyond their first index
    stride: int  # places from one index of it to the next
    row: int  # contiguous bytes in the order of the elements; 0 if the whole band is contiguous
    inner: int  # rows for each index of that axis
    repeat: int  # elements that share a byte
    x_region: int  # elements in a region
    x_stride: int  # elements from one index of the first axis with blocks to the next
    copies: int  # regions of x for each region of places
    distances: list[int]  # offsets of the bytes to combine, one after the other
    inner_axes: list[int]
    own_axes: list[int]
    shared_axes: list[int]

    def numbers(self) -> list[int]:
        """Return the numbers that the kernel takes."""
        fields, lists = self[:14], self[14:]
        return [*fields, *map(len, lists), *(number for part in lists for number in part)]


def geometry(recipe: Recipe, sizes: tuple[int, ...], shape: tuple[int, ...]) -> Geometry | None:
    """Return the geometry for x of a shape, or None if the kernel doesn't support it."""
    with_blocks = [axis for axis, size in enumerate(sizes) if size > 1]
    places = recipe.keep_shape
    if not with_blocks or not math.prod(shape):
        return None
    first, last = with_blocks[0], with_blocks[-1]
    same = [places[a] == shape[a] for a in range(len(shape))]
    # A shared axis between axes with blocks is unsupported: several rows would share each byte.
    if not all(same[a] or sizes[a] > 1 for a in range(first, last)):
        return None
    own, shared = list[int](), list[int]()
    stride = 1
    for axis in reversed(range(first)):
        (own if same[axis] else shared).extend((shape[axis], stride))
        stride *= shape[axis]
    behind = math.prod(places[last + 1 :])
    repeat = math.prod(shape[last + 1 :]) // behind
    # The axes after the last one with blocks must all be shared, or none of them.
    if repeat != 1 and behind != 1:
        return None
    strides = [math.prod(places[axis + 1 :]) for axis in range(len(places))]
    reach, step, length = sizes[first] - 1, strides[first], shape[first]
    size = math.prod(places[first:])
    band = min(length, max(1, LONGER * reach, BAND // step - reach))
    bands = -(-length // band)
    inner = list[int]()
    for axis in reversed(range(first, last)):
        inner.extend((shape[axis], strides[axis]))
    regions = math.prod(places[:first])
    return Geometry(
        regions=regions,
        size=size,
        batch=max(1, BAND // size) if bands == 1 else 1,
        bands=bands,
        band=band,
        length=length,
        reach=reach,
        stride=step,
        row=0 if first == last else shape[last] * behind,
        inner=math.prod(shape[first + 1 : last]),
        repeat=repeat,
        x_region=math.prod(shape[first:]),
        x_stride=math.prod(shape[first + 1 :]),
        copies=math.prod(shape[:first]) // regions,
        distances=[by * strides[axis] for axis in with_blocks for by in distances(sizes[axis])],
        inner_axes=inner,
        own_axes=own,
        shared_axes=shared,
    )


def keep(kernels: ModuleType, pool: Pool, recipe: Recipe, sizes: tuple[int, ...]) -> Array | None:
    """Return the keep mask of blocks, or None if no kernel supports them; see `Backend`."""
    kept = np.empty(
        [n - size + 1 for n, size in zip(recipe.keep_shape, sizes, strict=True)], np.bool_
    )
    return kept if _draw(kernels, pool, kept, kept, recipe, sizes, UNCHANGED) else None


def select(
    kernels: ModuleType,
    pool: Pool,
    x: Array,
    recipe: Recipe,
    sizes: tuple[int, ...],
    scale: float,
    out: Array | None,
) -> Array | None:
    """Return the result of `Backend.select_blocks`, or None if no kernel supports it."""
    y = np.empty_like(x, subok=False) if out is None else out
    done = works.are_apart(x, y) and _draw(kernels, pool, x, y, recipe, sizes, scaled(scale))
    return y if done else None


def _draw(
    kernels: ModuleType,
    pool: Pool,
    x: Array,
    y: Array,
    recipe: Recipe,
    sizes: tuple[int, ...],
    affine: Affine,
) -> bool:
    """Draw blocks for x, write to y, and return True; return False if no kernel supports it.

    If y is boolean, write the keep mask to it.
    """
    if not hasattr(kernels, "blocks") or not works.is_plain(x) or not works.is_plain(y):
        return False
    where = geometry(recipe, sizes, y.shape)
    if where is None:
        return False
    work = kernels.blocks(x, y, recipe, where.numbers(), affine)
    count = -(-where.regions // where.batch) * where.bands
    pool.run(work, count, kernels.CROSSOVER, max(1, y.size // count))
    return True
