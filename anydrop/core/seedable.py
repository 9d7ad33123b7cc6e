"""`Seedable`: the modules for frameworks that `seed_layers` and `monte_carlo` find in a model.

Both know the modules by this class, without importing a framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from anydrop.core.stream import Seed


class Lent(Protocol):
    """A loan of a module, which then draws from another seed, from step 0, in training mode."""

    @property
    def rate(self) -> float:
        """The drop probability during the loan."""

    @property
    def drew(self) -> bool:
        """Whether the module drew a mask during the loan."""

    def begin(self) -> None:
        """Let the module draw from the other seed."""

    def end(self) -> None:
        """Let the module draw as before."""


class Seedable:
    """Base class of dropout modules for frameworks. Having its methods is not enough."""

    def reseed(self, seed: Seed | Sequence[int], place: str | None = None) -> None:
        """Restart with another seed, at step 0.

        Parameters
        ----------
        seed : int, sequence of int or numpy.random.SeedSequence
            Seed of the module, or of the whole model.
        place : str, optional
            Name of the module in the model. With it, modules can share `seed`, and each derives its
            own.
        """
        raise NotImplementedError

    def lend(self, seed: Seed) -> Lent:
        """Return a loan, during which the module draws from another seed.

        A schedule stays at the module's own step.
        """
        raise NotImplementedError
