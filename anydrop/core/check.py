"""Every check of an argument, and the message its sender reads.

Each function returns its argument in normal form or raises: ValueError for a value outside its
range, TypeError for the wrong kind of thing. A message names the rule, the value and the way out.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, Literal, TypeAlias

import numpy as np

# Of an int: as many as Python prints, and JSON holds.
DIGITS = 4300

Scaling: TypeAlias = Literal["train", "inference"]


def probability(p: object) -> float:
    """Return the drop probability as a float."""
    if type(p) is not float:
        if isinstance(p, bool) or not isinstance(p, Real):
            hint = ""
            if hasattr(p, "dtype") and hasattr(p, "shape"):
                hint = (
                    ": p can't be an array or a traced value. Pass float(p), or make p a static "
                    "argument of the compiled function"
                )
            elif callable(p):
                hint = "; a schedule is for a layer, or to be called with the step"
            raise TypeError(f"p must be a real number with 0 <= p < 1, got {described(p)}{hint}")
        p = _float(p)
    if 0.0 <= p <= 1 - 2**-32:  # as a literal: PyTorch's compiler may make a symbol of a global
        return p
    if 0.0 < p < 1.0:
        raise ValueError(
            "p must satisfy 0 <= p < 1 and be at most 1 - 2**-32, the last that the 32 bits of "
            f"a threshold can follow, got {p!r}"
        )
    raise ValueError(f"p must satisfy 0 <= p < 1, got {p!r}")


def flag(value: object, name: str) -> bool:
    """Return a switch as a bool."""
    is_bool = isinstance(value, np.ndarray) and value.dtype == np.bool_ and value.shape == ()
    if is_bool or isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise TypeError(f"{name} must be True or False, got {described(value)}")


def scaling(value: object, name: str = "scaling", *, unscaled: str = "") -> Scaling:
    """Return the scaling mode; `unscaled` says why "inference" makes no sense, if so."""
    mode = value if isinstance(value, str) else None  # which an array may equal, too
    if mode == "train":
        return "train"
    if mode == "inference" and unscaled:
        raise ValueError(f"scaling='inference' makes no sense here: {unscaled}; leave scaling= out")
    if mode == "inference":
        return "inference"
    raise ValueError(
        "scaling must be 'train' (survivors times 1/(1-p) in training) or 'inference' "
        f"(everything times 1-p at inference), got {value!r}"
    )


def no_place(step: object, window: object) -> None:
    """Refuse a place in the stream for a mask that is drawn by a generator."""
    if step != 0 or window is not None:
        raise ValueError(
            "step= and window= place a mask in a seed's stream; a generator given as rng= has "
            "a state of its own. Use seed= instead of rng="
        )


def axes(values: object, name: str = "shared_axes") -> tuple[int, ...]:
    """Return axes as a tuple of ints, not yet held against an array."""
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
    """Return a noise shape as a tuple of ints and None, not yet held against an array."""
    if values is None:
        return None
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
        raise TypeError(f"{name} must be a sequence of ints and None, got {described(values)}")
    lengths = tuple(None if n is None else integer(n, name) for n in values)
    if any(n is not None and n < 1 for n in lengths):
        raise ValueError(
            f"{name} has 1 along the axes that share one fate, and None or the array's own length "
            f"along the others, got {lengths}"
        )
    return lengths


def one_spelling(shared: object, noise: object) -> None:
    """Refuse shared axes in two spellings."""
    if noise is not None and axes(shared):
        raise ValueError(
            "give either shared_axes= or noise_shape=, which are two spellings of one thing: got "
            f"{described(shared)} and {described(noise)}"
        )


def all_shared(shared: object, noise: object, size: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shared axes of an array, which Keras's noise shape may name instead."""
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
                "noise_shape has 1 along the axes that share one fate, and None or the array's "
                f"own length along the others: got {lengths} for the shape {size}"
            )
    return tuple(a for a, length in enumerate(lengths) if length == 1)


def shape(values: object) -> tuple[int, ...]:
    """Return a shape as a tuple of ints."""
    lengths = integers(values, "shape")
    if any(n < 0 for n in lengths):
        raise ValueError(f"shape must have no negative entry, got {lengths}")
    return lengths


def index_range(size: tuple[int, ...]) -> None:
    """Refuse a global shape whose indices outgrow 64 bits."""
    if math.prod(size) > 2**64:
        raise ValueError(f"a mask may have at most 2**64 elements, got the shape {size}")


def gradient_shape(got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Refuse an array that the mask was not drawn for."""
    if got != expected:
        raise ValueError(f"the mask belongs to an array of shape {expected}, got one of {got}")


def state(given: object, fixed: dict[str, Any], free: set[str]) -> dict[str, Any]:
    """Return a layer's saved state, whose entries are the `fixed` ones and any of the `free`."""
    if not isinstance(given, dict):
        raise ValueError(f"a state is the dict that state_dict() returned, got {described(given)}")
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
    """Return a value that is one of a few strings."""
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
    """Return the name of a value's type, with its module unless it is Python's own."""
    kind = type(value)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def integer(value: Any, name: str, wanted: str = "an int", hint: str = "") -> int:
    """Return an int, of no more digits than Python prints and JSON holds."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be {wanted}, got {described(value)}")
    try:
        number = operator.index(value)  # makes a constant of one that PyTorch's compiler traces
    except TypeError:
        raise TypeError(f"{name} must be {wanted}, got {described(value)}{hint}") from None
    # Two comparisons, since the second makes a number of 14,285 bits.
    if number.bit_length() > 14284 and abs(number) >= 10**DIGITS:
        raise ValueError(
            f"{name} must be an int of at most {DIGITS} decimal digits, which is what Python "
            "prints, got a longer one"
        )
    return number


def integers(
    values: object, name: str, entry: Callable[[Any, str], Any] = integer
) -> tuple[Any, ...]:
    """Return a sequence or array of ints as a tuple; `entry` is what checks each of them."""
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
