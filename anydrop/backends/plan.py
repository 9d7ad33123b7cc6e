"""Plans: how to do a call, worked out once and reused for the next call of the same kind.

Functions and layers look up their call here. If it was made before, they go straight to the kernel.
The key, the step and the place of a window change from call to call, so they are arguments of a
plan and not part of it. So layers with any number of seeds share the plans of a model.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple, Protocol, Self

from anydrop.core.recipe import Recipe
from anydrop.core.stream import Key
from anydrop.core.typing import Array

# How many plans are kept, enough for a large model at a few batch sizes. A plan takes about 2 KB.
CAPACITY = 2**10


class Pass(Protocol):
    """A function that does the call of a plan."""

    def __call__(
        self, x: Array, key: Key, step: int, first: int = 0, out: Array | None = None
    ) -> Array | None:
        """Return the result, or None if an array is not of the kind that the plan is for.

        Parameters
        ----------
        x : array
            The user's array, unchecked.
        key, step, first : tuple of int, int, int
            The two words of a key, a step in range, and the index of the first element.
        out : array, optional
            Where to write the result. It has the shape and dtype of x.
        """


class Plan(NamedTuple):
    """How to repeat a call for arrays of one kind.

    Attributes
    ----------
    forward, linear : Pass
        The call, and its linear part, which is its backward pass.
    stateful : Pass
        The call by a layer, which counts steps. It returns None where something may repeat the call
        unnoticed.
    strides : tuple of int
        The distance between the indices of neighbours along each axis.
    rest : tuple
        The fields of the call's recipe other than key and step.
    """

    forward: Pass
    linear: Pass
    stateful: Pass
    strides: tuple[int, ...]
    rest: tuple[Any, ...]

    @classmethod
    def of(cls, recipe: Recipe, forward: Pass, linear: Pass, stateful: Pass | None = None) -> Self:
        """Return the plan of calls with a recipe like this one, whose window begins at index 0."""
        return cls(forward, linear, stateful or forward, recipe.strides, recipe[2:])


class Plans:
    """The plans of one backend, by kind of call.

    A plan is made at the second call of its kind. So a call that never comes again, such as one of
    a probability that changes at each step, costs only a dict entry. When `CAPACITY` kinds are
    known, all are forgotten. No array is kept alive. There is no lock, since each operation is a
    single operation of a dict.
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
        """Keep a plan. None only records that such a call was made."""
        if len(self._plans) >= CAPACITY:
            self._plans.clear()  # a single operation, so no thread or fork sees it half done
        self._plans[kind] = plan

    def __len__(self) -> int:
        return len(self._plans)
