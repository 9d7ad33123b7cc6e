"""The catalogue in Dask: graphs that compute nothing, of any chunks, with the numbers of NumPy."""

import numpy as np
import pytest
from random_layouts import normals_of, perturbed
from subjects import available

import anydrop

if not available("dask.array"):
    pytest.skip("Dask is not installed here; nox -s tests-dask runs this", allow_module_level=True)

import dask
import dask.array as da

RNG = np.random.default_rng(0)
MAPS = RNG.standard_normal((4, 3, 9, 7))
X = RNG.standard_normal((12, 10))
IDS = np.arange(120).reshape(12, 10) % 9
SEED = {"seed": 1, "step": 3}

# Of the arrays that follow.
DRAWN = {
    "drop_block2d": (lambda x: anydrop.drop_block2d(x, 0.3, 3, **SEED), MAPS),
    "alpha_dropout": (lambda x: anydrop.alpha_dropout(x, 0.3, **SEED), X),
    "zoneout": (lambda x, h: anydrop.zoneout(x, h, 0.3, **SEED), X, -X),
    "dropout_add": (lambda x, h: anydrop.dropout_add(x, h, 0.3, bias=x[0], **SEED), X, -X),
    "drop_connect": (lambda x: anydrop.drop_connect(x, 0.3, examples=3, **SEED), X),
    "gaussian_dropout": (lambda x: anydrop.gaussian_dropout(x, 0.3, **SEED), X),
    "gaussian_noise": (lambda x: anydrop.gaussian_noise(x, 0.3, **SEED), X),
    "token_dropout": (
        lambda x: anydrop.token_dropout(x, 0.5, token=8, protected=(1,), **SEED),
        IDS,
    ),
}
CHUNKS = ("whole", "rows", "uneven")


def cut(x, how):
    chunks = {"whole": -1, "rows": (5,) + (-1,) * (x.ndim - 1), "uneven": (5, 2, 4, 3)[: x.ndim]}
    return da.from_array(x, chunks=chunks[how])


def no_scheduler(*arguments, **keywords):
    raise AssertionError("something was computed")


@pytest.mark.parametrize("how", CHUNKS)
@pytest.mark.parametrize("name", DRAWN)
def test_numpys_numbers_when_they_are_asked_for(name, how):
    function, *arrays = DRAWN[name]
    with dask.config.set(scheduler=no_scheduler):
        y = function(*(cut(x, how) for x in arrays))
    expected = function(*arrays)
    assert isinstance(y, da.Array)
    assert (y.dtype, y.shape) == (expected.dtype, expected.shape)
    assert np.array_equal(y.compute(), expected)


@pytest.mark.parametrize("name", [name for name in DRAWN if name != "token_dropout"])
def test_the_backward_pass(name):
    arrays = DRAWN[name][1:]
    layers = {
        "drop_block2d": anydrop.DropBlock2d(0.3, 3, seed=1),
        "alpha_dropout": anydrop.AlphaDropout(0.3, seed=1),
        "zoneout": anydrop.Zoneout(0.3, seed=1),
        "dropout_add": anydrop.DropoutAdd(0.3, seed=1),
        "drop_connect": anydrop.DropConnect(0.3, seed=1),
        "gaussian_dropout": anydrop.GaussianDropout(0.3, seed=1),
        "gaussian_noise": anydrop.GaussianNoise(0.3, seed=1),
    }
    layer = layers[name]
    with dask.config.set(scheduler=no_scheduler):
        y = layer(*(cut(x, "uneven") for x in arrays))
        got = layer.backward(y)
    expected = layer.backward(y.compute())
    pairs = zip(got, expected, strict=True) if isinstance(got, tuple) else [(got, expected)]
    for lazy, array in pairs:
        assert np.array_equal(lazy.compute(), array)


def test_chunks_follow_the_array():
    x, maps = cut(X, "uneven"), cut(MAPS, "uneven")
    for name in ("gaussian_dropout", "gaussian_noise", "alpha_dropout"):
        assert DRAWN[name][0](x).chunks == x.chunks
    assert DRAWN["zoneout"][0](x, cut(-X, "rows")).chunks == x.chunks
    y, mask = anydrop.drop_block2d(maps, 0.3, 3, **SEED, return_mask=True)
    assert y.chunks == mask.keep(maps).chunks == maps.chunks


ONE_TASK = ("gaussian_dropout", "gaussian_noise", "zoneout", "drop_block2d")


@pytest.mark.parametrize("name", ONE_TASK)
def test_one_task_for_each_chunk(name):
    """Beside those of the arrays themselves: no mask or noise is an array of its own."""
    function, *arrays = DRAWN[name]
    lazy = [cut(x, "uneven") for x in arrays]
    y = function(*lazy)
    before = {key for x in lazy for key in x.dask}
    assert len(set(y.dask) - before) == y.npartitions
    gradient = anydrop.zoneout(*lazy, 0.3, **SEED, return_mask=True)[1] if len(lazy) > 1 else None
    for share in () if gradient is None else gradient.apply(lazy[0]):
        assert len(set(share.dask) - before) == share.npartitions


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", ">f4"])
@pytest.mark.parametrize("place", [{}, {"shared_axes": 1}, {"window": ((2, 3), (30, 40))}], ids=str)
def test_noise_of_any_chunks_is_that_of_the_definition(dtype, place):
    x = X.astype(dtype)
    mask = anydrop.Mask.from_seed(X.shape, 0.5, **SEED, **place)
    backend = anydrop.backends.load("dask")
    for how in CHUNKS:
        lazy = cut(x, how)
        z = backend.normals(mask, lazy).compute()
        assert np.array_equal(z, normals_of(mask, z.dtype))
        for relative in (True, False)[: 1 + (x.dtype.kind != "c")]:
            y = backend.perturb(lazy, mask, 0.3, relative)
            assert y.dtype == x.dtype
            assert np.array_equal(y.compute(), perturbed(x, mask, 0.3, relative))


