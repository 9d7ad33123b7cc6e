"""`dropout_add`: a bias, a mask and a residual in one pass, and the gradients of all three."""

import numpy as np
import pytest

import anydrop
from anydrop.testing.reference import bits, keep

P = 0.4


def arrays(shape=(6, 5), dtype="f4", bias=None):
    """Return x, a residual and a bias of random numbers."""
    rng = np.random.default_rng(0)
    x, residual = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    return x, residual, None if bias is None else rng.standard_normal(bias).astype(dtype)


def by_hand(x, residual, bias=None, p=P, **place):
    """Return NumPy's plain expression."""
    kept = keep(x.shape, p, **place)
    moved = x if bias is None else x + bias
    return residual + np.where(kept, moved * x.real.dtype.type(1 / (1 - p)), x.dtype.type(0))


@pytest.mark.parametrize("bias", [None, (), (5,), (6, 1), (1, 5), (6, 5)], ids=str)
@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
def test_it_is_the_plain_expression_to_the_bit(dtype, bias):
    x, residual, bias = arrays(dtype=dtype, bias=bias)
    y = anydrop.dropout_add(x, residual, P, bias=bias, seed=3, step=2)
    expected = by_hand(x, residual, bias, seed=3, step=2)
    assert y.dtype == expected.dtype
    assert bits(y) == bits(expected)
