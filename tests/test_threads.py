"""The thread pool: any count, any caller, any moment; and that the mask never shows it."""

import os
import threading
import time

import numpy as np
import pytest
from conftest import python
from subjects import available

import anydrop
from anydrop.backends._threads import CROSSOVER, Pool, thread_count
from anydrop.backends.numpy import NumpyBackend

KINDS = [False, True] if available("numba") else [False]


@pytest.mark.parametrize("use_numba", KINDS)
def test_any_number_of_threads_draws_one_mask(use_numba):
    n = 2 * CROSSOVER + 777
    mask = anydrop.Mask.from_seed((n,), 0.3, seed=6, step=1)
    x = np.random.default_rng(0).standard_normal(n).astype("f4")
    expected = NumpyBackend(use_numba=False, pool=Pool(1)).select(x, mask, 1.5)
    kept = NumpyBackend(use_numba=False, pool=Pool(1)).keep(mask, x)
    for threads in (1, 2, 3, 4):
        backend = NumpyBackend(use_numba=use_numba, pool=Pool(threads))
        assert np.array_equal(backend.select(x, mask, 1.5), expected)
        assert np.array_equal(backend.keep(mask, x), kept)


def test_every_element_is_visited_once():
    seen = np.zeros(CROSSOVER + 5, int)

    def work(start, stop):
        seen[start:stop] += 1

    Pool(4).run(work, len(seen))
    assert (seen == 1).all()


def test_short_loops_stay_with_the_caller():
    def work(start, stop):
        assert threading.current_thread() is threading.main_thread()
        assert (start, stop) == (0, CROSSOVER - 1)

    Pool(4).run(work, CROSSOVER - 1)


def test_an_error_in_a_helper_reaches_the_caller_once_all_have_stopped():
    caller = threading.current_thread()
    both_work, met, working = threading.Barrier(2), threading.Event(), set()

    def work(start, stop):
        if threading.current_thread() is caller or met.is_set():
            time.sleep(0.01)  # leave some for the helpers
            return
        working.add(start)
        one_of_the_two = both_work.wait(30) == 0
        met.set()
        if one_of_the_two:
            working.remove(start)
            raise ZeroDivisionError
        time.sleep(1.0)  # longer than the caller has to do
        working.remove(start)

    with pytest.raises(ZeroDivisionError):
        Pool(3).run(work, 8 * CROSSOVER)
    assert not working


def test_where_no_more_threads_can_be_started(monkeypatch):
    """Those that were are waited for."""
    pool, seen = Pool(4), np.zeros(2 * CROSSOVER, int)

    def work(start, stop):
        time.sleep(0.01)
        seen[start:stop] += 1

    start_thread, started = threading.Thread.start, []

    def start(self):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(self)
        start_thread(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    pool.run(work, len(seen))
    assert len(started) == 1
    assert (seen == 1).all()


def test_a_second_caller_does_not_wait():
    """It runs alone while the first one's loop is still at work."""
    pool, first_runs, second_done = Pool(2), threading.Event(), threading.Event()

    def first(start, stop):
        first_runs.set()
        assert second_done.wait(30)

    caller = threading.Thread(target=pool.run, args=(first, CROSSOVER))
    caller.start()
    assert first_runs.wait(30)
    slices = []
    pool.run(lambda start, stop: slices.append((start, stop)), CROSSOVER)
    second_done.set()
    caller.join()
    assert slices == [(0, CROSSOVER)]


def test_callers_in_many_threads():
    x = np.ones(CROSSOVER, "f4")
    expected = anydrop.dropout(x, 0.5, seed=0)
    right = []

    def call():
        right.append(all(np.array_equal(anydrop.dropout(x, 0.5, seed=0), expected) for _ in "four"))

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert right == [True] * 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_draws_too():
    printed = python("""
        import os, threading
        import numpy as np, anydrop
        from anydrop.backends._threads import CROSSOVER
        x = np.ones(2 * CROSSOVER, "f4")
        y = anydrop.dropout(x, 0.5, seed=0)
        draw = lambda: [anydrop.dropout(x, 0.5, seed=0) for _ in range(9)]
        busy = threading.Thread(target=draw)
        busy.start()  # the child may inherit a pool at work
        child = os.fork()
        if child == 0:
            os._exit(0 if np.array_equal(anydrop.dropout(x, 0.5, seed=0), y) else 1)
        _, status = os.waitpid(child, 0)
        busy.join()
        print(os.waitstatus_to_exitcode(status) == 0)
    """, ANYDROP_NUM_THREADS="2")  # fmt: skip
    assert printed == "True"


def test_a_process_may_end_while_a_call_runs():
    printed = python("""
        import atexit, threading
        import numpy as np, anydrop
        from anydrop.backends._threads import CROSSOVER
        x = np.ones(2 * CROSSOVER, "f4")
        late = lambda: print((anydrop.dropout(x, 0.5, seed=0) == 0).any())
        atexit.register(late)  # no new thread may be started any more
        draw = lambda: [anydrop.dropout(x, 0.5, seed=0) for _ in range(1000)]
        threading.Thread(target=draw, daemon=True).start()
        anydrop.dropout(x, 0.5, seed=0)
    """, ANYDROP_NUM_THREADS="2")  # fmt: skip
    assert printed == "True"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"ANYDROP_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
        ({"OMP_NUM_THREADS": "5,2"}, 5),
        ({"OMP_NUM_THREADS": "0"}, None),
        ({"ANYDROP_NUM_THREADS": "many"}, None),
        ({}, None),
    ],
)
def test_how_many_threads(monkeypatch, environment, expected):
    for name in ("ANYDROP_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert thread_count() == (expected or len(os.sched_getaffinity(0)))
