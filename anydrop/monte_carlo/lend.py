"""`Loan`: during a run, a twin draws in a layer's place."""

from __future__ import annotations

import copy
import threading
from typing import Any

from anydrop.core import stream
from anydrop.core.runs import check_thread
from anydrop.layers.base import Layer


class Loan:
    """Makes a twin of a layer draw in its place, from step 0 of another seed, in training mode.

    A schedule stays at the layer's own step. With `share_batch` all examples of a batch share one
    mask.
    """

    def __init__(self, layer: Layer, seed: stream.Seed, *, share_batch: bool) -> None:
        here, around = threading.get_ident(), layer._twin
        if around is not None:
            check_thread(layer, around._thread)
        twin = copy.copy(layer)
        twin._options = layer._options | layer._arguments()
        twin._seed, twin._rng = seed, None
        # An array stays an array, since a compiler would treat an int as a constant.
        twin._step = layer._step * 0
        twin._mask, twin._unmasked, twin._plan, twin._home = None, None, None, ()
        twin._training, twin._share_batch, twin._thread = True, share_batch, here
        self._layer, self._twin, self._around = layer, twin, around

    @property
    def rate(self) -> Any:
        """The drop probability, or the standard deviation of noise, at the layer's own step."""
        return self._twin._options.get("p", self._twin._options.get("std"))

    @property
    def drew(self) -> bool:
        """Whether the twin drew a mask."""
        return self._twin.recipe is not None

    def begin(self) -> None:
        """Let the twin draw."""
        self._layer._twin = self._twin

    def end(self) -> None:
        """Let the layer draw again, or the twin of an outer run."""
        self._layer._twin = self._around
