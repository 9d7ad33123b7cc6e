"""The catalogue in Dask: graphs that compute nothing, of any chunks, with the numbers of NumPy."""

import numpy as np
import pytest
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
    assert np.array_equal(y.compute(), expected)  # chunks of NumPy, and so its normals to the bit


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
    x = cut(X, "uneven")
    for name in ("gaussian_dropout", "alpha_dropout"):
        assert DRAWN[name][0](x).chunks == x.chunks
    assert DRAWN["zoneout"][0](x, cut(-X, "rows")).chunks[1] == x.chunks[1]


def test_another_dtype_or_kind_has_another_name():
    mask = anydrop.Mask.from_seed(X.shape, 0.5, seed=1)
    backend = anydrop.backends.load("dask")
    kinds = [backend.keep(mask, cut(X, "rows"))]
    kinds += [backend.normals(mask, cut(X.astype(d), "rows")) for d in ("f4", "f8")]
    assert len({array.name for array in kinds}) == 3
    again = backend.normals(mask, cut(X, "rows"))
    assert again.name == kinds[2].name
