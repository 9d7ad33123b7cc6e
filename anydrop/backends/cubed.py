"""cubed arrays: the contract's own code serves them, if they have the program's ``spec``."""

from __future__ import annotations

from typing import Any

import numpy as np

from anydrop.backends.base import Backend
from anydrop.core.typing import Array


class CubedBackend(Backend):
    """What anydrop needs of cubed."""

    lazy = True

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        """Return the array computed, as a NumPy array."""
        return np.asarray(x.compute())

    def check_input(self, x: Array) -> None:
        """Refuse an array with a spec of its own; see `Backend.check_input`."""
        super().check_input(x)
        self._check_spec(x, "x")

    def check_like(self, other: Array, x: Array, name: str, *others: Any) -> None:
        """Refuse a second array of another kind or spec; see `Backend.check_like`."""
        super().check_like(other, x, name, *others)
        self._check_spec(other, name)

    def composable(self, x: Array) -> Array:
        """Return the array, such as tokens, which `check_input` did not see."""
        self._check_spec(x, "x")
        return x

    def _check_spec(self, x: Array, name: str) -> None:
        # The namespace makes the words of a mask with the configured spec, and cubed computes
        # only arrays of one spec together.
        if x.spec != self.xp.empty((0,)).spec:
            raise ValueError(
                f"{name} has a spec= of its own, and a mask is made with the spec of cubed's "
                "configuration; set that for the whole program, e.g. with "
                f"cubed.config.set({{'spec.allowed_mem': {x.spec.allowed_mem}}}), and make the "
                "array without spec="
            )
