"""The thread pool: any count, any caller, any moment; and that the mask never shows it."""

import os
import threading
import time
from _thread import start_new_thread
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from process import python
from subjects import Watched, available, eager

import anydrop
from anydrop.backends.common.threads import GRAIN, POOL, Pool, without_helpers
from anydrop.backends.numpy.backend import NumpyBackend
from anydrop.testing.reference import keep

KINDS = [False, True] if available("numba") else [False]


@pytest.mark.parametrize("use_numba", KINDS)
def test_any_number_of_threads_draws_one_mask(use_numba):
    n = 300_777
    mask = anydrop.Mask.from_seed((n,), 0.3, seed=6, step=1)
    x = np.random.default_rng(0).standard_normal(n).astype("f4")
    expected = NumpyBackend(use_numba=False, pool=Pool(1)).select(x, mask, 1.5)
    kept = NumpyBackend(use_numba=False, pool=Pool(1)).keep(mask, x)
    for threads in (1, 2, 3, 4):
        backend = NumpyBackend(use_numba=use_numba, pool=eager(threads))
        assert np.array_equal(backend.select(x, mask, 1.5), expected)
        assert np.array_equal(backend.keep(mask, x), kept)


@pytest.mark.parametrize("use_numba", KINDS)
@pytest.mark.parametrize("n", [2**20 - 1, 2**23 + 777])
def test_who_draws_a_long_array(use_numba, n):
    """Numba's kernels let helpers in where these pay, and NumPy's never; no mask shows it."""
    pool = Watched(2)
    backend, mask = NumpyBackend(use_numba=use_numba, pool=pool), mask_of(n)
    end = keep((1000,), 0.5, seed=1, window=((n - 1000,), (n,)))
    for drawn in (
        lambda: backend.select(np.ones(n, "f4"), mask, 1.0),
        lambda: backend.keep(mask, 0),
    ):
        helped = False
        for _ in range(20):  # since a helper that wakes late finds nothing left to do
            assert np.array_equal(drawn()[-1000:], end)
            helped |= pool.helped()
            if helped or n < 2**20 or not use_numba:
                break
        assert helped == (use_numba and n > 2**20)


def mask_of(n):
    return anydrop.Mask.from_seed((n,), 0.5, seed=1)


@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("n", [1, 2, 17, 18, 1000])
def test_every_element_is_visited_once(threads, n):
    seen = np.zeros(n, int)

    def work(start, stop):
        assert stop > start
        seen[start:stop] += 1

    Pool(threads, grain=17).run(work, n)
    assert (seen == 1).all()


def test_turns_are_long_first_and_never_short():
    turns = []
    Pool(2, grain=10).run(lambda start, stop: turns.append((start, stop)), 1000)
    lengths = [stop - start for start, stop in sorted(turns)]
    assert lengths[0] == 375
    assert lengths == sorted(lengths, reverse=True)
    assert min(lengths[:-1]) >= 10


def test_short_loops_stay_with_the_caller():
    def work(start, stop):
        assert threading.current_thread() is threading.main_thread()
        assert (start, stop) == (0, 999)

    Pool(4, grain=10).run(work, 999, crossover=1000)


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
        Pool(3, grain=10).run(work, 400)
    assert not working


def test_after_an_error_in_the_caller_nobody_goes_on():
    caller, helping, turns = threading.current_thread(), threading.Event(), []

    def work(start, stop):
        if threading.current_thread() is caller:
            assert helping.wait(30)
            raise ZeroDivisionError
        turns.append(start)
        helping.set()
        time.sleep(0.1)

    with pytest.raises(ZeroDivisionError):
        Pool(2, grain=1).run(work, 300)
    assert len(turns) == 1  # the one that the helper had begun


def test_after_an_error_in_a_helper_nobody_goes_on():
    begun, failed, after = threading.Event(), threading.Event(), []

    def work(start, stop):
        if helps(pool):
            assert begun.wait(30)
            failed.set()
            raise ZeroDivisionError
        begun.set()
        assert failed.wait(30)
        time.sleep(0.1)
        after.append(start)

    pool = Pool(2, grain=1)
    with pytest.raises(ZeroDivisionError):
        pool.run(work, 200)
    assert len(after) == 1  # the turn that the caller had begun


def helps(pool):
    """Tell whether the calling thread is one of a pool's helpers."""
    return threading.get_ident() in pool._helpers.values()


def test_an_error_leaves_the_pool_as_it_was():
    pool = Pool(2, grain=10)

    def fail(start, stop):
        raise IndexError(start)

    for _ in range(3):
        with pytest.raises(IndexError):
            pool.run(fail, 100)
    assert helpers_of(pool, 100)


def helpers_of(pool, n):
    """Return which helpers took part in a loop that leaves time to."""
    threads = set()

    def work(start, stop):
        threads.add(threading.get_ident())
        time.sleep(0.01)

    pool.run(work, n)
    return threads - {threading.get_ident()}


