"""cubed arrays: the base class draws for them, if they have the ``spec`` of the configuration."""

from __future__ import annotations

from typing import Any

import numpy as np

from anydrop.backends.base import Backend
from anydrop.core.typing import Array


class CubedBackend(Backend):
    """The backend of cubed arrays."""

    lazy = True

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        """Compute an array, and return it as a NumPy array."""
        return np.asarray(x.compute())

    def check_input(self, x: Array) -> None:
        """Raise if an array has another spec; see `Backend.check_input`."""
        super().check_input(x)
        self._check_spec(x, "x")

    def check_like(self, other: Array, x: Array, name: str, *others: Any) -> None:
        """Raise if a second array has another kind or spec; see `Backend.check_like`."""
        super().check_like(other, x, name, *others)
        self._check_spec(other, name)

    def composable(self, x: Array) -> Array:
        """Return an array, such as tokens, that `check_input` did not check."""
        self._check_spec(x, "x")
        return x

    def _check_spec(self, x: Array, name: str) -> None:
        # The namespace makes masks with the configured spec, and cubed computes only arrays of the
        # same spec together.
        if x.spec != self.xp.empty((0,)).spec:
            raise ValueError(
                f"{name} was made with spec=, but masks have the spec of cubed's configuration; "
                "make the array without spec=, and configure cubed, e.g. with "
                f"cubed.config.set({{'spec.allowed_mem': {x.spec.allowed_mem}}})"
            )
