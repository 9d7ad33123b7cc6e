"""The threads in which `monte_carlo` runs a model, where layers must not use their own seeds."""

from __future__ import annotations

import threading

from anydrop.core import check
from anydrop.core.tracing import constant

#: The threads that run a model now. The value tells whether `monte_carlo` searched for the layers:
#: then all layers that the model calls must draw. Without a run this is empty, so that a forward
#: only tests its truth.
RUNS: dict[int, bool] = {}


class Run:
    """Marks this thread as running a model, with layers that were searched for or named."""

    def __init__(self, *, searched: bool) -> None:
        self._here, self._searched = threading.get_ident(), searched
        self._around = RUNS.get(self._here)  # for a run inside a run

    def begin(self) -> None:
        """Mark the thread."""
        RUNS[self._here] = self._searched

    def end(self) -> None:
        """Restore the mark of before."""
        if self._around is None:
            RUNS.pop(self._here, None)
        else:
            RUNS[self._here] = self._around


@constant  # A compiler can't trace the thread's identity.
def _run_here() -> bool | None:
    return RUNS.get(threading.get_ident())


def check_thread(layer: object, thread: int | None) -> None:
    """Refuse a layer that is running in another thread."""
    if thread is not None and thread != threading.get_ident():
        raise RuntimeError(
            f"this {type(layer).__name__} is running in another thread, and a layer works in one "
            "thread at a time: give each thread a copy.deepcopy of the model"
        )


def check_found(layer: object, mode: bool, training: bool | None) -> None:
    """Refuse to call a layer that would draw, but has no twin in this thread's run.

    The call's `training` takes precedence over the layer's mode. In a run that searched for the
    layers, a layer in inference mode draws too.
    """
    searched = _run_here()
    if searched is None:
        return
    draws = mode or searched if training is None else check.flag(training, "training")
    if draws:
        raise RuntimeError(
            f"monte_carlo did not find {layer!r}, which predict calls: pass all layers that should "
            "draw as layers=[...], and instead of a layer that predict creates call the function "
            "with step="
        )
