"""Where `monte_carlo` runs a model: there a layer must not draw from its own seed."""

from __future__ import annotations

import threading

from anydrop.core import check
from anydrop.core.tracing import constant

#: The threads in which a model runs now. The value says whether `monte_carlo` looked for the layers
#: by itself: then all that the model calls are to draw. Without a run this is empty, which costs a
#: forward one truth test.
RUNS: dict[int, bool] = {}


class Run:
    """Marks this thread as one in which a model runs, with layers that were looked for or named."""

    def __init__(self, *, searched: bool) -> None:
        self._here, self._searched = threading.get_ident(), searched
        self._around = RUNS.get(self._here)  # of a run within a run

    def begin(self) -> None:
        """Mark the thread."""
        RUNS[self._here] = self._searched

    def end(self) -> None:
        """Mark the thread as it was."""
        if self._around is None:
            RUNS.pop(self._here, None)
        else:
            RUNS[self._here] = self._around


@constant  # A compiler can't trace which thread it is in.
def _run_here() -> bool | None:
    return RUNS.get(threading.get_ident())


def check_thread(layer: object, thread: int | None) -> None:
    """Refuse a layer that a run in another thread has."""
    if thread is not None and thread != threading.get_ident():
        raise RuntimeError(
            f"this {type(layer).__name__} is at work in another thread: one layer belongs to one "
            "thread at a time, so give each thread a copy.deepcopy of the model"
        )


def check_found(layer: object, mode: bool, training: bool | None) -> None:
    """Refuse the call of a layer that has no twin in this thread's run, and is to draw.

    The call's `training` takes precedence over the layer's mode. In a run that looked for the
    layers by itself, a layer in inference mode draws too.
    """
    searched = _run_here()
    if searched is None:
        return
    draws = mode or searched if training is None else check.flag(training, "training")
    if draws:
        raise RuntimeError(
            f"monte_carlo did not find {layer!r}, which predict calls: give it all layers that are "
            "to draw by layers=[...]; in the place of one that predict makes anew, call the "
            "function with step="
        )
