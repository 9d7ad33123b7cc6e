"""The rules by which elements are made; numba compiles each kernel anew for each rule."""

from __future__ import annotations

from typing import Any, NamedTuple


class Rule(NamedTuple):
    """What all rules have: four numbers, the last three in the dtype in which x is computed.

    A rule leaves out of account what it has no use for.
    """

    least: Any  # the least word that survives
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
    """The standard normal number z of a word, whatever x is."""

    __slots__ = ()


class AddNoise(Rule):
    """``x + scale * z``."""

    __slots__ = ()


class MultiplyNoise(Rule):
    """``x * (1 + scale * z)``."""

    __slots__ = ()


#: Rules that take a normal number, and not the word itself.
NOISE = (Normal, AddNoise, MultiplyNoise)
