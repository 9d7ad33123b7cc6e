"""Dask: what is particular to graphs of chunks. Its bits are tested with everyone's."""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from process import python
from subjects import Watched, available, needs_strict

import anydrop
import anydrop.backends
from anydrop import Dropout, Mask, Window
from anydrop.backends.numpy.backend import NumpyBackend
from anydrop.testing.reference import bits, keep, numbers, select

if not available("dask.array"):
    pytest.skip("dask is not installed here; nox -s tests-dask runs this", allow_module_level=True)

import dask
import dask.array as da

SHAPE = (7, 12, 5)
CHUNKS = {
    "one": -1,
    "single elements": 1,
    "uneven": ((1, 4, 2), (5, 5, 2), (5,)),
    "with empty ones": ((0, 3, 0, 4), (12, 0), (0, 0, 5)),
    "slices of the inner axes": (7, 3, 2),
}
chunked = pytest.mark.parametrize("chunks", CHUNKS.values(), ids=list(CHUNKS))
quiet = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.fixture
def no_computing():
    def refuse(*args, **kwargs):
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        yield


def numbered(shape=SHAPE, chunks="auto", dtype="f4"):
    x = np.arange(1, 1 + np.prod(shape), dtype=dtype).reshape(shape)
    return x, da.from_array(x, chunks=chunks)


def error(kind, message, call, *args, **kwargs):
    with pytest.raises(kind, match=re.escape(message)):
        call(*args, **kwargs)


# One mask for any chunking ---------------------------------------------------------------------


@quiet
@chunked
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("shared_axes", [(), (1,), (0, 2)])
@pytest.mark.parametrize("window", [None, Window((2**29, 3, 2**20), (2**30, 20, 2**22))])
def test_any_chunking_gives_the_numbers_of_the_whole(chunks, dtype, shared_axes, window):
    recipe = {"seed": 42, "step": 2**40, "shared_axes": shared_axes, "window": window}
    x = numbers(SHAPE, np.dtype(dtype), np.random.default_rng(0))
    y, mask = anydrop.dropout(da.from_array(x, chunks=chunks), 0.3, **recipe, return_mask=True)
    kept = keep(SHAPE, 0.3, **recipe)
    assert y.dtype == x.dtype
    assert y.compute().dtype == x.dtype
    assert bits(y.compute()) == bits(select(x, kept, 1 / 0.7))
    assert np.array_equal(mask.keep(like=y).compute(), kept)


@chunked
def test_the_digest_is_that_of_every_library(chunks):
    _, x = numbered(chunks=chunks)
    mask = Mask.from_seed(SHAPE, 0.5, seed=3, shared_axes=1)
    assert mask.digest(like=x) == mask.digest()


@chunked
def test_chunks_stay_as_they_are(chunks):
    _, x = numbered(chunks=chunks)
    y, mask = anydrop.dropout(x, 0.5, seed=0, shared_axes=1, return_mask=True)
    assert y.chunks == x.chunks
    assert mask.keep(like=x).chunks == (x.chunks[0], (1,), x.chunks[2])
    kept = np.random.default_rng(0).random(SHAPE) < 0.5
    y = anydrop.resolve(x).select(x, da.from_array(kept, chunks=4), 2.0)
    assert y.chunks == x.chunks
    assert np.array_equal(y.compute(), np.where(kept, x.compute() * 2, 0))


def test_slices_of_a_result_draw_what_they_show():
    """Only the chunks that are asked for are drawn, with the bits of the whole."""
    x, lazy = numbered((60, 40), (7, 11))
    y = anydrop.dropout(lazy, 0.5, seed=1)[13:29, 5:8]
    assert np.array_equal(y.compute(), anydrop.dropout(x, 0.5, seed=1)[13:29, 5:8])


def test_sizes_of_chunks_may_be_numpys_integers():
    window = Window((2**62, 0), (2**63 - 1, 2))
    x = da.ones((4, 2), chunks=((np.int64(1), np.int64(3)), (np.int64(2),)))
    kept = anydrop.dropout(x, 0.5, seed=0, window=window).compute() != 0
    assert np.array_equal(kept, keep((4, 2), 0.5, seed=0, window=window))


