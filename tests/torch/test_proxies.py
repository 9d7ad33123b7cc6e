"""What modules do with what is no tensor: proxies of ``torch.fx``, and what they refuse."""

import numpy as np
import pytest
from subjects import available

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from torch import nn

from anydrop import torch as ours

X = torch.ones(32, 6, 8)
MODULES = [
    lambda: ours.Dropout(0.5, seed=0),
    lambda: ours.Dropout(0.5),
    lambda: ours.Dropout1d(0.5, seed=0),
    lambda: ours.DropPath(0.5, seed=0),
    lambda: ours.GaussianNoise(0.5, seed=0),
    lambda: ours.DropConnect(0.5, seed=0),
]


@pytest.mark.parametrize("make", MODULES)
@pytest.mark.parametrize("training", [True, False])
def test_fx_keeps_the_call_of_a_module(make, training):
    model = nn.Sequential(nn.Linear(8, 8), make()).train(training)
    traced = torch.fx.symbolic_trace(model)
    assert [n.target for n in traced.graph.nodes if n.op == "call_module"] == ["0", "1"]
    assert torch.equal(traced.eval()(X), model.eval()(X))
    results = []
    for one in (model.train(), traced.train()):
        torch.manual_seed(0)
        if model[1].counts:
            model[1].step = 5
        results.append(one(X))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    assert not torch.equal(traced(X), results[1])


def test_fx_keeps_zoneout_and_the_steps_that_are_said():
    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.keep = ours.Zoneout(0.5, seed=0)

        def forward(self, x, previous):
            return self.keep(x, previous, step=3)

    cell = Cell()
    traced = torch.fx.symbolic_trace(cell)
    assert torch.equal(traced(X, -X), cell(X, -X))
    assert cell.keep.step == 0


def test_fx_of_a_module_alone_is_refused():
    with pytest.raises(TypeError, match=r"torch\.nn\.Sequential\(module\)"):
        torch.fx.symbolic_trace(ours.Dropout(0.5))


@pytest.mark.parametrize("make", MODULES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("value", [np.ones((2, 6, 8)), [1.0], None])
def test_what_is_no_tensor_is_refused(make, training, value):
    module = make().train(training)
    with pytest.raises(TypeError, match=rf"takes a torch.Tensor, got {type(value).__name__}"):
        module(value)
    assert module.step in (0, None)
