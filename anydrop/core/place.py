"""The step and the window's offset of a mask: ints, or arrays of a library other than NumPy.

Such an array may be traced by a compiler, or be on a device. Only its library can read its value
then. So a backend says which arrays must stay arrays, and `known` turns all others into ints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from anydrop.core import check
from anydrop.core.stream import LAST_STEP, WORD

if TYPE_CHECKING:
    from anydrop.core.recipe import Recipe


def is_array(value: object) -> bool:
    """Return whether a value is an array or scalar array of a library other than NumPy."""
    return (
        type(value) is not int
        and hasattr(value, "dtype")
        and hasattr(value, "shape")
        and not isinstance(value, (np.ndarray, np.generic))
    )


# What users give -------------------------------------------------------------------------------


def step(value: Any) -> Any:
    """Return the step as an int of 64 bits, or as an array."""
    if type(value) is int and 0 <= value <= LAST_STEP:
        return value
    if is_array(value):
        if tuple(value.shape) not in ((), (2,)):
            raise ValueError(
                "step as an array must be a scalar, or two entries with its low and high 32 bits, "
                f"got the shape {tuple(value.shape)}"
            )
        return _copy(value, "step")
    number = check.integer(value, "step")
    if not 0 <= number <= LAST_STEP:
        raise ValueError(f"step must satisfy 0 <= step < 2**64, got {number}")
    return number


def counter(value: Any) -> Any:
    """Return the step of a layer, which counts on, as an int or as an int64 scalar array.

    Arrays of other dtypes can't count far enough, and become ints.
    """
    value = step(value)
    counts = is_array(value) and not value.shape and str(value.dtype).split(".")[-1] == "int64"
    return value if counts else known_step(value)


def window(value: object, size: tuple[int, ...]) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """Return the offset and the shape of a window, in which an array of shape `size` must fit.

    `known` checks the entries of the offset that are arrays, once they have a value.
    """
    if not isinstance(value, Sequence) or len(value) != 2:
        raise TypeError(
            f"window must be a Window or a pair (offset, shape), got {check.described(value)}"
        )
    offset = check.integers(value[0], "window offset", _start)
    extent = check.integers(value[1], "window shape")
    _require_fit(offset, extent, size)
    return offset, extent


def _start(value: Any, name: str) -> Any:
    is_scalar = is_array(value) and not value.shape
    return _copy(value, name) if is_scalar else check.integer(value, name)


def _copy(value: Any, name: str) -> Any:
    """Return a copy of an integer array, since its owner may change it in place."""
    if "int" not in str(value.dtype):
        raise TypeError(
            f"{name} must be an int, or an integer array, "
            f"got {check.type_name(value)} of dtype {value.dtype}"
        )
    return value * 1  # every library has this for all integer dtypes


def _require_fit(offset: tuple[Any, ...], extent: tuple[int, ...], size: tuple[int, ...]) -> None:
    if not len(offset) == len(extent) == len(size):
        raise ValueError(
            f"the window's offset {offset} and shape {extent} must have one entry for each "
            f"dimension of the array, whose shape is {size}"
        )
    if any(
        n > e or (not is_array(o) and not 0 <= o <= e - n)
        for o, n, e in zip(offset, size, extent, strict=True)
    ):
        raise ValueError(
            f"an array of shape {size} at offset {offset} does not fit in the window's "
            f"global shape {extent}"
        )


# What backends need -----------------------------------------------------------------------------


def parts(recipe: Recipe) -> tuple[Any, ...]:
    """Return the step and the entries of the window's offset."""
    return (recipe.step, *recipe.window.offset) if recipe.window else (recipe.step,)


def is_known(recipe: Recipe) -> bool:
    """Return whether the step and the window's offset are numbers."""
    return not any(map(is_array, parts(recipe)))


def known(recipe: Recipe, stays: Callable[[Any], bool] = lambda value: False) -> Recipe:
    """Replace the arrays in a recipe's step and offset by ints, except for those that stay."""
    if is_known(recipe):
        return recipe
    step, window = recipe.step, recipe.window
    if not stays(step):
        step = known_step(step)
    if window:
        offset = tuple(
            _number(value, "window offset") if is_array(value) and not stays(value) else value
            for value in window.offset
        )
        _require_fit(offset, window.shape, recipe.shape)
        window = window._replace(offset=offset)
    return recipe._replace(step=step, window=window)


def known_step(value: Any) -> int:
    """Return the value of a step."""
    if type(value) is int:
        return value
    if not is_array(value):
        return int(value)
    if tuple(value.shape) == (2,):
        low, high = (_number(word, "step") & WORD for word in (value[0], value[1]))
        return low | high << 32
    number: int = step(_number(value, "step"))
    return number


def _number(value: Any, name: str) -> int:
    try:
        return int(value)  # CuPy's arrays have no __index__.
    except Exception as error:  # Each library refuses its traced scalars its own way.
        raise TypeError(
            f"{name} must be an int here, or an integer scalar array of known value, "
            f"got {check.type_name(value)} of dtype {value.dtype}; a traced {name} needs x to be "
            "an array of the same library: convert x first"
        ) from error
