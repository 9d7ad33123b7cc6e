"""The thread pool: any count, any caller, any moment; and that the mask never shows it."""

import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from conftest import available

import anydrop
from anydrop.backends import _threads
from anydrop.backends._threads import CROSSOVER, TURN, Pool, thread_count
from anydrop.backends.numpy import NumpyBackend

KINDS = [False, True] if available("numba") else [False]


@pytest.mark.parametrize("use_numba", KINDS)
def test_any_number_of_threads_draws_one_mask(use_numba):
    n = 2 * CROSSOVER + 777
    mask = anydrop.Mask.draw((n,), 0.3, seed=6, step=1)
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


def test_an_error_in_a_helper_reaches_the_caller():
    def work(start, stop):
        if start == TURN:
            raise ZeroDivisionError

    pool = Pool(2)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            pool.run(work, CROSSOVER)
    assert pool._busy.acquire(blocking=False)


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


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_draws_too():
    done = python("""
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
        raise SystemExit(os.waitstatus_to_exitcode(status))
    """, ANYDROP_NUM_THREADS="2")  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_process_may_end_while_a_call_runs():
    done = python("""
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
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


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


def test_the_module_has_one_pool():
    assert isinstance(_threads.POOL, Pool)
    assert anydrop.resolve(np.ones(1))._pool is _threads.POOL
