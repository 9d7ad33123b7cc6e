"""The checks of arguments, and their error messages.

Each function returns its argument in normal form or raises: ValueError for a value out of range,
TypeError for the wrong type. A message names the rule, the value and the way out.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, Literal, TypeAlias

import numpy as np

# The most decimal digits of an int: as many as Python prints.
DIGITS = 4300

Scaling: TypeAlias = Literal["train", "inference"]


def probability(p: object) -> float:
    """Return the drop probability as a float."""
    if type(p) is not float:
        if isinstance(p, bool) or not isinstance(p, Real):
            hint = ""
            if hasattr(p, "dtype") and hasattr(p, "shape"):
                hint = (
                    ": p can't be an array or a traced value, so pass float(p), or make p a static "
                    "argument of the compiled function"
                )
            elif callable(p):
                hint = ": give a schedule to a layer, or call it with the step"
            raise TypeError(f"p must be a real number with 0 <= p < 1, got {described(p)}{hint}")
        p = _float(p)
    if 0.0 <= p <= 1 - 2**-32:  # as a literal: PyTorch's compiler may make a symbol of a global
        return p
    if 0.0 < p < 1.0:
        raise ValueError(
            f"p must satisfy 0 <= p < 1 and be at most 1 - 2**-32, got {p!r}: masks are drawn from "
            "32 bits per element"
        )
    raise ValueError(f"p must satisfy 0 <= p < 1, got {p!r}")


def flag(value: object, name: str) -> bool:
    """Return a switch as a bool."""
    is_bool = isinstance(value, np.ndarray) and value.dtype == np.bool_ and value.shape == ()
    if is_bool or isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise TypeError(f"{name} must be True or False, got {described(value)}")


def scaling(value: object, name: str = "scaling", *, unscaled: str = "") -> Scaling:
    """Return the scaling mode; `unscaled` says why "inference" is refused, if it is."""
    mode = value if isinstance(value, str) else None  # since an array may be equal to one, too
    if mode == "train":
        return "train"
    if mode == "inference" and unscaled:
        raise ValueError(
            f"scaling='inference' makes no sense here, since {unscaled}: leave scaling= out"
        )
    if mode == "inference":
        return "inference"
    raise ValueError(
        "scaling must be 'train' (kept elements times 1/(1-p) in training) or 'inference' "
        f"(all elements times 1-p at inference), got {value!r}"
    )


def no_place(step: object, window: object) -> None:
    """Refuse a step or a window for a mask that a generator draws."""
    if step != 0 or window is not None:
        raise ValueError(
            "step= and window= work only with seed=, since a generator given as rng= has its own "
            "state: use seed= instead of rng="
        )


def axes(values: object, name: str = "shared_axes") -> tuple[int, ...]:
    """Return axes as a tuple of ints, not yet compared with an array."""
    alone = not isinstance(values, (Sequence, np.ndarray)) or isinstance(values, (str, bytes))
    return integers((values,) if alone else values, name)


def shared_axes(values: object, ndim: int) -> tuple[int, ...]:
    """Return the shared axes of an array, counted from the front and sorted."""
    named = axes(values)
    for axis in named:
        if not -ndim <= axis < ndim:
            raise ValueError(
                f"shared axis {axis} is out of range for an array of {ndim} dimensions"
            )
    normal = sorted({axis % ndim for axis in named})
    if len(normal) != len(named):
        raise ValueError(f"shared_axes names an axis twice: {named} with {ndim} dimensions")
    return tuple(normal)


def noise_shape(values: object, name: str = "noise_shape") -> tuple[int | None, ...] | None:
    """Return a noise shape as a tuple of ints and None, not yet compared with an array."""
    if values is None:
        return None
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
        raise TypeError(f"{name} must be a sequence of ints and None, got {described(values)}")
    lengths = tuple(None if n is None else integer(n, name) for n in values)
    if any(n is not None and n < 1 for n in lengths):
        raise ValueError(
            f"{name} must have 1 for shared axes, and None or the array's length for the others, "
            f"got {lengths}"
        )
    return lengths


def one_spelling(shared: object, noise: object) -> None:
    """Refuse shared axes in both notations."""
    if noise is not None and axes(shared):
        raise ValueError(
            "give either shared_axes= or noise_shape=, not both, since they mean the same: got "
            f"{described(shared)} and {described(noise)}"
        )


def all_shared(shared: object, noise: object, size: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shared axes of an array, from either notation."""
    if type(shared) is tuple and not shared and noise is None:
        return ()
    one_spelling(shared, noise)
    if noise is None:
        return shared_axes(shared, len(size))
    lengths = noise_shape(noise) or ()
    if len(lengths) != len(size):
        raise ValueError(
            f"noise_shape must have one entry for each of the {len(size)} dimensions of the "
            f"array, got {lengths}"
        )
    for length, own in zip(lengths, size, strict=True):
        if length not in (None, 1, own):
            raise ValueError(
                "noise_shape must have 1 for shared axes, and None or the array's length for the "
                f"others, got {lengths} for the shape {size}"
            )
    return tuple(a for a, length in enumerate(lengths) if length == 1)


