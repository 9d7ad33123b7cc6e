"""Plans: what a call comes to, found out once and kept for the next call of its kind.

A function and a layer alike look their call up here, and go straight to the kernel if it was made
before. What changes from call to call is no part of a plan but an argument: the key, the step, and
where a window lies. So layers of any number of seeds share the plans of one model.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple, Protocol, Self

from anydrop.core.recipe import Recipe
from anydrop.core.stream import Key
from anydrop.core.typing import Array

# Plans that are kept: of a large model, at a few batch sizes. One takes some two kilobytes.
CAPACITY = 2**10


class Pass(Protocol):
    """Does what a plan is for."""

    def __call__(
        self, x: Array, key: Key, step: int, first: int = 0, out: Array | None = None
    ) -> Array | None:
        """Return the result, or None if an array is not of the kind that the plan is for.

        Parameters
        ----------
        x : array
            Whatever the user gave.
        key, step, first : tuple of int, int, int
            What to draw: the two words of a key, a step in range, and the index of the first
            element.
        out : array, optional
            Where to write the result, of the shape and dtype of x.
        """


class Plan(NamedTuple):
    """How to do a call again for arrays of one kind.

    Attributes
    ----------
    forward, linear : Pass
        The call, and its linear part alone, which is its backward pass.
    stateful : Pass
        The call by a layer, which counts it: it returns None where it may be run again unseen.
    strides : tuple of int
        How far the indices of neighbours lie apart, along each axis.
    rest : tuple
        What the recipe of such a call has beside key and step.
    """

    forward: Pass
    linear: Pass
    stateful: Pass
    strides: tuple[int, ...]
    rest: tuple[Any, ...]

    @classmethod
    def of(cls, recipe: Recipe, forward: Pass, linear: Pass, stateful: Pass | None = None) -> Self:
        """Return the plan of calls like that of a recipe, whose window begins at index 0."""
        return cls(forward, linear, stateful or forward, recipe.strides, recipe[2:])


class Plans:
    """The plans of one backend, by what tells one kind of call from another.

    A plan is made at the second call of its kind, so what never comes again, such as a probability
    that changes at each step, costs no more than a name. When `CAPACITY` kinds are known, all are
    forgotten. Nothing of an array is kept. There is no lock: each operation is one of a dict's.
    """

    def __init__(self) -> None:
        self._plans: dict[Hashable, Plan | None] = {}
        #: Returns the plan of a kind of call, or None.
        self.get = self._plans.get

    def is_known(self, kind: Hashable) -> bool:
        """Tell whether a call of this kind was made before, and remember that it was."""
        if kind in self._plans:
            return True
        self.add(kind, None)
        return False

    def add(self, kind: Hashable, plan: Plan | None) -> None:
        """Keep a plan, or the mere fact that such a call was made."""
        if len(self._plans) >= CAPACITY:
            self._plans.clear()  # One operation, so no thread or fork sees it half done.
        self._plans[kind] = plan

    def __len__(self) -> int:
        return len(self._plans)
