"""Shares one long loop among the cores; short ones stay with the caller."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING

from anydrop.core import check

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

# The fewest elements of a turn. Between turns threads wait for the interpreter's lock, and with
# shorter ones they would lose more by that than they gain.
GRAIN = 2**17


def set_num_threads(threads: int | None) -> None:
    """Set how many threads share a loop over a long array in the host's memory.

    The number never changes a result. Other libraries' threads are their own affair.

    Parameters
    ----------
    threads : int or None
        The calling thread included, so 1 starts none. None goes back to the default: the
        environment variable ``ANYDROP_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the cores that
        this process may use.

    Raises
    ------
    TypeError, ValueError
        If `threads` is no int, or not > 0.

    See Also
    --------
    get_num_threads : tells how many there are.

    Examples
    --------
    >>> import anydrop
    >>> anydrop.set_num_threads(2)
    >>> anydrop.get_num_threads()
    2
    >>> anydrop.set_num_threads(None)
    """
    POOL.threads = None if threads is None else check.positive(threads, "threads")


def get_num_threads() -> int:
    """Return how many threads share a loop over a long array in the host's memory.

    Returns
    -------
    int
        The calling thread included.

    See Also
    --------
    set_num_threads : sets it.

    Examples
    --------
    >>> import anydrop
    >>> anydrop.get_num_threads() > 0
    True
    """
    return POOL.threads or _default()


def _default() -> int:
    for name in ("ANYDROP_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").partition(",")[0].strip()
        if text.isdecimal() and int(text) > 0:
            return int(text)
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        return os.cpu_count() or 1


_LOCAL = threading.local()


@contextmanager
def without_helpers() -> Iterator[None]:
    """Have the loops of this thread stay in it: where a scheduler has threads for other work."""
    before = getattr(_LOCAL, "alone", False)
    _LOCAL.alone = True
    try:
        yield
    finally:
        _LOCAL.alone = before


class Pool:
    """Helper threads beside the calling one, started at the first long loop.

    Callers in several threads share them, and give each other way: helpers leave a loop between two
    turns as soon as there are more threads at work than there should be, so whoever brings threads
    of its own, such as Dask, works with those. Numba's own thread layers abort or hang in such
    cases.

    Parameters
    ----------
    threads : int, optional
        How many threads are to work, callers included; see `set_num_threads` for the default.
    grain : int
        The fewest elements of a turn.
    crossover : float, optional
        The fewest elements that are shared, whatever `run` is told.
    """

    def __init__(
        self, threads: int | None = None, grain: int = GRAIN, crossover: float | None = None
    ) -> None:
        self.threads = threads
        self._grain, self._crossover = grain, crossover
        self.forget()

    def forget(self) -> None:
        """Start anew, as a forked child must: it has none of its parent's threads."""
        self._lock = threading.Lock()
        self._at_work = 0
        self._executor: ThreadPoolExecutor | None = None
        self._most_helpers = 0

    def run(
        self, work: Callable[[int, int], None], n: int, crossover: float = 0, elements: int = 1
    ) -> None:
        """Call ``work(start, stop)`` on slices that cover ``range(n)``, in any order.

        Each of the n stands for so many `elements`. Fewer of these than `crossover` stay with the
        caller: waking a helper would cost more than it saves.

        Helpers don't outlive the call. If `work` raises, no further turn is taken, and its error is
        raised here once all have stopped.
        """
        crossover = crossover if self._crossover is None else self._crossover
        short = n * elements < crossover or getattr(_LOCAL, "alone", False)
        threads = 1 if short else self.threads or _default()
        if threads == 1:
            work(0, n)
            return
        turns = _turns(n, threads, max(1, self._grain // elements))
        loop = _Loop(work, turns)

        def assist() -> None:
            self._count(+1)
            loop.run(while_=lambda: self._at_work <= threads)
            self._count(-1)

        free = threads - self._count(+1)
        try:
            self._start(assist, min(free, len(turns) - 1), threads - 1)
            loop.run()
        finally:
            self._count(-1)
            loop.finish()

    def _count(self, change: int) -> int:
        """Count a thread that begins to work, or ends, and return how many there are."""
        with self._lock:
            self._at_work += change
            return self._at_work

    def _start(self, assist: Callable[[], None], count: int, most: int) -> None:
        """Have helpers assist; one that begins when the loop has ended finds nothing to do."""
        # The error is that no thread can be started: there are too many, the interpreter is
        # shutting down, or another caller has just made a larger executor. Those that were started,
        # and the caller, do all the work.
        with suppress(RuntimeError):
            for _ in range(count):
                self._executor_of(most).submit(assist)

    def _executor_of(self, most: int) -> ThreadPoolExecutor:
        with self._lock:
            if self._executor is None or self._most_helpers < most:
                if self._executor is not None:
                    self._executor.shutdown(wait=False)
                # Imported here: 4 ms for which no import of anydrop need wait.
                from concurrent.futures import ThreadPoolExecutor

                self._executor = ThreadPoolExecutor(most, thread_name_prefix="anydrop")
                self._most_helpers = most
            return self._executor


class _Loop:
    """The turns of one loop, each from a start to a stop, and how many threads are at them."""

    def __init__(self, work: Callable[[int, int], None], turns: list[tuple[int, int]]) -> None:
        self._work, self._turns = work, deque(turns)
        self._errors: list[BaseException] = []
        self._running, self._changed = 0, threading.Condition()

    def run(self, while_: Callable[[], bool] = lambda: True) -> None:
        """Take turns until there are none. If one raises, nobody takes another."""
        with self._changed:
            self._running += 1
        try:
            while while_() and (turn := self._next()):
                self._work(*turn)
        except BaseException as error:
            self._errors.append(error)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _next(self) -> tuple[int, int] | None:
        with self._changed:
            return self._turns.popleft() if self._turns and not self._errors else None

    def finish(self) -> None:
        """Wait for all who are at work, and raise what a turn raised."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running)
        if self._errors:
            raise self._errors[0]


def _turns(n: int, threads: int, grain: int) -> list[tuple[int, int]]:
    """Cut ``range(n)`` into turns: long ones first, short ones last, that all end together.

    Each is three quarters of an equal share of what is left, after C. D. Polychronopoulos and D. J.
    Kuck, *Guided self-scheduling*, IEEE Transactions on Computers 36, 1987, whose whole share
    leaves too little to make up for a thread that is held up.
    """
    starts = [0]
    while starts[-1] < n:
        share = 3 * (n - starts[-1]) // (4 * threads)
        starts.append(min(n, starts[-1] + max(share, grain)))
    return list(pairwise(starts))


POOL = Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL.forget)