def shape(values: object) -> tuple[int, ...]:
    """Return a shape as a tuple of ints."""
    lengths = integers(values, "shape")
    if any(n < 0 for n in lengths):
        raise ValueError(f"shape must have no negative entry, got {lengths}")
    return lengths


def index_range(size: tuple[int, ...]) -> None:
    """Refuse a global shape whose indices need more than 64 bits."""
    if math.prod(size) > 2**64:
        raise ValueError(f"a mask may have at most 2**64 elements, got the shape {size}")


def gradient_shape(got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Refuse an array of another shape than the mask's."""
    if got != expected:
        raise ValueError(f"the mask belongs to an array of shape {expected}, got one of {got}")


def state(given: object, fixed: dict[str, Any], free: set[str]) -> dict[str, Any]:
    """Return a layer's saved state, whose keys must be those of `fixed` and of `free`."""
    if not isinstance(given, dict):
        raise ValueError(
            f"a state must be the dict that state_dict() returned, got {described(given)}"
        )
    names = fixed.keys() | free
    missing, foreign = sorted(names - given.keys()), sorted(given.keys() - names, key=str)
    if missing or foreign:
        kinds = {"missing": missing, "foreign": foreign}
        named = ", ".join(f"{kind} keys {names}" for kind, names in kinds.items() if names)
        raise ValueError(f"not a state of this layer: {named}")
    for name, value in fixed.items():
        if type(given[name]) is not type(value) or given[name] != value:
            raise ValueError(f"not a state of this layer: {name} is {given[name]!r}, not {value!r}")
    return given


def number(value: object, name: str) -> float:
    """Return a real number as a float."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a real number, got {described(value)}")
    return _float(value)


def _float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]


def choice(value: object, name: str, choices: Sequence[str]) -> Any:
    """Return a value that must be one of some strings."""
    if isinstance(value, str) and value in choices:
        return value
    raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, got {described(value)}")


def deviation(value: object, name: str = "std") -> float:
    """Return a standard deviation as a float."""
    std = number(value, name)
    if not 0.0 <= std < math.inf:
        raise ValueError(f"{name} must be finite and >= 0, got {std!r}")
    return std


def positive(value: object, name: str) -> int:
    """Return an int > 0."""
    count = integer(value, name)
    if count < 1:
        raise ValueError(f"{name} must be an int > 0, got {count}")
    return count


def type_name(value: object) -> str:
    """Return the name of a value's type, with its module unless it is a built-in."""
    kind = type(value)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def integer(value: Any, name: str, wanted: str = "an int", hint: str = "") -> int:
    """Return an int, of no more digits than Python prints."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be {wanted}, got {described(value)}")
    try:
        number = operator.index(value)  # PyTorch's compiler makes it a constant
    except TypeError:
        raise TypeError(f"{name} must be {wanted}, got {described(value)}{hint}") from None
    # The first comparison spares most ints the second, which computes 10**4300.
    if number.bit_length() > 14284 and abs(number) >= 10**DIGITS:
        raise ValueError(
            f"{name} must be an int of at most {DIGITS} decimal digits, the most that Python "
            "prints, got a longer one"
        )
    return number


def integers(
    values: object, name: str, entry: Callable[[Any, str], Any] = integer
) -> tuple[Any, ...]:
    """Return a sequence or array of ints as a tuple; `entry` checks each of them."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
        raise TypeError(f"{name} must be a sequence of ints, got {described(values)}")
    return tuple(entry(value, name) for value in values)


def described(value: object) -> str:
    """Return a value's type and, if it is short, the value."""
    text = repr(value)
    brief = len(text) <= 40 and "\n" not in text
    return f"{type_name(value)} {text}" if brief else type_name(value)
