"""Shares one long loop among the cores; short ones stay with the caller."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

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
            work(0, n)
            return
        helpers: list[Future[None]] = []
        turns = deque(range(0, n, TURN))

        def take() -> None:
            while turns:
                try:
                    start = turns.popleft()
                except IndexError:  # Another thread took the last one.
                    return
                work(start, min(start + TURN, n))

        try:
            self._start(helpers, take, min(threads, len(turns)) - 1, threads - 1)
            take()
        finally:
            turns.clear()  # After an error nobody goes on; and all have stopped when this returns.
            wait(helpers)
            self._busy.release()
        for helper in helpers:
            helper.result()

    def _start(
        self, helpers: list[Future[None]], task: Callable[[], None], count: int, most: int
    ) -> None:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(most, thread_name_prefix="anydrop")
        try:
            for _ in range(count):
                helpers.append(self._executor.submit(task))  # noqa: PERF401 - one by one
        except RuntimeError:
            # No thread can be started: too many, or the interpreter is shutting down. Those that
            # were, and the caller, do all the work.
            return


POOL = Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL.forget)