def test_where_no_more_threads_can_be_started(monkeypatch):
    """Those that were go on helping, and no loop is kept for those that were not."""
    pool, seen = Pool(4, grain=10), np.zeros(200, int)
    started = []

    def start(*arguments):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(start_new_thread(*arguments))

    def work(start, stop):
        seen[start:stop] += 1
        time.sleep(0.01)

    with monkeypatch.context() as patch:
        patch.setattr("anydrop.backends.common.threads.start_new_thread", start)
        pool.run(work, len(seen))
        assert len(helpers_of(pool, 200)) == 1
    assert (seen == 1).all()
    assert len(started) == 1
    assert not pool._at_work
    assert not pool._loops.qsize()
    assert len(helpers_of(pool, 1000)) == 3  # nothing of it is left


def test_a_second_caller_does_not_wait():
    """It runs alone while the first one's loop is still at work."""
    pool, first_runs, second_done = Pool(2, grain=10), threading.Event(), threading.Event()

    def first(start, stop):
        first_runs.set()
        assert second_done.wait(30)

    caller = threading.Thread(target=pool.run, args=(first, 100))
    caller.start()
    assert first_runs.wait(30)
    threads = set()
    pool.run(lambda start, stop: threads.add(threading.current_thread()), 100)
    second_done.set()
    caller.join()
    assert threads == {threading.current_thread()}


def test_a_helper_gives_way_to_a_second_caller():
    """So no more threads are at work than there should be, whoever started them."""
    pool, helping, second_runs = Pool(2, grain=1), threading.Event(), threading.Event()
    turns = []

    def first(start, stop):
        helper = helps(pool)
        turns.append((helper, second_runs.is_set()))
        if helper:
            helping.set()
            assert second_runs.wait(30)
        else:
            assert helping.wait(30)
            time.sleep(0.001)

    def second(start, stop):
        second_runs.set()
        time.sleep(0.01)

    caller = threading.Thread(target=pool.run, args=(first, 300))
    caller.start()
    assert helping.wait(30)
    pool.run(second, 50)
    caller.join()
    assert sum(helper for helper, _ in turns) == 1  # the turn that it had begun
    assert helpers_of(pool, 100)


def test_a_thread_that_wants_no_helpers():
    pool = Pool(2, grain=10)
    with without_helpers():
        with without_helpers():
            assert not helpers_of(pool, 100)
        assert not helpers_of(pool, 100)
        other = ThreadPoolExecutor(1).submit(helpers_of, pool, 100)
        assert other.result()  # it is that thread's own affair
    assert helpers_of(pool, 100)


def test_callers_in_many_threads():
    x = np.ones(2**20, "f4")
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
    assert not POOL._at_work


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("calls", [0, 9])
def test_a_forked_child_draws_too(calls):
    """Whether it inherits a pool that waits for work, or one that is at work."""
    printed = python(f"""
        import os, signal, threading
        import numpy as np, anydrop
        from anydrop.backends.common.threads import POOL
        x = np.ones(2**23, "f4")
        y = anydrop.dropout(x, 0.5, seed=0)
        draw = lambda: [anydrop.dropout(x, 0.5, seed=0) for _ in range({calls})]
        busy = threading.Thread(target=draw)
        busy.start()
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # It ends, even if it hangs.
            same = np.array_equal(anydrop.dropout(x, 0.5, seed=0), y)
            helped = len(POOL._helpers) > 0
            os._exit(0 if same and helped == {available("numba")} else 1)
        _, status = os.waitpid(child, 0)
        busy.join()
        print(os.waitstatus_to_exitcode(status) == 0)
    """, ANYDROP_NUM_THREADS="2")  # fmt: skip
    assert printed == "True"


def test_a_process_may_end_while_a_call_runs():
    printed = python("""
        import atexit, threading
        import numpy as np, anydrop
        x = np.ones(2**23, "f4")
        late = lambda: print((anydrop.dropout(x, 0.5, seed=0) == 0).any())
        atexit.register(late)  # no new thread may be started any more
        draw = lambda: [anydrop.dropout(x, 0.5, seed=0) for _ in range(1000)]
        threading.Thread(target=draw, daemon=True).start()
        anydrop.dropout(x, 0.5, seed=0)
    """, ANYDROP_NUM_THREADS="2")  # fmt: skip
    assert printed == "True"


@pytest.fixture
def no_setting(monkeypatch):
    for name in ("ANYDROP_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    yield
    anydrop.set_num_threads(None)


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
def test_how_many_threads(no_setting, monkeypatch, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    expected = expected or len(os.sched_getaffinity(0))
    assert anydrop.get_num_threads() == expected
    anydrop.set_num_threads(7)
    assert anydrop.get_num_threads() == 7
    anydrop.set_num_threads(None)
    assert anydrop.get_num_threads() == expected


def test_the_number_set_is_the_number_at_work(no_setting):
    for threads in (1, 2, 4, 3):
        anydrop.set_num_threads(threads)
        helpers = helpers_of(POOL, 20 * GRAIN)
        assert len(helpers) == threads - 1, threads


@pytest.mark.parametrize(("wrong", "kind"), [(0, ValueError), (-1, ValueError), ("2", TypeError)])
def test_a_wrong_number_of_threads(no_setting, wrong, kind):
    anydrop.set_num_threads(2)
    with pytest.raises(kind, match=r"threads must be an int"):
        anydrop.set_num_threads(wrong)
    assert anydrop.get_num_threads() == 2
