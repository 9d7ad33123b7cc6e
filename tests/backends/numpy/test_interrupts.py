"""A signal's handler may raise at any moment of a threaded call, as Ctrl-C does."""

import contextlib
import gc
import itertools
import signal
import threading
import time

import numpy as np
import pytest
from interrupts import Interrupt, Interrupts
from process import python

import anydrop
from anydrop.backends.common import threads
from anydrop.backends.common.threads import Pool
from anydrop.backends.numpy.backend import NumpyBackend
from anydrop.backends.plan import Plans


class Busy:
    """Work that takes helpers a while, and knows who is at it."""

    def __init__(self, n):
        self.seen, self.at_it, self.caller = np.zeros(n, int), set(), threading.get_ident()

    def __call__(self, start, stop):
        me = threading.get_ident()
        self.at_it.add(me)
        try:
            if me != self.caller:
                time.sleep(0.0005)
            self.seen[start:stop] += 1
        finally:
            self.at_it.discard(me)


def interrupted(pool, traced, profiled):
    """Run a loop that is interrupted; return how often it was, and check what it leaves."""
    work = Busy(8)
    with Interrupts(traced, profiled) as interrupts:
        try:
            pool.run(work, len(work.seen))
            finished = True
        except Interrupt:
            finished = False
    assert not work.at_it
    assert work.seen.max() <= 1
    assert finished == (work.seen.min() == 1 and not interrupts.raised)
    left = work.seen.copy()
    again = Busy(8)
    pool.run(again, len(again.seen))
    assert (again.seen == 1).all()
    assert not pool._at_work
    assert (work.seen == left).all()  # nobody went on with it meanwhile
    return interrupts.raised


def test_a_loop_that_is_interrupted_anywhere():
    pool = Pool(3, grain=1)
    counts = list(itertools.takewhile(bool, (interrupted(pool, n, None) for n in range(10**4))))
    assert len(counts) > 30  # events of a loop
    assert len(pool._helpers) == 2  # none was lost, and none too many started


def test_a_loop_that_is_interrupted_again_while_it_ends():
    pool, pairs = Pool(2, grain=1), 0
    for first in range(10**4):
        for second in range(10**4):
            raised = interrupted(pool, first, second)
            if raised < 2:
                break
            pairs += 1
        if not raised:
            break
    assert pairs > 100
    assert len(pool._helpers) == 1


@pytest.fixture
def backend(monkeypatch):
    """Serve arrays on one thread, so that each call has the same events; and make plans at once."""
    backend = NumpyBackend(use_numba=False, pool=Pool(1))
    monkeypatch.setattr("anydrop.layers.base.resolve", lambda x: backend)
    monkeypatch.setattr("anydrop.layers.call.resolve", lambda x: backend)
    return backend


@pytest.mark.parametrize("calls", [0, 1, 3], ids=["first", "planned", "repeated"])
def test_a_layer_that_is_interrupted_anywhere(backend, calls):
    """It is as before the call or as after it."""
    x = np.ones(8, "f4")
    expected = [anydrop.dropout(x, 0.5, seed=3, step=step) for step in range(6)]
    for n in range(10**4):
        backend.plans = Plans()
        layer = anydrop.Dropout(0.5, seed=3)
        for _ in range(calls):
            layer(x)
        before, y = layer.recipe, None
        with Interrupts(n) as interrupts, contextlib.suppress(Interrupt):
            y = layer(x)
        assert layer.step - calls in (0, 1)
        if layer.step == calls:
            assert y is None
            assert layer.recipe == before
        else:
            assert layer.recipe.step == calls
            assert np.array_equal(layer.backward(x), expected[calls])
        step = layer.step
        assert np.array_equal(layer(x), expected[step])
        assert np.array_equal(layer.backward(x), expected[step])
        if not interrupts.raised:
            break
    assert n > 5


