"""The cache of plans: what it keeps, what tells calls apart, and who may use it at once."""

import gc
import os
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
from subjects import numpy_subjects, serving

import anydrop
from anydrop.backends.plan import CAPACITY, Plans

X = np.linspace(1, 2, 30, dtype="f4").reshape(6, 5)


@pytest.fixture(params=[s for s in numpy_subjects() if s.name.endswith("-1")], ids=str)
def backend(request, monkeypatch):
    """NumPy's backend with no plans yet."""
    backend = serving(monkeypatch, request.param).backend
    monkeypatch.setattr(backend, "plans", Plans())
    return backend


def planned(backend):
    """Return how many plans there are, beside calls that were made once."""
    return sum(plan is not None for plan in backend.plans._plans.values())


def by_hand(x=X, p=0.5, step=0, **keywords):
    """Return the result of a mask that no plan draws."""
    mask = anydrop.Mask.from_seed(x.shape, p, seed=0, step=step, **keywords)
    return np.where(mask.keep(like=x), x * x.dtype.type(1 / (1 - p)), 0).astype(x.dtype)


def test_a_plan_is_made_at_the_second_call(backend):
    for step, plans in enumerate([0, 1, 1, 1]):
        assert np.array_equal(anydrop.dropout(X, 0.5, seed=0, step=step), by_hand(step=step))
        assert planned(backend) == plans


def test_functions_and_layers_share_it(backend):
    for seed in range(3):
        layer = anydrop.Dropout(0.5, seed=seed)
        layer(X)
        assert np.array_equal(layer(X), anydrop.dropout(X, 0.5, seed=seed, step=1))
    assert planned(backend) == 1


def test_seeds_steps_and_places_are_arguments(backend):
    for row in (0, 3, 2**40):
        for step in (0, 2**64 - 1):
            window = anydrop.Window((row, 1), (2**41, 9))
            y = anydrop.dropout(X, 0.5, seed=0, step=step, window=window)
            assert np.array_equal(y, by_hand(step=step, window=window))
    assert planned(backend) == 1


def test_a_window_and_shared_axes(backend):
    for row in (0, 3, 2**40, 7):
        keywords = {"shared_axes": 1, "window": anydrop.Window((row, 1), (2**41, 9))}
        y, mask = anydrop.dropout(X, 0.5, seed=0, return_mask=True, **keywords)
        assert np.array_equal(y, by_hand(**keywords))
        assert mask == anydrop.Mask.from_seed(X.shape, 0.5, seed=0, **keywords)


def test_into_out(backend):
    for step in range(4):
        out = np.full_like(X, np.nan)
        assert anydrop.dropout(X, 0.5, seed=0, step=step, out=out) is out
        assert np.array_equal(out, by_hand(step=step))
        own = X.copy()
        assert anydrop.dropout(own, 0.5, seed=0, step=step, out=own) is own
        assert np.array_equal(own, by_hand(step=step))
    assert planned(backend) == 1


READ_ONLY = X.copy()
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    "out",
    [READ_ONLY, X[:3], X.astype("f8"), np.broadcast_to(X[:1], X.shape), X.tolist()],
    ids=["read-only", "shape", "dtype", "broadcast", "list"],
)
def test_an_out_that_is_refused_is_refused_still(backend, out):
    for _ in range(3):
        anydrop.dropout(X, 0.5, seed=0)
        with pytest.raises(ValueError, match="out"):
            anydrop.dropout(X, 0.5, seed=0, out=out)


def test_an_out_that_overlaps(backend):
    memory = np.arange(40, dtype="f4")
    for step in range(3):
        x, out = memory[:30].reshape(6, 5), memory[5:35].reshape(6, 5)
        expected = by_hand(x.copy(), step=step)
        assert np.array_equal(anydrop.dropout(x, 0.5, seed=0, step=step, out=out), expected)


def test_false_0_and_0_0_are_three_things(backend):
    """Equal keys of a dict, and different arguments."""
    images = np.ones((2, 3, 4, 4), "f4")
    for _ in range(3):
        anydrop.dropout(X, 0.5, seed=1, step=1, shared_axes=(1,))
        anydrop.dropout2d(images, 0.5, seed=1, step=1, batched=True)
        anydrop.dropout(X, 0.0, seed=0)
    for refused in (
        lambda: anydrop.dropout(X, 0.5, seed=True, step=1),
        lambda: anydrop.dropout(X, 0.5, seed=1.0, step=1),
        lambda: anydrop.dropout(X, 0.5, seed=1, step=True),
        lambda: anydrop.dropout(X, 0.5, seed=1, step=1.0),
        lambda: anydrop.dropout(X, False, seed=1),
        lambda: anydrop.dropout(X, 0.5, seed=1, shared_axes=(True,)),
        lambda: anydrop.dropout(X, 0.5, seed=1, training=1),
        lambda: anydrop.dropout(X, 0.5, seed=1, return_mask=1),
        lambda: anydrop.dropout2d(images, 0.5, seed=1, batched=1),
    ):
        with pytest.raises(TypeError):
            refused()
    for seed, step in ((-1, 0), (0, -1), (0, 2**64)):
        with pytest.raises(ValueError, match=r"seed|step"):
            anydrop.dropout(X, 0.5, seed=seed, step=step)


def test_a_probability_that_changes_makes_no_plan(backend):
    for step in range(50):
        anydrop.dropout(X, step / 100 + 0.001, seed=0, step=step)
    assert planned(backend) == 0
    layer = anydrop.Dropout(anydrop.schedules.Linear(0.1, 0.9, steps=100), seed=0)
    for _ in range(50):
        layer(X)
    assert planned(backend) == 0


def test_it_is_bounded(backend):
    for n in range(1, 2 * CAPACITY):
        x = np.ones(n % 1500 + 1, "f4")
        for step in range(2):
            assert np.array_equal(anydrop.dropout(x, 0.5, seed=0, step=step), by_hand(x, step=step))
        assert len(backend.plans) <= CAPACITY


def test_thousands_of_shapes_leave_memory_flat(backend):
    def run(first):
        for n in range(first, first + 4000):
            x = np.ones(n, "f2")
            anydrop.dropout(x, 0.5, seed=0)
            anydrop.dropout(x, 0.5, seed=0)

    run(1)
    gc.collect()
    tracemalloc.start()
    run(4001)
    gc.collect()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 4 * 2**20  # the plans that are kept; all 4,000 would take 9 MiB


def test_nothing_of_an_array_is_kept_alive(backend):
    class Sub(np.ndarray):
        pass

    memory = np.ones(30, "f4").view(Sub)  # which can be referred to weakly
    alive = weakref.ref(memory)
    for _ in range(3):
        anydrop.dropout(np.asarray(memory), 0.5, seed=0)
    assert planned(backend) == 1
    del memory
    gc.collect()
    assert alive() is None


def test_threads_at_once(backend):
    """Some shapes, looked up, planned and forgotten by all threads at the same time."""
    shapes = [(n, m) for n in range(1, 40) for m in range(1, 40)]
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for step in range(1500):
            x = np.full(shapes[rng.integers(len(shapes))], 3.0, "f4")
            y = anydrop.dropout(x, 0.5, seed=0, step=step)
            if not np.array_equal(y, by_hand(x, step=step)):
                wrong.append((x.shape, step))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:RuntimeWarning")
def test_a_forked_child_goes_on(backend):
    for step in range(3):
        anydrop.dropout(X, 0.5, seed=0, step=step)
    child = os.fork()
    if not child:
        fine = np.array_equal(anydrop.dropout(X, 0.5, seed=0, step=9), by_hand(step=9))
        os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
