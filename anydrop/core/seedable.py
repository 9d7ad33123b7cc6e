"""`Seedable`: the modules for frameworks that `seed_layers` and `monte_carlo` find in a model.

Both know the modules by this class, since they can't import a framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from anydrop.core.stream import Seed


class Lent(Protocol):
    """A loan of a module: it draws from another seed for a time, from step 0 in training mode."""

    @property
    def rate(self) -> float:
        """The drop probability for the time."""

    @property
    def drew(self) -> bool:
        """Whether the module drew a mask meanwhile."""

    def begin(self) -> None:
        """Let the module draw from the other seed."""

    def end(self) -> None:
        """Let the module draw as before."""


class Seedable:
    """A dropout module of anydrop for a framework. Inherit it: the methods are not enough."""

    def reseed(self, seed: Seed | Sequence[int], place: str | None = None) -> None:
        """Begin anew with another seed, at step 0.

        Parameters
        ----------
        seed : int, sequence of int or numpy.random.SeedSequence
            Of the module, or of the whole model.
        place : str, optional
            A name. With it a seed that several modules share becomes a seed of this one.
        """
        raise NotImplementedError

    def lend(self, seed: Seed) -> Lent:
        """Return a loan, with which the module draws from another seed for a time.

        A schedule stays at the module's own step.
        """
        raise NotImplementedError
