"""Shares one long loop among the cores; short ones stay with the caller."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

# Elements below which waking a second thread costs more than it saves, and those of one turn.
CROSSOVER = 2**19
TURN = 7 * 2**14


def thread_count() -> int:
    """Return how many threads to use: ANYDROP_NUM_THREADS, OMP_NUM_THREADS or the cores."""
    for name in ("ANYDROP_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").partition(",")[0].strip()
        if text.isdecimal() and int(text) > 0:
            return int(text)
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        return os.cpu_count() or 1


class Pool:
    """Helper threads beside the calling one, started at the first long loop.

    One loop at a time has them: a second caller, such as another thread of the user's, does not
    wait but runs its own loop alone. Numba's own thread layers abort or hang in such cases.

    Parameters
    ----------
    threads : int, optional
        How many threads to use, the caller included. `thread_count` by default.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self.forget()

    def forget(self) -> None:
        """Start anew, as a forked child must: it has none of its parent's threads."""
        self._busy = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None

    def run(self, work: Callable[[int, int], None], n: int) -> None:
        """Call ``work(start, stop)`` on slices that cover ``range(n)``, in any order."""
        threads = self._threads or (thread_count() if n >= CROSSOVER else 1)
        if threads == 1 or n < CROSSOVER or not self._busy.acquire(blocking=False):
            return work(0, n)
        try:
            turns = deque(range(0, n, TURN))
            helpers = self._start(threads - 1, lambda: _take(turns, work, n))
            try:
                _take(turns, work, n)
            finally:
                for helper in helpers:
                    helper.result()
        finally:
            self._busy.release()

    def _start(self, helpers: int, task: Callable[[], None]) -> list[Future[None]]:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(helpers, thread_name_prefix="anydrop")
        try:
            return [self._executor.submit(task) for _ in range(helpers)]
        except RuntimeError:  # The interpreter is shutting down and starts no more threads.
            return []


def _take(turns: deque[int], work: Callable[[int, int], None], n: int) -> None:
    while True:
        try:
            start = turns.popleft()
        except IndexError:
            return
        work(start, min(start + TURN, n))


POOL = Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL.forget)
