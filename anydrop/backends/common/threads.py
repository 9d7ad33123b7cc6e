"""Shares one long loop among the cores; short ones stay with the caller."""

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

    A signal's handler may raise in the caller at any moment, as Ctrl-C does. So no lock is shared
    with the caller, which could leave it locked: helpers count themselves, in sets and queues that
    change by single operations. They are daemons, so that the process can end at any time.

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
        self._at_work = set[int]()  # identifiers of threads: callers, and helpers at a loop
        self._helpers = dict[int, int]()  # identifiers, by the number of a helper
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

        Each of the n stands for so many `elements`. Fewer of these than `crossover` stay with the
        caller: waking a helper would cost more than it saves.

        Helpers don't outlive the call. If `work` raises, or a signal's handler, no further turn is
        taken, and the error is raised here once all have stopped.
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
        # An interrupt, that came while helpers were waited for, before any other error. It is taken
        # out of the list, or it would hold itself, and so the arrays, by this frame.
        loop.errors.sort(key=lambda error: isinstance(error, Exception))
        if loop.errors:
            raise loop.errors.pop(0)

    def _lead(self, loop: _Loop, turns: int) -> None:
        """Have helpers assist, and take turns."""
        self._at_work.add(get_ident())
        free = loop.threads - len(self._at_work)
        self._wake(loop, min(free, turns - 1))
        loop.take_turns()

    def _wake(self, loop: _Loop, count: int) -> None:
        """Have helpers assist; one that begins when the loop has ended finds nothing to do."""
        missing = count - len(self._idle)
        for number in range(loop.threads - 1):
            if missing > 0 and number not in self._helpers:
                shared = number, self._loops, self._helpers, self._idle
                try:
                    start_new_thread(_help, shared)
                except RuntimeError:  # There are too many, or the interpreter is shutting down.
                    count -= missing
                    break
                missing -= 1
        for _ in range(count):
            self._loops.put(loop)


def _help(
    number: int, loops: SimpleQueue[_Loop | None], helpers: dict[int, int], idle: set[int]
) -> None:
    """Assist with one loop after another: what a helper does."""
    me = get_ident()
    if helpers.setdefault(number, me) != me:
        return  # Two callers started this one at the same time.
    while True:
        idle.add(number)
        loop = loops.get()
        idle.discard(number)
        if loop is None:
            return
        loop.assist()
        del loop  # Nothing of it is kept while there is nothing to do.


class _Loop:
    """One loop: its turns, and the helpers that are at them.

    Parameters
    ----------
    work : callable
        Takes the start and the stop of a turn.
    turns : list of (int, int)
        In any order.
    threads : int
        How many are to work, the caller included.
    at_work : set of int
        Identifiers of the threads at work, here or elsewhere.
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
        """Take turns until there are none, or too many threads. If one raises, it is the last."""
        me = get_ident()
        self._helping.add(me)  # before it takes a turn, so that `finish` either waits or takes all
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
        """Take away the turns that are left, and wait for the helpers, whatever interrupts it."""
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