@pytest.mark.parametrize(
    "options", [{}, {"shared_axes": 1}, {"window": ((1, 0, 2, 3), (9, 9, 20, 30))}]
)
def test_blocks_reach_from_chunk_to_chunk(options):
    """Along each axis, in a window, and in chunks shorter than a block or empty."""
    expected, mask = anydrop.drop_block2d(MAPS, 0.3, (4, 3), **SEED, **options, return_mask=True)
    for chunks in ((4, 3, 9, 7), (3, 2, 4, 3), (4, 3, 1, 1), (4, 3, (0, 2, 0, 7), (5, 2, 0))):
        lazy = da.from_array(MAPS, chunks=chunks)
        y = anydrop.drop_block2d(lazy, 0.3, (4, 3), **SEED, **options)
        assert np.array_equal(y.compute(), expected)
        kept = mask.keep(like=lazy).compute()
        assert np.array_equal(kept, mask.keep(like=MAPS))
    rows = slice(None, None, 2)  # a part of a graph computes the same
    assert np.array_equal(y[rows].compute(), expected[rows])


def test_a_choice_by_a_mask_that_is_stored():
    x, h = cut(X, "uneven"), cut(-X, "rows")
    zones = anydrop.zoneout(x, h, 0.3, rng=da.random.default_rng(0), return_mask=True)[1]
    y, kept = dask.compute(zones.choose(anydrop.resolve(x), x, h, None), zones.keep(like=x))
    assert np.array_equal(y, np.where(kept, X, -X))
    for share, expected in zip(zones.apply(x), (kept * X, ~kept * X), strict=True):
        assert np.array_equal(share.compute(), expected)


def test_states_of_chunks_that_are_not_what_they_say():
    lies = cut(X, "rows").map_blocks(lambda chunk: chunk[:, :-1], dtype="f8")
    for pair in ((lies, cut(X, "rows")), (cut(X, "rows"), lies)):
        with pytest.raises(ValueError, match=r"must have the shape \(\d, 10\) .* got \(\d, 9\)"):
            anydrop.zoneout(*pair, 0.3, seed=0).compute()


def test_sums_with_chunks_of_unknown_sizes():
    """At inference, where no mask is placed: if there are as many of each array."""
    unknown, shown = cut(X, "rows")[cut(X, "rows")[:, 0] > 0], X[X[:, 0] > 0]
    y = anydrop.dropout_add(unknown, 2 * unknown, 0.5, bias=cut(X[0], "rows"), training=False)
    assert np.array_equal(y.compute(), 2 * shown + (shown + X[0]))
    with pytest.raises(ValueError, match=r"as many chunks as x, \(3, 1\), .* got \(1, 1\)"):
        anydrop.dropout_add(unknown, cut(X, "whole")[cut(X[:, 0], "whole") > 0], training=False)
    with pytest.raises(ValueError, match=r"call x.compute_chunk_sizes\(\) first"):
        anydrop.dropout_add(unknown, unknown, seed=0)


def test_the_gradient_of_a_bias_is_a_sum_in_pairs_of_each_chunk():
    g = (1 + np.random.default_rng(0).random((100_000, 3))).astype("f4")
    _, mask = anydrop.dropout_add(g, g, 0.1, bias=g[0], seed=0, return_mask=True)
    for rows in (100_000, 1_001):
        dx, _, dbias = dask.compute(*mask.apply(da.from_array(g, chunks=(rows, 2))))
        exact = dx.astype("f8").sum(axis=0)
        assert dbias.dtype == "f4"
        assert np.all(np.abs(dbias - exact) <= 4 * np.spacing(exact.astype("f4")))


@pytest.mark.parametrize("shape", [(3,), (1,), (100, 3)])
def test_gradients_that_overflow_a_half_type_are_infinite_without_a_warning(shape):
    x, g = np.ones((100, 3), "f2"), np.full((100, 3), 1e30, "f4")
    bias = cut(np.ones(shape, "f2"), "rows")
    _, mask = anydrop.dropout_add(
        cut(x, "rows"), cut(x, "rows"), 0.1, bias=bias, seed=0, return_mask=True
    )
    dx, _, dbias = dask.compute(*mask.apply(cut(g, "rows")))
    assert dx.dtype == dbias.dtype == "f2"
    assert np.array_equal(np.isposinf(dx), mask.keep(like=x))
    assert np.isposinf(dbias).all() == (len(shape) == 1)


def test_another_dtype_or_kind_has_another_name():
    mask = anydrop.Mask.from_seed(X.shape, 0.5, seed=1)
    backend = anydrop.backends.load("dask")
    kinds = [backend.keep(mask, cut(X, "rows"))]
    kinds += [backend.normals(mask, cut(X.astype(d), "rows")) for d in ("f4", "f8")]
    assert len({array.name for array in kinds}) == 3
    again = backend.normals(mask, cut(X, "rows"))
    assert again.name == kinds[2].name
