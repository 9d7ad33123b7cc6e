"""Every check of an argument, and the message its sender reads.

Each function returns its argument in normal form or raises: ValueError for a value outside its
range, TypeError for the wrong kind of thing. A message names the rule, the value and the way out.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal, TypeAlias

import numpy as np

from anydrop.stream import Seed

Scaling: TypeAlias = Literal["train", "inference"]


def probability(p: object) -> float:
    """Return the drop probability as a float."""
    if type(p) is not float:
        if isinstance(p, bool) or not isinstance(p, Real):
            raise TypeError(f"p must be a real number with 0 <= p < 1, got {_described(p)}")
        p = float(p)
    if not 0.0 <= p < 1.0:
        raise ValueError(f"p must satisfy 0 <= p < 1, got {p!r}")
    return p


def flag(value: object, name: str) -> bool:
    """Return a switch as a bool."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise TypeError(f"{name} must be True or False, got {_described(value)}")


def scaling(value: object) -> Scaling:
    """Return the scaling mode."""
    if value == "train":
        return "train"
    if value == "inference":
        return "inference"
    raise ValueError(
        "scaling must be 'train' (survivors times 1/(1-p) in training) or 'inference' "
        f"(everything times 1-p at inference), got {value!r}"
    )


def step(value: object) -> int:
    """Return the step as an int of 64 bits."""
    number = _integer(value, "step")
    if not 0 <= number < 2**64:
        raise ValueError(f"step must satisfy 0 <= step < 2**64, got {number}")
    return number


def seed(value: object) -> Seed:
    """Return the seed as an int, a tuple of ints or a SeedSequence."""
    if isinstance(value, np.random.SeedSequence):
        return value
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        if not value:
            raise ValueError("seed must not be empty: give an int >= 0 or a sequence of them")
        return tuple(_seed_word(word) for word in value)
    return _seed_word(value)


def _seed_word(value: object) -> int:
    number = _integer(value, "seed", "an int >= 0, a sequence of them or a numpy SeedSequence")
    if number < 0:
        raise ValueError(f"seed must be an int >= 0, got {number}")
    return number


def one_source(seed: object, rng: object) -> None:
    """Refuse two sources of randomness."""
    if seed is not None and rng is not None:
        raise ValueError(
            f"give either seed= or rng=, not both: got seed={seed!r} and rng={_described(rng)}"
        )


def given(seed: Any) -> Any:
    """Refuse a training call without a source of randomness."""
    if seed is None:
        raise TypeError(
            "a training call needs seed= (the same mask everywhere) or rng= (the library's own "
            "generator); randomness is never hidden. Use training=False for inference"
        )
    return seed


def unplaced(step: object, window: object) -> None:
    """Refuse a place in the stream for a mask that is drawn by a generator."""
    if step != 0 or window is not None:
        raise ValueError(
            "step= and window= place a mask in a seed's stream; a generator given as rng= has "
            "a state of its own. Use seed= instead of rng="
        )


def axes(values: object) -> tuple[int, ...]:
    """Return axes as a tuple of ints, not yet held against an array."""
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
        values = (values,)
    return tuple(_integer(value, "shared_axes", "an int or a sequence of ints") for value in values)


def shared_axes(values: object, ndim: int) -> tuple[int, ...]:
    """Return the shared axes of an array, counted from the front and sorted."""
    if values == ():
        return ()
    given = axes(values)
    for axis in given:
        if not -ndim <= axis < ndim:
            raise ValueError(
                f"shared axis {axis} is out of range for an array of {ndim} dimensions"
            )
    normal = sorted({axis % ndim for axis in given})
    if len(normal) != len(given):
        raise ValueError(f"shared_axes names an axis twice: {given} with {ndim} dimensions")
    return tuple(normal)


def window(value: object, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return a window's offset and global shape, in which an array of `shape` must fit."""
    if not isinstance(value, Sequence) or len(value) != 2:
        raise TypeError(
            f"window must be a Window or a pair (offset, shape), got {_described(value)}"
        )
    offset = _integers(value[0], "window offset")
    extent = _integers(value[1], "window shape")
    if not len(offset) == len(extent) == len(shape):
        raise ValueError(
            f"the window's offset {offset} and shape {extent} must have one entry for each "
            f"dimension of the array, whose shape is {shape}"
        )
    if any(o < 0 or o + n > e for o, n, e in zip(offset, shape, extent, strict=True)):
        raise ValueError(
            f"an array of shape {shape} at offset {offset} does not fit in the window's "
            f"global shape {extent}"
        )
    return offset, extent


def index_range(shape: tuple[int, ...]) -> None:
    """Refuse a global shape whose indices outgrow 64 bits."""
    if math.prod(shape) > 2**64:
        raise ValueError(f"a mask may have at most 2**64 elements, got the shape {shape}")


def gradient_shape(got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Refuse an array that the mask was not drawn for."""
    if got != expected:
        raise ValueError(f"the mask belongs to an array of shape {expected}, got one of {got}")


def state(given: object, expected: dict[str, Any]) -> dict[str, Any]:
    """Return a layer's saved state, whose keys and fixed entries must be as `expected`.

    In `expected`, None stands for an entry of any value.
    """
    if not isinstance(given, dict):
        raise ValueError(f"a state is the dict that state_dict() returned, got {_described(given)}")
    missing, foreign = (
        sorted(expected.keys() - given.keys()),
        sorted(given.keys() - expected, key=str),
    )
    if missing or foreign:
        raise ValueError(
            f"not a state of this layer: missing keys {missing}, foreign keys {foreign}"
        )
    for name, value in expected.items():
        if value is not None and given[name] != value:
            raise ValueError(f"not a state of this layer: {name} is {given[name]!r}, not {value!r}")
    return given


def _integers(values: object, name: str) -> tuple[int, ...]:
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
        raise TypeError(f"{name} must be a sequence of ints, got {_described(values)}")
    return tuple(_integer(value, name) for value in values)


def _integer(value: Any, name: str, wanted: str = "an int") -> int:
    if type(value) is int:
        return value
    if not isinstance(value, (bool, np.bool_)):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(f"{name} must be {wanted}, got {_described(value)}")


def _described(value: object) -> str:
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    text = repr(value)
    return f"{name} {text}" if len(text) <= 40 and "\n" not in text else name