@quiet
def test_a_lazy_keep_mask_is_selected_by():
    """Of another chunking, of fewer dimensions, and broadcast."""
    x, lazy = numbered(chunks=CHUNKS["with empty ones"])
    select_by = anydrop.resolve(lazy).select
    for shape in (SHAPE, (12, 5), (1, 5), (7, 1, 1), (1, 1, 1), ()):
        kept = np.random.default_rng(1).random(shape) < 0.5
        y = select_by(lazy, da.from_array(kept, chunks=2), 2.0, 1.0, 7.0)
        assert np.array_equal(y.compute(), np.where(kept, x * 2 + 1, 7))
    assert np.array_equal(select_by(lazy, kept, 2.0).compute(), np.where(kept, x * 2, 0))


# Lazy, small and named alike -------------------------------------------------------------------


def test_building_computes_nothing(no_computing):
    """Neither does looking at the layer afterwards, nor any backward pass."""

    def never(block):
        raise AssertionError("a chunk was made")

    x = da.ones((30, 4), chunks=(7, 4)).map_blocks(never, dtype="f8", meta=np.empty((0, 0)))
    for source in ({"seed": 0}, {"rng": da.random.default_rng(0)}):
        drop = Dropout(0.5, **source, shared_axes=1)
        y = drop(x)
        results = [y, drop.mask, drop.backward(x), drop.backward(y.rechunk(3))]
        results.append(anydrop.dropout(x, 0.5, training=False, scaling="inference"))
        assert all(isinstance(result, da.Array) for result in results)
        assert isinstance(getattr(drop.recipe, "bits", x), da.Array)
    with pytest.raises(AssertionError, match="something was computed"):
        y.compute()


def test_graphs_are_small():
    """A layer of 20,000 chunks is one entry, whose size does not grow with their number."""
    sizes = []
    for n in (200, 20_000):
        x = da.ones((n, 10), chunks=(1, 10))
        y = anydrop.dropout(x, 0.5, seed=0)
        assert len(y.dask.layers) == len(x.dask.layers) + 1
        sizes.append(len(pickle.dumps(y.dask.layers[y.name])))
    assert sizes[0] < 10_000
    # Two numbers a chunk say where each lies.
    assert sizes[1] - sizes[0] < 10 * 20_000


def names():
    """Names of the same calls, made anew."""
    x = da.ones((30, 4), chunks=(7, 4))
    y, mask = anydrop.dropout(x, 0.5, seed=0, return_mask=True)
    return [y.name, mask.keep(like=x).name, mask.apply(y).name]


def test_the_same_call_has_the_same_name():
    here = names()
    assert here == names()
    assert len(set(here)) == 3
    program = "import json, test_graphs; print(json.dumps(test_graphs.names()))"
    there = python(program, path=[Path(__file__).parent], PYTHONHASHSEED="7")
    assert json.loads(there) == here


def test_another_call_has_another_name():
    """Names are what Dask shares results by."""
    x = da.ones((30, 4), chunks=(7, 4))
    calls = [
        {"seed": 1},
        {"step": 1},
        {"p": 0.25},
        {"shared_axes": 0},
        {"scaling": "inference"},
        {"window": Window((0, 0), (30, 5))},
        {"window": Window((1, 0), (31, 4))},
        {"x": x.rechunk(5)},
        {"x": x + 1},
        {"x": x.astype("f4")},
    ]
    outputs, masks = set(names()[:1]), set(names()[1:2])
    for i, change in enumerate(calls, 1):
        call = {"x": x, "p": 0.5, "seed": 0} | change
        y, mask = anydrop.dropout(**call, return_mask=True)
        outputs.add(y.name)
        assert len(outputs) == i + 1, change
        masks.add(mask.keep(like=call["x"]).name)
    # The scale, the numbers and the dtype of x make no other mask.
    assert len(masks) == len(calls) + 1 - 3
    selected = anydrop.resolve(x).select
    shifts = {selected(x, None, 1.0, shift, 0.0).name for shift in (-0.0, 0.0, 1.0)}
    assert len(shifts) == 3


