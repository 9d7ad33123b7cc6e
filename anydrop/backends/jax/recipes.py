"""Recipes as compiled programs see them: a few words at run time, and a layout.

Importing this module registers all descriptions as JAX pytrees, so that jitted functions take and
return them. As plain named tuples, all their entries would become arrays, and p would be rounded to
32 bits.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from anydrop.backends.jax.programs import Layout
from anydrop.core import place, stream
from anydrop.core.recipe import Description, Recipe, Window
from anydrop.core.typing import Array


def words_and_layout(recipe: Recipe) -> tuple[Array, Layout]:
    """Return the part of a recipe that a program takes at run time, and the part it is for."""
    recipe = place.known(recipe, stays=_is_traced)
    strides, window = recipe.strides, recipe.window
    extent = window.shape if window else recipe.shape
    size = math.prod(n for n, stride in zip(extent, strides, strict=True) if stride)
    layout = Layout(recipe.keep_shape, strides, wide=size > 2**32)
    first = _first(window.offset, strides) if window else 0
    words = (*recipe.key, *_halves(recipe.step), *_halves(first), recipe.threshold)
    if place.is_known(recipe):
        return np.asarray(words, np.uint32), layout
    return jnp.stack([jnp.asarray(word, np.uint32) for word in words]), layout


def _is_traced(value: Any) -> bool:
    return isinstance(value, Tracer)


def _halves(value: Any) -> tuple[Any, Any]:
    """Return the low and high words of an int, or of a traced scalar or pair of words."""
    if _is_traced(value):
        if value.shape == (2,):
            return value[0], value[1]
        value = value.astype(np.uint64)
    return stream.halves(value)


def _first(offset: tuple[Any, ...], strides: tuple[int, ...]) -> Any:
    """Return the index of a window's first element, in 64 bits."""
    pairs = list(zip(offset, strides, strict=True))
    known = sum(o * n for o, n in pairs if not _is_traced(o))
    traced = [o.astype(np.uint64) * np.uint64(n % 2**64) for o, n in pairs if _is_traced(o)]
    return sum(traced, np.uint64(known)) if traced else known


def _flattened(recipe: Recipe) -> tuple[tuple[Any, ...], Recipe]:
    """Return the step and offset, which may be traced, and the rest, which is static."""
    step, window = recipe.step, recipe.window
    if isinstance(step, int):
        step = np.asarray(stream.halves(step), np.uint32)
    elif isinstance(step, jax.Array) and not step.shape:
        # Also as two words: a stack of two scalars would look like one step.
        high = step >> 32 if step.dtype.itemsize > 4 else jnp.zeros_like(step)
        step = jnp.stack([step.astype(np.uint32), high.astype(np.uint32)])
    if window is None:
        return (step, ()), recipe._replace(step=0)
    moving = tuple(o for o in window.offset if place.is_array(o))
    fixed = tuple(None if place.is_array(o) else o for o in window.offset)
    return (step, moving), recipe._replace(step=0, window=Window(fixed, window.shape))


def _unflattened(cls: type[Recipe], rest: Recipe, children: tuple[Any, ...]) -> Recipe:
    step, moving = children
    if isinstance(step, np.ndarray):
        step = int(step[0]) | int(step[1]) << 32
    window = rest.window
    if window is not None:
        left = iter(moving)
        offset = tuple(next(left) if o is None else o for o in window.offset)
        window = Window(offset, window.shape)
    return cls(*rest._replace(step=step, window=window))


def _parts(description: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the descriptions and arrays in a description, and the rest with gaps for them."""
    inner = tuple(isinstance(v, (Recipe, Description)) or hasattr(v, "dtype") for v in description)
    pairs = list(zip(description, inner, strict=True))
    return tuple(v for v, i in pairs if i), (inner, tuple(None if i else v for v, i in pairs))


def _together(cls: type, rest: tuple[Any, ...], parts: tuple[Any, ...]) -> Any:
    left = iter(parts)
    return cls(*(next(left) if i else v for i, v in zip(*rest, strict=True)))


_classes: list[type] = [Recipe, Description]
for _cls in _classes:  # The list grows. A mask is both a recipe and a description.
    _classes += set(_cls.__subclasses__()) - set(_classes)
    if issubclass(_cls, Recipe):
        jax.tree_util.register_pytree_node(_cls, _flattened, partial(_unflattened, _cls))
    elif issubclass(_cls, tuple):
        jax.tree_util.register_pytree_node(_cls, _parts, partial(_together, _cls))
