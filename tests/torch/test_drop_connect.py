"""`anydrop.torch.DropConnect` within `torch.nn.utils.parametrize`: which forward draws a mask."""

import pytest
from subjects import available

import anydrop

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from torch import nn
from torch.nn.utils import parametrize

import anydrop.torch


def network(**keywords):
    layer, drop = nn.Linear(3, 2), anydrop.torch.DropConnect(0.5, seed=0)
    return parametrize.register_parametrization(layer, "weight", drop, **keywords), drop


def expected(layer, x, step):
    weight = layer.parametrizations.weight.original
    weight = anydrop.drop_connect(weight, 0.5, seed=0, step=step)
    return nn.functional.linear(x, weight, layer.bias)


def test_each_forward_draws_one_mask():
    layer, drop = network(unsafe=True)
    x = torch.rand(4, 3)
    for step in range(3):
        assert drop.step == step
        y = layer(x)
        assert torch.equal(y, expected(layer, x, step))
    weight = layer.parametrizations.weight.original
    assert torch.equal(
        torch.autograd.grad(y.sum(), weight)[0],
        torch.autograd.grad(expected(layer, x, 2).sum(), weight)[0],
    )


def test_registering_spends_a_step_unless_told_not_to():
    """PyTorch calls the module to see what it returns."""
    assert network()[1].step == 1
    assert network(unsafe=True)[1].step == 0


def test_what_is_cached_has_one_mask():
    layer, drop = network(unsafe=True)
    x = torch.rand(4, 3)
    for step in range(2):
        with parametrize.cached():
            first, second = layer(x), layer(x)
            assert torch.equal(layer.weight, layer.weight)
        assert torch.equal(first, second)
        assert torch.equal(first, expected(layer, x, step))
        assert drop.step == step + 1


def test_each_access_draws_where_nothing_is_cached():
    layer, drop = network(unsafe=True)
    assert not torch.equal(layer.weight, layer.weight)
    assert drop.step == 2


def test_at_inference_and_in_a_state():
    layer, drop = network(unsafe=True)
    x = torch.rand(4, 3)
    layer(x)
    assert drop.step == 1
    state = layer.state_dict()
    assert "parametrizations.weight.0.step" in state
    new, other = network(unsafe=True)
    new.load_state_dict(state)
    assert other.step == 1
    assert torch.equal(new(x), layer(x))
    layer.eval()
    original = layer.parametrizations.weight.original
    assert torch.equal(layer(x), nn.functional.linear(x, original, layer.bias))
    assert drop.step == 2
