"""A mask that is returned is a description: what is meant for an array says so."""

import numpy as np
import pytest
from subjects import available

import anydrop

X = np.ones((2, 3, 8, 8), "f4")


def masks():
    yield anydrop.dropout(X, 0.5, seed=0, return_mask=True)[1]
    yield anydrop.dropout(X, 0.5, rng=np.random.default_rng(0), return_mask=True)[1]
    yield anydrop.drop_block2d(X, 0.5, 3, seed=0, return_mask=True)[1]
    yield anydrop.gaussian_dropout(X, 0.5, seed=0, return_mask=True)[1]
    yield anydrop.zoneout(X, X, 0.5, seed=0, return_mask=True)[1]
    yield anydrop.dropout_add(X, X, 0.5, bias=X[0], seed=0, return_mask=True)[1]
    yield anydrop.drop_connect(X, 0.5, examples=2, seed=0, return_mask=True)[1]


def arrays():
    yield X
    yield X[0, 0, 0, 0]
    if available("torch"):
        import torch

        yield torch.from_numpy(X)
    if available("jax"):
        import jax.numpy as jnp

        yield jnp.asarray(X)
    if available("dask"):
        import dask.array as da

        yield da.from_array(X)


@pytest.mark.parametrize("mask", list(masks()), ids=lambda mask: type(mask).__name__)
@pytest.mark.parametrize("x", list(arrays()), ids=lambda x: type(x).__module__)
def test_times_an_array(mask, x):
    message = f"{type(mask).__name__} is a recipe, not an array: use mask.apply"
    for product in (lambda: mask * x, lambda: x * mask):
        with pytest.raises(TypeError, match=message):
            product()