@pytest.mark.usefixtures("backend")
def test_a_setting_that_is_interrupted_anywhere():
    """A plan of the old p is never left beside the new one."""
    x = np.ones(100, "f4")
    for n in range(10**4):
        layer = anydrop.Dropout(0.5, seed=3)
        for _ in range(3):
            layer(x)
        with Interrupts(n) as interrupts, contextlib.suppress(Interrupt):
            layer.p = 0.25
        assert np.array_equal(layer(x), anydrop.dropout(x, layer.p, seed=3, step=3))
        if not interrupts.raised:
            break
    assert layer.p == 0.25


@pytest.mark.usefixtures("backend")
def test_a_state_that_is_interrupted_anywhere():
    x, other = np.ones(100, "f4"), anydrop.Dropout(0.25, seed=9)
    for n in range(10**4):
        layer = anydrop.Dropout(0.5, seed=3)
        for _ in range(3):
            layer(x)
        before = layer.state_dict()
        with Interrupts(n) as interrupts, contextlib.suppress(Interrupt):
            layer.load_state_dict(other.state_dict())
        now = layer.state_dict()
        assert now in (before, other.state_dict())
        again = anydrop.Dropout(now["p"], seed=now["seed"])
        again.step = now["step"]
        assert np.array_equal(layer(x), again(x))
        if not interrupts.raised:
            break
    assert now == other.state_dict()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_an_interrupt_beside_an_error_is_not_lost():
    """The error is the caller's own; the interrupt comes while it waits for its helper."""
    helping, caller = threading.Event(), threading.get_ident()

    def work(start, stop):
        if threading.get_ident() == caller:
            assert helping.wait(30)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            raise ZeroDivisionError
        helping.set()
        time.sleep(0.2)

    def handler(number, frame):
        raise Interrupt

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(Interrupt):
            Pool(2, grain=1).run(work, 2)
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_a_caller_that_is_interrupted_all_the_time():
    """It waits for its helper nevertheless."""
    pool, interrupts, helping = Pool(2, grain=1), [], threading.Event()
    caller, at_it = threading.get_ident(), set()

    def work(start, stop):
        if threading.get_ident() == caller:
            helping.wait(30)
            signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-3)
            time.sleep(30)
        at_it.add(start)
        helping.set()
        time.sleep(0.2)
        at_it.discard(start)

    def handler(number, frame):
        if frame.f_code.co_filename in (threads.__file__, __file__):
            interrupts.append(frame)
            raise Interrupt

    # Pools of earlier tests must not end now: Python reports what is raised in `__del__`.
    gc.collect()
    gc.disable()
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(Interrupt):
            pool.run(work, 2)
        assert not at_it
        assert len(interrupts) > 20
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
@pytest.mark.parametrize("seconds", [4])
def test_a_process_that_is_interrupted_at_random(seconds):
    """Each call raises or finishes, nothing is written later, and the process ends at once."""
    printed = python(
        f"""
        import random, signal, time
        import numpy as np, anydrop
        from anydrop.backends.common.threads import POOL

        class Interrupt(BaseException):
            pass

        def handler(number, frame):
            raise Interrupt

        x = np.ones(2**21, "f4")
        layer = anydrop.Dropout(0.5, seed=0)
        layer(x)  # numba comes
        layer(x)
        began = time.perf_counter()
        layer(x)
        takes = time.perf_counter() - began
        out, interrupts = np.empty_like(x), 0
        signal.signal(signal.SIGALRM, handler)
        random.seed(0)
        end = time.perf_counter() + {seconds}
        while time.perf_counter() < end:
            before = layer.step, layer.recipe.step
            assert before[0] == before[1] + 1
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 1.5 * takes))
                    if random.random() < 0.5:
                        layer(x)
                    else:
                        anydrop.dropout(x, 0.5, seed=0, step=random.getrandbits(9), out=out)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupt:
                interrupts += 1
                left = out[::100].copy()
                time.sleep(takes)
                assert (out[::100] == left).all()
            assert layer.step in (before[0], before[0] + 1)
        expected = anydrop.dropout(x, 0.5, seed=0, step=layer.step)
        assert np.array_equal(layer(x), expected)
        assert not POOL._at_work and len(POOL._helpers) < 2
        print(interrupts)
        """,
        ANYDROP_NUM_THREADS="2",
    )
    assert int(printed) > 10
