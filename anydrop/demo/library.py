"""The way between NumPy, which draws all data and weights, and the library that trains."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from anydrop.backends import found, load
from anydrop.backends.base import Backend
from anydrop.backends.capabilities import LIBRARIES
from anydrop.core.typing import Array


class Library(NamedTuple):
    """An array library and the device in it where training happens.

    Parameters
    ----------
    backend : Backend
        Of that library.
    like : array
        Any array on that device.
    """

    backend: Backend
    like: Array

    @classmethod
    def named(cls, name: str) -> Library:
        """Return an installed library, with the first device that anydrop finds in it."""
        if name not in found():
            raise ValueError(
                f"the demo can't train with {name!r}; installed here: {', '.join(found())}"
            )
        if name in LIBRARIES and not (eager := LIBRARIES[name].features["eager"]).works:
            raise ValueError(f"the demo can't train with {name!r}: {eager.note}")
        if not (probes := load(name).probes()):
            raise ValueError(f"the demo can't train with {name!r}: it finds no device here")
        return cls(*probes[0])

    def move(self, x: np.ndarray[Any, Any]) -> Array:
        """Return a NumPy array as one of this library, in float32."""
        return self.backend.from_numpy(np.asarray(x, np.float32), self.like)

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        """Return an array of this library as a NumPy array."""
        return self.backend.to_numpy(x)

    def __str__(self) -> str:
        return f"{self.backend.name} ({self.backend.device(self.like)})"
