"""`select_add` for more elements than NumPy takes at a time: each chunk at its own place."""

import numpy as np
import pytest
from subjects import available, eager

import anydrop
from anydrop.backends.common.threads import Pool
from anydrop.backends.numpy.backend import NumpyBackend
from anydrop.backends.numpy.chunked import CHUNK
from anydrop.testing.reference import bits

COLUMNS = 7
ROWS = 3 * CHUNK // COLUMNS
MASK = anydrop.Mask.from_seed((ROWS, COLUMNS), 0.5, seed=0)


@pytest.mark.parametrize("use_numba", [False, *[True] * available("numba")])
@pytest.mark.parametrize("pool", [Pool(threads=1), eager(3)], ids=["one thread", "three"])
@pytest.mark.parametrize("recipe", [MASK, None], ids=["drawn", "all kept"])
@pytest.mark.parametrize("order", ["=", "S"], ids=["native", "swapped"])
def test_each_chunk_has_its_indices_its_residual_and_its_bias(use_numba, pool, recipe, order):
    rng = np.random.default_rng(0)
    x, residual = rng.standard_normal((2, ROWS, COLUMNS)).astype("f4")
    bias = rng.standard_normal(COLUMNS).astype("f4")
    kept = True if recipe is None else MASK.keep(like=x)
    expected = residual + np.where(kept, (x + bias) * np.float32(1.5), np.float32(0))
    x = x.astype(x.dtype.newbyteorder(order))
    backend = NumpyBackend(use_numba=use_numba, pool=pool)
    assert bits(backend.select_add(x, residual, recipe, 1.5, bias)) == bits(expected)
