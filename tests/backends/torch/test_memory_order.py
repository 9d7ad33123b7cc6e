"""A result has the strides of ``torch.empty_like``, whatever was called, and so has a gradient."""

import pytest
from memory_orders import CASES, calls, laid_out
from subjects import available

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch

import anydrop


@pytest.mark.parametrize("dtype", ["f4", "f2", "c8"])
@pytest.mark.parametrize(("variant", "order"), CASES.values(), ids=CASES)
def test_a_result_is_laid_out_as_its_tensor(variant, order, dtype):
    if variant.whole or "alpha" in variant.name or "noise" in variant.name:
        dtype = "f4"  # they take no complex ones, or no numbers
    x = torch.from_numpy(laid_out(variant.input(dtype), order))
    for keywords in calls(variant, lambda: torch.Generator().manual_seed(0)):
        y = variant(x, **keywords)
        assert y.stride() == torch.empty_like(x).stride(), keywords
        if "rng" not in keywords:
            assert torch.equal(y, variant(x.contiguous(), **keywords))
        if variant.whole:
            continue
        followed = x.clone().requires_grad_()
        y = variant(followed, **keywords)
        assert y.stride() == x.stride(), keywords
        (dx,) = torch.autograd.grad(y, followed, torch.ones_like(y))
        assert dx.stride() == x.stride(), keywords


EXPANDED = {
    "a seed's": lambda x: anydrop.dropout(x, 0.5, seed=0),
    "a generator's": lambda x: anydrop.dropout(x, 0.5, rng=torch.Generator().manual_seed(0)),
    "gaussian": lambda x: anydrop.gaussian_dropout(x, 0.5, seed=0),
    "zoneout": lambda x: anydrop.zoneout(x, -x, 0.5, seed=0),
    "a sum": lambda x: anydrop.dropout_add(x, -x, 0.5, bias=x[0], seed=0),
    "a sum of a generator's": lambda x: anydrop.dropout_add(
        x, -x, 0.5, rng=torch.Generator().manual_seed(0)
    ),
    "a sum at inference": lambda x: anydrop.dropout_add(x, -x, 0.5, training=False),
    "zoneout at inference": lambda x: anydrop.zoneout(x, -x, 0.5, training=False),
}


@pytest.mark.parametrize("call", EXPANDED.values(), ids=EXPANDED)
def test_an_expanded_tensor(call):
    """It has no memory along an axis, and its result has."""
    x = torch.arange(20.0).reshape(4, 1, 5).expand(4, 3, 5)
    y = call(x)
    assert y.stride() == torch.empty_like(x).stride()
    assert torch.equal(y, call(x.contiguous()))


@pytest.mark.parametrize("training", [True, False])
def test_states_in_two_orders(training):
    """The new one's counts; of a sum that of what is dropped from."""
    new, previous = torch.ones(3, 4).t().contiguous().t(), torch.zeros(3, 4)
    for a, b in ((new, previous), (previous, new)):
        for function in (anydrop.zoneout, anydrop.dropout_add):
            for source in ({"seed": 0}, {"rng": torch.Generator().manual_seed(0)}):
                y = function(a, b, 0.5, training=training, **source)
                assert y.stride() == a.stride()


@pytest.mark.parametrize("call", ["blocks", "elements", "zoneout", "sum", "bare sum"])
def test_channels_last_stays_in_a_compiled_program(call):
    x = torch.ones(2, 3, 8, 8).to(memory_format=torch.channels_last)
    calls = {
        "blocks": lambda x: anydrop.drop_block2d(x, 0.3, 3, seed=0),
        "elements": lambda x: anydrop.dropout(x, 0.3, seed=0),
        "zoneout": lambda x: anydrop.zoneout(x, -x, 0.3, seed=0),
        "sum": lambda x: anydrop.dropout_add(x, -x, 0.3, bias=x[:1], seed=0),
        "bare sum": lambda x: anydrop.dropout_add(x, -x, 0.3, bias=x[:1], training=False),
    }
    y = torch.compile(calls[call], backend="aot_eager", fullgraph=True)(x)
    assert torch.equal(y, calls[call](x))
    assert y.is_contiguous(memory_format=torch.channels_last)
