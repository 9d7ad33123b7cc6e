"""Shares a long loop among the cores. Short loops stay in the calling thread."""

from __future__ import annotations

import os
import threading
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from queue import SimpleQueue
from threading import get_ident

from anydrop.core import check
from anydrop.core.interrupts import surely

# The fewest elements of a turn. Threads wait for the interpreter's lock between turns, so shorter
# turns would lose more time than they gain.
GRAIN = 2**17


def set_num_threads(threads: int | None) -> None:
    """Set how many threads anydrop uses on the CPU.

    They share the work on a long NumPy array or PyTorch CPU tensor. The number never changes a
    result. It has no effect on the threads of other libraries, such as ``torch.set_num_threads``.

    Parameters
    ----------
    threads : int or None
        How many, including the calling thread, so 1 starts no others. None restores the default:
        the environment variable ``ANYDROP_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the number
        of cores that this process may use.

    Raises
    ------
    TypeError, ValueError
        If `threads` is no int, or is not > 0.

    See Also
    --------
    get_num_threads : Return the number.

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
    """Return how many threads anydrop uses on the CPU.

    Returns
    -------
    int
        The number, including the calling thread.

    See Also
    --------
    set_num_threads : Set the number.

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
    """Run loops in the calling thread alone. A scheduler has other work for the cores."""
    before = getattr(_LOCAL, "alone", False)
    _LOCAL.alone = True
    try:
        yield
    finally:
        _LOCAL.alone = before


