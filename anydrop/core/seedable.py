"""`Seedable`: what modules for frameworks are to `anydrop.seed_layers` and `anydrop.monte_carlo`.

These find the modules, but can't import them, since frameworks are imported only by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from anydrop.core.stream import Seed


class Lent(Protocol):
    """A module that draws from another seed for a time, from step 0 and in training mode."""

    @property
    def rate(self) -> float:
        """The drop probability for the time."""

    @property
    def drew(self) -> bool:
        """Whether the module drew a mask meanwhile."""

    def begin(self) -> None:
        """Have it draw from the other seed."""

    def end(self) -> None:
        """Have it draw as before."""


class Seedable:
    """A dropout module of anydrop's for a framework. Having the methods is not enough: inherit."""

    def reseed(self, seed: Seed | Sequence[int], place: str | None = None) -> None:
        """Begin anew with another seed, at step 0.

        Parameters
        ----------
        seed : int, sequence of int or numpy.random.SeedSequence
            Of the module, or of the whole model.
        place : str, optional
            A name, which makes a seed of its own of a seed that several modules share.
        """
        raise NotImplementedError

    def lend(self, seed: Seed) -> Lent:
        """Return what has the module draw from another seed for a time.

        A schedule stays where the module's own steps have brought it.
        """
        raise NotImplementedError
