"""The rules: what a kernel computes. numba compiles each kernel once for each rule."""

from __future__ import annotations

from typing import Any, NamedTuple


class Rule(NamedTuple):
    """The numbers of a rule; a rule ignores those that it doesn't need.

    `scale`, `shift` and `fill` have the dtype in which x is computed.
    """

    least: Any  # the smallest word whose element is kept
    scale: Any
    shift: Any
    fill: Any


class Select(Rule):
    """``where(keep, x * scale + shift, fill)``."""

    __slots__ = ()


class Add(Rule):
    """``residual + where(keep, (x + bias) * scale, 0)``."""

    __slots__ = ()


class Choose(Rule):
    """``where(keep, new, previous)``."""

    __slots__ = ()


class Drop(Rule):
    """``where(keep, 0, x)``."""

    __slots__ = ()


class Normal(Rule):
    """The standard normal number z of a word; x is ignored."""

    __slots__ = ()


class AddNoise(Rule):
    """``x + scale * z``."""

    __slots__ = ()


class MultiplyNoise(Rule):
    """``x * (1 + scale * z)``."""

    __slots__ = ()


#: Rules that take a normal number instead of the word.
NOISE = (Normal, AddNoise, MultiplyNoise)
