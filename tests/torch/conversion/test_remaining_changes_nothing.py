"""After `remaining` a model, its inputs and all generators are as they were. What it refuses."""

import copy
import random
import threading

import numpy as np
import pytest
from subjects import available

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )
import torch
from devices import needs_device
from torch import nn
from torch.nn import functional

from anydrop.torch import Dropout
from anydrop.torch.conversion.remaining import remaining

# What is changed ----------------------------------------------------------------------------------


class Changing(nn.Module):
    """Changes whatever a forward can."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.frozen = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3)).eval()
        self.seeded, self.unseeded = Dropout(0.5, seed=0), Dropout(0.5)
        self.unregistered = [Dropout(0.5, seed=1)]
        self.calls = 0

    def forward(self, x, more, fails):
        self.calls += 1
        with torch.no_grad():
            self.norm.weight.add_(1)
        for one in (x, more["y"][0]):
            one.mul_(torch.rand(3)).add_(np.random.rand() + random.random())  # noqa: NPY002
        more["y"].append(x)
        y = self.seeded(self.unseeded(self.frozen(self.norm(x))))
        y = self.unregistered[0](y)
        if fails:
            raise ZeroDivisionError("planted")
        return y


def state(model):
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    flags = {name: module.training for name, module in model.named_modules()}
    steps = model.seeded.step, model.unregistered[0].step, model.calls
    gradients = [p.grad for p in model.parameters()]
    return tensors, flags, steps, gradients


def generators():
    return torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()  # noqa: NPY002


def masks_of_copies(model):
    twins = [copy.deepcopy(model) for _ in range(2)]
    seeds = [m.seed for twin in twins for m in (twin.seeded, twin.unregistered[0])]
    return [seed.generate_state(2).tolist() for seed in seeds]


@pytest.fixture(params=[False, True], ids=["returns", "raises"])
def run(request):
    def run(model):
        x, more = torch.ones(4, 3), {"y": [torch.ones(3)]}
        if request.param:
            with pytest.raises(ZeroDivisionError, match="planted"):
                remaining(model, x, more, fails=True)
        else:
            assert remaining(model, x, more, fails=False)
        assert x.eq(1).all()
        assert len(more["y"]) == 1
        assert more["y"][0].eq(1).all()

    return run


def test_a_model_is_as_it_was(run):
    model = Changing()
    model.frozen[0].train()
    model.seeded.step = 7
    before = state(model)
    run(model)
    after = state(model)
    torch.testing.assert_close(after[0], before[0], rtol=0, atol=0)
    assert after[1:] == before[1:]
    assert not model.frozen.training
    assert model.frozen[0].training


def test_generators_are_as_they_were(run):
    model = Changing()
    np.random.standard_normal()  # noqa: NPY002 - which keeps a second number for the next call
    before = generators()
    run(model)
    assert generators() == before


def test_that_the_model_draws_of_all_generators():
    before = generators()
    Changing()(torch.ones(4, 3), {"y": [torch.ones(3)]}, fails=False)
    assert not any(a == b for a, b in zip(generators(), before, strict=True))


def test_later_copies_draw_the_masks_that_they_would_have(run):
    model, other = Changing(), Changing()
    run(model)
    run(model)
    assert masks_of_copies(model) == masks_of_copies(other)


def test_the_next_masks_are_those_without_it(run):
    model = Changing()
    ys = []
    for watched in (False, True):
        model.seeded.step = 3
        torch.manual_seed(5)
        if watched:
            run(model)
        x = torch.ones(400, requires_grad=True)
        y = model.unseeded(model.seeded(x))
        y.sum().backward()
        ys += [y, x.grad]
    assert torch.equal(ys[0], ys[2])
    assert torch.equal(ys[1], ys[3])


def test_it_runs_in_the_mode_of_inference():
    model = Changing()
    with torch.inference_mode():
        assert remaining(model, torch.ones(4, 3), {"y": [torch.ones(3)]}, fails=False)
    assert model.norm.running_mean.eq(0).all()


def test_compiling_goes_on_after_it(run):
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    run(Changing())
    torch.compile(torch.sin, backend=backend)(torch.ones(2))
    assert len(compiled) == 1


# What the forward sees ----------------------------------------------------------------------------


class Seeing(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = nn.Identity().eval()

    def forward(self, x, y, *, told):
        assert self.training
        assert self.part.training
        assert not torch.is_grad_enabled()
        assert (x.requires_grad, y.requires_grad) == (True, False)
        assert x is told["x"]
        told["seen"].append(None)
        return x * y


class Told(list):
    """A list whose deep copy is itself."""

    def __deepcopy__(self, memo):
        return self


def test_the_forward_runs_once_in_training_mode_without_gradients():
    w, seen = torch.ones(3, requires_grad=True), Told()
    x = w * 2  # no leaf: copy.deepcopy would refuse it
    remaining(Seeing().eval(), x, w.detach(), told={"x": x, "seen": seen})
    assert len(seen) == 1


def test_hooks_run():
    model, seen = nn.Sequential(nn.Identity()), []
    model[0].register_forward_pre_hook(lambda module, inputs: (functional.dropout(inputs[0]),))
    model.register_forward_hook(lambda module, inputs, y: seen.append(module))
    (call,) = remaining(model, torch.ones(3))
    assert call.file == __file__
    assert len(seen) == 1
    assert seen[0] is not model


# What is refused ----------------------------------------------------------------------------------


def holding(thing):
    model = nn.Sequential(nn.Dropout())
    model.thing = thing
    return model


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_what_is_refused():
    scripted = torch.jit.script(nn.ReLU())
    x = torch.ones(2)
    refused = [
        (lambda: remaining(torch.sin, x), "model must be a torch.nn.Module, got "),
        (lambda: remaining(scripted, x), "the model is scripted, .* before torch.jit.script"),
        (lambda: remaining(nn.Sequential(scripted), x), "0 is scripted, "),
        (lambda: remaining(holding(threading.Lock()), x), "the model can't be copied .*lock.*: "),
        (lambda: remaining(holding(x.clone().requires_grad_() * 2), x), "detach tensors that it"),
        (lambda: remaining(holding(0), (i for i in ())), "an input can't be copied "),
    ]
    for call, message in refused:
        with pytest.raises(TypeError, match=message):
            call()


def test_a_model_that_cannot_be_copied_is_as_it_was():
    model = nn.Sequential(Dropout(0.5, seed=0))
    other = copy.deepcopy(nn.Sequential(Dropout(0.5, seed=0)))
    model.lock = threading.Lock()
    with pytest.raises(TypeError, match="can't be copied"):
        remaining(model, torch.ones(2))
    del model.lock
    a, b = (m[0].seed.generate_state(2) for m in (copy.deepcopy(model), other))
    assert a.tolist() == b.tolist()


# On a GPU -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=needs_device("torch-cuda"))])
@pytest.mark.parametrize("p", [0.0, 0.5])
def test_on_a_device(device, p):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.drop = nn.LSTM(8, 8, 2, dropout=p), nn.Dropout(p)
            self.ours = Dropout(0.5)

        def forward(self, x):
            x = self.ours(self.drop(self.lstm(x)[0]))
            return functional.scaled_dot_product_attention(x, x, x, dropout_p=p)

    model, x = Model().to(device), torch.ones(2, 4, 8, device=device)
    before = torch.cuda.get_rng_state()
    found = remaining(model, x)
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert {call.module for call in found} == ({"lstm", "drop", ""} if p else set())