def test_a_mask_and_an_output_of_one_name_are_computed_alike():
    """Together, as Dask merges what has one name, and apart."""
    x, lazy = numbered((40, 30), (9, 8))
    y, mask = anydrop.dropout(lazy, 0.5, seed=4, return_mask=True)
    again = anydrop.dropout(lazy, 0.5, seed=4)
    other = anydrop.dropout(lazy, 0.5, seed=5)
    together = dask.compute(y, mask.keep(like=lazy), again, other)
    assert np.array_equal(together[0], anydrop.dropout(x, 0.5, seed=4))
    assert np.array_equal(together[1], keep((40, 30), 0.5, seed=4))
    assert np.array_equal(together[2], together[0])
    assert np.array_equal(together[3], anydrop.dropout(x, 0.5, seed=5))


# Layers ----------------------------------------------------------------------------------------


def test_backward_takes_gradients_of_any_chunking_and_library():
    x, lazy = numbered((40, 30), (9, 8))
    drop = Dropout(0.5, seed=2)
    y = drop(lazy).compute()
    assert np.array_equal(drop.mask.compute(), keep((40, 30), 0.5, seed=2))
    assert np.array_equal(drop.backward(lazy.rechunk((40, 7))).compute(), y)
    assert type(drop.backward(x)) is np.ndarray
    assert np.array_equal(drop.backward(x), y)
    eager = Dropout(0.5, seed=2)
    assert np.array_equal(eager(x), y)
    assert np.array_equal(eager.backward(lazy).compute(), y)


