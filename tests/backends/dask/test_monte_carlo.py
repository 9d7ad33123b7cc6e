"""Monte Carlo of Dask arrays, which stay lazy."""

import numpy as np
import pytest
from numpy.random import SeedSequence
from subjects import available

import anydrop
from anydrop import monte_carlo
from anydrop.testing.reference import keep

if not available("dask.array"):
    pytest.skip("dask is not installed here; nox -s tests-dask runs this", allow_module_level=True)

import dask
import dask.array as da

X = np.random.default_rng(0).standard_normal((6, 4))


def samples(n):
    (child,) = SeedSequence(3).spawn(1)
    return np.stack([2 * X * keep(X.shape, 0.5, seed=child, step=t) for t in range(n)])


@pytest.mark.parametrize("chunks", [(6, 4), (2, 4), (4, 3)])
def test_nothing_is_computed_before_it_is_asked_for(chunks):
    def refuse(*arguments, **keywords):
        raise AssertionError("computed")

    drop = anydrop.Dropout(0.5, seed=0)
    with dask.config.set(scheduler=refuse):
        values = monte_carlo(drop, da.from_array(X, chunks=chunks), samples=5, seed=3)
        classes = monte_carlo(
            drop, da.from_array(X, chunks=chunks), samples=5, seed=3, outputs="logits"
        )
    expected = samples(5)
    np.testing.assert_allclose(values.mean.compute(), expected.mean(0))
    np.testing.assert_allclose(values.std.compute(), expected.std(0))
    p = np.exp(expected) / np.exp(expected).sum(-1, keepdims=True)
    entropy = -(p.mean(0) * np.log(p.mean(0))).sum(-1)
    np.testing.assert_allclose(classes.entropy.compute(), entropy)
    mutual = entropy + (p * np.log(p)).sum(-1).mean(0)
    np.testing.assert_allclose(classes.mutual_information.compute(), mutual)