class Pool:
    """Helper threads beside the calling one, started at the first long loop.

    Callers in several threads share them. Helpers leave a loop between two turns as soon as more
    threads are at work than there should be. So a program with its own threads, such as Dask, uses
    those. Numba's own threading layers abort or hang in such cases.

    A signal handler may raise in the caller at any moment, as Ctrl-C does. So the caller shares no
    lock, which it could leave locked. Helpers count themselves, in sets and queues that change by
    single operations. They are daemons, so the process can end at any time.

    Parameters
    ----------
    threads : int, optional
        How many threads work, including callers. See `set_num_threads` for the default.
    grain : int
        The fewest elements of a turn.
    crossover : float, optional
        The fewest elements that are shared, instead of the argument of `run`.
    """

    def __init__(
        self, threads: int | None = None, grain: int = GRAIN, crossover: float | None = None
    ) -> None:
        self.threads = threads
        self._grain, self._crossover = grain, crossover
        self.forget()

    def forget(self) -> None:
        """Forget all threads. A forked child has none of its parent's."""
        self._at_work = set[int]()  # identifiers of callers, and of helpers in a loop
        self._helpers = dict[int, int]()  # identifiers by number of helper
        self._idle = set[int]()  # numbers of helpers
        self._loops = SimpleQueue[_Loop | None]()

    def __del__(self) -> None:
        for _ in self._helpers:
            self._loops.put(None)

    def run(
        self,
        work: Callable[[int, int], None],
        n: int,
        crossover: float = 0,
        elements: int = 1,
    ) -> None:
        """Call ``work(start, stop)`` on slices that cover ``range(n)``, in any order.

        Each of the n items has this many `elements`. With fewer than `crossover` elements in total,
        the caller works alone: waking a helper would cost more than it saves.

        When this returns, no helper is at work. If `work` or a signal handler raises, no further
        turn is taken, and the error is raised here once all threads have stopped.
        """
        crossover = crossover if self._crossover is None else self._crossover
        short = n * elements < crossover or getattr(_LOCAL, "alone", False)
        threads = 1 if short else self.threads or _default()
        if threads == 1:
            work(0, n)
            return
        turns = _turns(n, threads, max(1, self._grain // elements))
        loop = _Loop(work, turns, threads, self._at_work)
        try:
            surely(lambda: self._lead(loop, len(turns)), loop.finish)
        except Exception as error:
            loop.errors.append(error)
        # An interrupt that came while waiting for helpers goes before other errors. The error is
        # taken out of the list: otherwise its traceback would keep itself and the arrays alive.
        loop.errors.sort(key=lambda error: isinstance(error, Exception))
        if loop.errors:
            raise loop.errors.pop(0)

    def _lead(self, loop: _Loop, turns: int) -> None:
        """Wake helpers, and take turns."""
        self._at_work.add(get_ident())
        free = loop.threads - len(self._at_work)
        self._wake(loop, min(free, turns - 1))
        loop.take_turns()

    def _wake(self, loop: _Loop, count: int) -> None:
        """Wake helpers. A helper that starts after the end of the loop finds nothing to do."""
        missing = count - len(self._idle)
        for number in range(loop.threads - 1):
            if missing > 0 and number not in self._helpers:
                shared = number, self._loops, self._helpers, self._idle
                try:
                    start_new_thread(_help, shared)
                except RuntimeError:  # too many threads, or the interpreter is shutting down
                    count -= missing
                    break
                missing -= 1
        for _ in range(count):
            self._loops.put(loop)


def _help(
    number: int, loops: SimpleQueue[_Loop | None], helpers: dict[int, int], idle: set[int]
) -> None:
    """Assist with one loop after another, in a helper thread."""
    me = get_ident()
    if helpers.setdefault(number, me) != me:
        return  # Two callers started this helper at the same time.
    while True:
        idle.add(number)
        loop = loops.get()
        idle.discard(number)
        if loop is None:
            return
        loop.assist()
        del loop  # so that an idle helper keeps nothing alive


class _Loop:
    """One loop: its turns, and the helpers that work on it.

    Parameters
    ----------
    work : callable
        Takes the start and the stop of a turn.
    turns : list of (int, int)
        In any order.
    threads : int
        How many threads work, including the caller.
    at_work : set of int
        Identifiers of the threads at work, in this loop or another.
    """

    def __init__(
        self,
        work: Callable[[int, int], None],
        turns: list[tuple[int, int]],
        threads: int,
        at_work: set[int],
    ) -> None:
        self._work, self._turns = work, deque(turns)
        self.threads, self._at_work = threads, at_work
        self._helping, self._left = set[int](), SimpleQueue[None]()
        self.errors: list[BaseException] = []

    def take_turns(self) -> None:
        """Take turns until there are none."""
        while turn := self._next():
            self._work(*turn)

    def assist(self) -> None:
        """Take turns until none is left, a turn raises, or too many threads are at work."""
        me = get_ident()
        self._helping.add(me)  # before the first turn, so that `finish` waits or clears all turns
        self._at_work.add(me)
        try:
            while len(self._at_work) <= self.threads and (turn := self._next()):
                self._work(*turn)
        except BaseException as error:
            self.errors.append(error)
            self._turns.clear()
        finally:
            self._at_work.discard(me)
            self._helping.discard(me)
            self._left.put(None)

    def _next(self) -> tuple[int, int] | None:
        try:
            return self._turns.popleft()
        except IndexError:  # Another thread took the last one.
            return None

    def finish(self) -> None:
        """Remove the remaining turns and wait for the helpers, even if interrupted."""
        while True:
            try:
                self._turns.clear()
                while self._helping:
                    self._left.get()
                self._at_work.discard(get_ident())
                return
            except BaseException as error:
                self.errors.append(error)


def _turns(n: int, threads: int, grain: int) -> list[tuple[int, int]]:
    """Cut ``range(n)`` into turns, long ones first, so that all threads end together.

    Each turn is three quarters of an equal share of the rest. C. D. Polychronopoulos and D. J.
    Kuck, *Guided self-scheduling*, IEEE Transactions on Computers 36, 1987, take the whole share.
    That leaves too little to balance a thread that is delayed.
    """
    starts = [0]
    while starts[-1] < n:
        share = 3 * (n - starts[-1]) // (4 * threads)
        starts.append(min(n, starts[-1] + max(share, grain)))
    return list(pairwise(starts))


POOL = Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL.forget)