# Generators ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [da.random.default_rng, da.random.RandomState])
@pytest.mark.parametrize("shared_axes", [(), (0,)])
def test_generators(kind, shared_axes):
    """The generator's own numbers in the chunks of x, the same each time they are computed."""
    x, lazy = numbered((40, 30), (9, 8))
    drop = Dropout(0.3, rng=kind(7), shared_axes=shared_axes)
    y = drop(lazy)
    rng = kind(7)
    uniform = rng.random if kind is da.random.default_rng else rng.random_sample
    shape, chunks = ((1, 30), (1, 8)) if shared_axes else ((40, 30), (9, 8))
    kept = uniform(shape, chunks=chunks).compute() < 0.7
    assert bits(y.compute()) == bits(select(x, kept, 1 / 0.7))
    assert bits(y.compute()) == bits(select(x, kept, 1 / 0.7))
    assert np.array_equal(drop.mask.compute(), kept)
    assert bits(drop.backward(lazy.rechunk(5)).compute()) == bits(y.compute())
    assert bits(drop.backward(x)) == bits(y.compute())
    assert drop.recipe.bits.dtype == np.uint8
    assert drop.recipe.bits.shape == (-(-kept.size // 8),)
    assert not np.array_equal(drop(lazy).compute() != 0, y.compute() != 0)


def test_a_mask_drawn_by_numpy_goes_to_dask():
    x, lazy = numbered((40, 30), (9, 8))
    drop = Dropout(0.5, rng=np.random.default_rng(0))
    y = drop(x)
    assert np.array_equal(drop.backward(lazy).compute(), y)


@pytest.mark.parametrize("rng", [np.random.default_rng(0), np.random.RandomState(0), 3])
def test_generators_of_others(rng):
    message = "rng must be a dask.array.random.Generator or RandomState for a Dask array, got "
    error(TypeError, message, anydrop.dropout, da.ones(3), 0.5, rng=rng)
    error(TypeError, "for a NumPy array", anydrop.dropout, np.ones(3), rng=da.random.default_rng(0))


# What can't be ---------------------------------------------------------------------------------


def test_unknown_chunk_sizes():
    x, lazy = numbered((40, 30), (9, 8))
    unknown = lazy[lazy[:, 0] > 300]
    message = "call x.compute_chunk_sizes() first"
    for source in ({"seed": 0}, {"rng": da.random.default_rng(0)}):
        error(ValueError, message, anydrop.dropout, unknown, 0.5, **source)
        drop = Dropout(0.5, **source)
        error(ValueError, message, drop, unknown)
        assert drop.step == 0
        assert drop.mask is None
    window = Window((0, 0), (40, 30))
    error(ValueError, message, anydrop.dropout, unknown, training=False, window=window)
    drop = Dropout(0.5, seed=0)
    drop(lazy)
    error(ValueError, message, drop.backward, unknown)
    assert drop.forward(unknown, training=False) is unknown
    halves = anydrop.dropout(unknown, 0.5, training=False, scaling="inference")
    rows = x[x[:, 0] > 300]
    assert np.array_equal(halves.compute(), rows / 2)
    known = anydrop.dropout(unknown.compute_chunk_sizes(), 0.5, seed=0)
    assert np.array_equal(known.compute(), anydrop.dropout(rows, 0.5, seed=0))


def test_out():
    message = "out= is not supported for Dask arrays, since they have no memory"
    x = da.ones(3)
    for out in (x, da.zeros(3), np.zeros(3)):
        error(ValueError, message, anydrop.dropout, x, 0.5, seed=0, out=out)
        error(ValueError, message, anydrop.dropout, x, 0.5, training=False, out=out)
        rng = da.random.default_rng(0)
        error(ValueError, message, anydrop.dropout, x, 0.5, rng=rng, out=out)


def test_a_lazy_step_or_offset(no_computing):
    x, lazy = da.ones((4, 5)), da.ones((), dtype=int, chunks=())
    message = " must be known when the graph is built, got a Dask array"
    error(TypeError, f"step{message}", anydrop.dropout, x, 0.5, seed=0, step=lazy)
    mask = Mask.from_seed((4, 5), 0.5, seed=0, step=lazy)
    error(TypeError, f"step{message}", mask.keep, like=x)
    window = Window((0, lazy), (9, 9))
    error(TypeError, f"window offset{message}", anydrop.dropout, x, seed=0, window=window)


@needs_strict
def test_a_step_and_an_offset_of_known_value():
    import array_api_strict as xp

    x, one = da.ones((4, 5), chunks=3), xp.asarray(1)
    y = anydrop.dropout(x, 0.5, seed=0, step=one, window=Window((one, 0), (9, 9)))
    same = anydrop.dropout(x, 0.5, seed=0, step=1, window=Window((1, 0), (9, 9)))
    assert y.name == same.name
    kept = keep((4, 5), 0.5, seed=0, step=1, window=Window((1, 0), (9, 9)))
    assert np.array_equal(y.compute() != 0, kept)


def test_chunks_that_mean_more_than_their_numbers():
    x = da.from_array(np.ma.masked_array([1.0, 2.0], [True, False]), asarray=False)
    message = "this Dask array has unsupported chunks: x must be a plain array"
    error(TypeError, message, anydrop.dropout, x, 0.5, seed=0)
    error(TypeError, "numpy.ma.MaskedArray", anydrop.dropout, x, 0.5, seed=0)


def test_dtype_without_dropout():
    message = "dropout needs a floating-point array"
    error(TypeError, message, anydrop.dropout, da.ones(3, dtype=int), 0.5, seed=0)


@pytest.mark.skipif(not available("numba"), reason="numba is not here; nox -s tests-dask has it")
@pytest.mark.parametrize(
    ("scheduler", "parent", "helps"),
    [
        ("threads", None, False),
        ("synchronous", None, True),
        ("synchronous", "the scheduler, which has other processes too", False),
    ],
)
def test_who_shares_a_long_chunk(scheduler, parent, helps, monkeypatch):
    """Where chunks are drawn side by side, each stays in its thread; else a thread has help."""
    monkeypatch.setattr("multiprocessing.parent_process", lambda: parent)
    pool = Watched(2)
    backend = NumpyBackend(use_numba=True, pool=pool)
    monkeypatch.setitem(anydrop.backends._BY_TYPE, np.ndarray, backend)
    x = da.ones(2**23, chunks=2**22, dtype="f4")
    anydrop.dropout(x, 0.5, seed=0).persist(scheduler=scheduler, num_workers=1)
    assert pool.helped() == helps
