"""Chunks of length 0 beside one of length 1, which Dask's own functions broadcast wrongly."""

import itertools

import numpy as np
import pytest
from subjects import available

import anydrop

if not available("dask"):
    pytest.skip("dask is not installed here; nox -s tests-dask runs this", allow_module_level=True)

import dask.array as da

CUTS = {1: [(1,), (1, 0), (0, 1), (0, 1, 0)], 3: [(3,), (1, 0, 2), (0, 3)], 4: [(4,), (2, 0, 2)]}


def masked(x, gradient, function, **keywords):
    """Return what a function gives, and what its mask makes of a gradient."""
    y, mask = function(x, **keywords, return_mask=True)
    return y, mask.apply(gradient)


def summed(x, bias):
    """Return a sum, and the gradients of its three parts."""
    y, mask = anydrop.dropout_add(x, x, 0.5, bias=bias, seed=3, return_mask=True)
    return y, *mask.apply(x)


CALLS = {
    "dropout": lambda x: masked(x, x, anydrop.dropout, p=0.5, seed=3),
    "shared": lambda x: masked(x, x, anydrop.dropout, p=0.5, seed=3, shared_axes=0),
    "alpha": lambda x: [anydrop.alpha_dropout(x, 0.5, seed=3)],
    "gaussian": lambda x: masked(x, x, anydrop.gaussian_dropout, p=0.5, seed=3),
    "noise": lambda x: masked(x, x, anydrop.gaussian_noise, std=0.5, seed=3, shared_axes=-1),
    "copies": lambda x: [anydrop.drop_connect(x, 0.5, examples=2, seed=3)],
    "zoneout": lambda x: [anydrop.zoneout(x, -x, 0.5, seed=3)],
    "shares": lambda x: anydrop.zoneout(x, x, 0.5, seed=3, return_mask=True)[1].apply(x),
    "sums": lambda x: summed(x, x[(0,) * (x.ndim - 1)]),
    "sums at inference": lambda x: [anydrop.dropout_add(x, x, 0.5, training=False)],
    "zoneout at inference": lambda x: [anydrop.zoneout(x, x, 0.5, training=False)],
    "tokens": lambda x: [anydrop.token_dropout(x.astype(int), 0.5, token=0, seed=3)],
    "protected": lambda x: [
        anydrop.token_dropout(x.astype(int), 0.5, token=0, seed=3, protected=(1, 2))
    ],
}


@pytest.mark.parametrize("shape", [(1,), (1, 3), (3, 1), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_any_chunks_give_numpys_shape_and_numbers(call, shape):
    x = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    expected = call(x)
    for chunks in itertools.product(*(CUTS[n] for n in shape)):
        for y, one in zip(call(da.from_array(x, chunks=chunks)), expected, strict=True):
            assert y.shape == one.shape
            assert np.array_equal(y.compute(), one), chunks


@pytest.mark.parametrize("chunks", list(itertools.product(CUTS[1], CUTS[1], CUTS[3])), ids=str)
def test_the_gradient_of_copies(chunks):
    gradient = np.arange(3.0).reshape(1, 1, 3)
    _, mask = anydrop.drop_connect(np.ones((1, 3)), 0.5, examples=1, seed=3, return_mask=True)
    y, expected = mask.apply(da.from_array(gradient, chunks=chunks)), mask.apply(gradient)
    assert y.shape == expected.shape
    assert np.array_equal(y.compute(), expected)


@pytest.mark.parametrize("other", CUTS[1])
@pytest.mark.parametrize("own", CUTS[1])
def test_states_in_other_chunks(own, other):
    new, old = np.ones((1, 4)), np.zeros((1, 4))
    expected = anydrop.zoneout(new, old, 0.5, seed=0)
    new, old = da.from_array(new, chunks=(own, 2)), da.from_array(old, chunks=(other, (1, 3)))
    y = anydrop.zoneout(new, old, 0.5, seed=0)
    assert y.chunks == new.chunks
    assert np.array_equal(y.compute(), expected)


@pytest.mark.parametrize("other", CUTS[1])
@pytest.mark.parametrize("own", CUTS[1])
def test_a_residual_and_a_bias_in_other_chunks(own, other):
    x = np.arange(4.0).reshape(1, 4)
    expected = anydrop.dropout_add(x, -x, 0.5, bias=x, seed=0)
    new, old = da.from_array(x, chunks=(own, 2)), da.from_array(-x, chunks=(other, (1, 3)))
    bias = da.from_array(x, chunks=(other, (3, 0, 1)))
    y = anydrop.dropout_add(new, old, 0.5, bias=bias, seed=0)
    assert y.chunks == new.chunks
    assert np.array_equal(y.compute(), expected)


@pytest.mark.parametrize("chunks", list(itertools.product(CUTS[1], CUTS[1], CUTS[4], CUTS[4])))
def test_blocks(chunks):
    x = np.ones((1, 1, 4, 4))
    expected = masked(x, x, anydrop.drop_block2d, p=0.5, block_size=2, seed=3)
    lazy = da.from_array(x, chunks=chunks)
    drawn = masked(lazy, lazy, anydrop.drop_block2d, p=0.5, block_size=2, seed=3)
    for y, one in zip(drawn, expected, strict=True):
        assert y.shape == one.shape
        assert np.array_equal(y.compute(), one)


@pytest.mark.parametrize("chunks", CUTS[1])
def test_a_generators_mask(chunks):
    x = da.from_array(np.ones((3, 1)), chunks=((1, 0, 2), chunks))
    y, mask = anydrop.dropout(x, 0.5, rng=da.random.default_rng(0), return_mask=True)
    assert y.shape == x.shape
    assert set(np.unique(y.compute())) <= {0.0, 2.0}
    assert np.array_equal(mask.apply(x).compute(), y.compute())
