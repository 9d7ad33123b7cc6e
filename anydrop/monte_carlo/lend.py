"""`Loan`: a twin that draws in a layer's place for a time."""

from __future__ import annotations

import copy
import threading
from typing import Any

from anydrop.core import stream
from anydrop.core.runs import check_thread
from anydrop.layers.base import Layer


class Loan:
    """Has a twin of a layer draw in its place, from step 0 of another seed and in training mode.

    A schedule stays where the layer's own steps have brought it. With `share_batch` all examples
    of a batch share one mask.
    """

    def __init__(self, layer: Layer, seed: stream.Seed, *, share_batch: bool) -> None:
        here, around = threading.get_ident(), layer._twin
        if around is not None:
            check_thread(layer, around._thread)
        twin = copy.copy(layer)
        twin._options = layer._options | layer._arguments()
        twin._seed, twin._rng = seed, None
        # One that is an array stays one: a compiler would take an int for a constant.
        twin._step = layer._step * 0
        twin._mask, twin._unmasked, twin._plan, twin._home = None, None, None, ()
        twin._training, twin._share_batch, twin._thread = True, share_batch, here
        self._layer, self._twin, self._around = layer, twin, around

    @property
    def rate(self) -> Any:
        """The drop probability, or the deviation of noise, at the layer's own step."""
        return self._twin._options.get("p", self._twin._options.get("std"))

    @property
    def drew(self) -> bool:
        """Whether the twin drew a mask."""
        return self._twin.recipe is not None

    def begin(self) -> None:
        """Have the twin draw."""
        self._layer._twin = self._twin

    def end(self) -> None:
        """Have the layer draw itself, or the twin of a run around this one."""
        self._layer._twin = self._around
