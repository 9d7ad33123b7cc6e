"""`Seedable`: what modules for frameworks are to `anydrop.seed_layers`, which can't import them."""

from __future__ import annotations

from collections.abc import Sequence

from anydrop.core.stream import Seed


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
