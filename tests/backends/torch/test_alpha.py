"""AlphaDropout's values are those of PyTorch's own function."""

import numpy as np
import pytest
from subjects import available

import anydrop

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )
import torch

RATES = [0.1, 0.5, 0.9]


@pytest.mark.parametrize("p", RATES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_alpha_dropout(p, dtype):
    """What becomes of a number is one of two values, the same ones here and there."""
    x = torch.linspace(-3, 3, 7, dtype=dtype).repeat(400, 1)
    torch.manual_seed(0)
    theirs = torch.nn.functional.alpha_dropout(x, p, training=True)
    ours = anydrop.alpha_dropout(x, p, seed=0)
    assert ours.dtype == theirs.dtype
    digits = 6 if dtype == torch.float32 else 14
    for column in range(7):
        here, there = (np.unique(y[:, column].numpy()) for y in (ours, theirs))
        assert here.size == there.size == 2
        assert np.allclose(here, there, rtol=10.0**-digits, atol=10.0**-digits)


@pytest.mark.parametrize("p", RATES)
def test_feature_alpha_dropout(p):
    """The same, of whole channels."""
    x = torch.linspace(-3, 3, 5).repeat(80, 60, 1)
    torch.manual_seed(0)
    theirs = torch.nn.functional.feature_alpha_dropout(x, p, training=True)
    ours = anydrop.feature_alpha_dropout(x, p, seed=0)
    rows = [np.unique(y.reshape(-1, 5).numpy(), axis=0) for y in (ours, theirs)]
    assert rows[0].shape == rows[1].shape == (2, 5)
    assert np.allclose(*rows, rtol=1e-6, atol=1e-6)


def test_the_gradient():
    x = torch.linspace(-3, 3, 400, requires_grad=True)
    torch.manual_seed(0)
    torch.nn.functional.alpha_dropout(x, 0.3, training=True).sum().backward()
    theirs, x.grad = x.grad, None
    anydrop.alpha_dropout(x, 0.3, seed=0).sum().backward()
    assert np.allclose(np.unique(x.grad.numpy()), np.unique(theirs.numpy()), rtol=1e-6)


def test_in_place():
    """PyTorch ignores ``inplace=True`` there; ``out=`` is obeyed here."""
    x = torch.randn(100)
    expected = anydrop.alpha_dropout(x, 0.5, seed=0)
    assert anydrop.alpha_dropout(x, 0.5, seed=0, out=x) is x
    assert torch.equal(x, expected)
