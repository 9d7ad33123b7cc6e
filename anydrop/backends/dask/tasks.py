"""The functions that the tasks of a graph call: one chunk each, by the backend of its library."""

from __future__ import annotations

import multiprocessing
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from anydrop.backends import resolve
from anydrop.backends.common.threads import without_helpers
from anydrop.core.recipe import Recipe, Window
from anydrop.core.typing import Array


def draw(
    slices: tuple[slice, ...], *, method: str, recipe: Recipe, like: Array, sizes: tuple[int, ...]
) -> Array:
    """Call a method that draws a recipe, and blocks if there are sizes."""
    arguments = (sizes, like) if sizes else (like,)
    with _as_a_task():
        return getattr(resolve(like), method)(_part(recipe, slices, sizes), *arguments)


def apply(
    x: Array,
    where: Any = None,
    *,
    method: str,
    recipe: Recipe | None,
    arguments: tuple[Any, ...],
    sizes: tuple[int, ...],
) -> Array:
    """Apply a method to a chunk, with its part of the mask or recipe, and other arguments."""
    keep = _part(recipe, where, sizes) if recipe else where
    if recipe:
        _check_chunk(x, less_reach(keep.shape, sizes))
    backend = resolve(x)
    backend.check_input(x)
    with _as_a_task():
        return getattr(backend, method)(x, keep, *arguments)


def choose(*parts: Any, recipe: Recipe | None, given: tuple[bool, bool]) -> Array:
    """Choose between the chunks of the given states."""
    *states, where = parts
    keep = _part(recipe, where) if recipe else where
    for state in states:
        _check_chunk(state, keep.shape if recipe else states[0].shape)
    left = iter(states)
    new, previous = (next(left) if there else None for there in given)
    backend = resolve(states[0])
    backend.check_input(states[0])
    with _as_a_task():
        return backend.choose(new, previous, keep)


def select_add(
    x: Array, residual: Array, *rest: Any, recipe: Recipe | None, scale: float, masked: bool
) -> Array:
    """Return the sum of a chunk of x, of the residual and, if there is one, of the bias."""
    where, bias = (*rest, None)[:2] if masked else (None, (*rest, None)[0])
    keep = _part(recipe, where) if recipe else where
    if recipe:
        _check_chunk(x, keep.shape)
    _check_chunk(residual, x.shape)
    backend = resolve(x)
    backend.check_input(x)
    with _as_a_task():
        return backend.select_add(x, residual, keep, scale, bias)


def summed(x: Array, axis: tuple[int, ...], keepdims: bool, *, dtype: str) -> Array:
    """Return a chunk's sum along some axes."""
    shape = tuple(1 if a in axis else n for a, n in enumerate(x.shape))
    with _as_a_task():
        return resolve(x).sum_to(x, shape, dtype)


def pack(keep: Array) -> Array:
    """Return a chunk of a mask as bits."""
    return resolve(keep).pack(keep)


def unpack(bits: Array) -> Array:
    """Return a chunk of a mask from its bits."""
    return resolve(bits).unpack(bits, (8 * bits.shape[0],), bits)


def _check_chunk(x: Array, shape: tuple[int, ...]) -> None:
    if x.shape != shape:
        raise ValueError(
            f"a chunk must have the shape {shape} that its Dask array declares, got {x.shape}: "
            "declare the chunks where the array is made, e.g. with map_blocks(..., chunks=...)"
        )


def _as_a_task() -> AbstractContextManager[None]:
    """Leave the cores to other tasks, unless the main thread of the program runs them all."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and multiprocessing.parent_process() is None:
        return nullcontext()
    return without_helpers()


def less_reach(shape: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the elements, given that of the places where blocks begin."""
    return tuple(n - m + 1 for n, m in zip(shape, sizes, strict=True)) if sizes else shape


def _part(recipe: Recipe, slices: tuple[slice, ...], sizes: tuple[int, ...] = ()) -> Recipe:
    """Return the recipe of a chunk, or of the places where the blocks within it begin."""
    offset, extent = recipe.window or ((0,) * len(slices), recipe.shape)
    reach = [size - 1 for size in sizes] or [0] * len(slices)
    return recipe._replace(
        shape=tuple(int(s.stop - s.start) + r for s, r in zip(slices, reach, strict=True)),
        window=Window(tuple(o + int(s.start) for o, s in zip(offset, slices, strict=True)), extent),
    )
