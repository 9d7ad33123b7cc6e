"""Planned calls for small tensors: all that watches a tensor still sees them."""

import copy

import numpy as np
import pytest
from catalogue import VARIANTS
from subjects import available

import anydrop

if not (available("torch") and available("numba")):
    pytest.skip("torch or numba is not here; nox -s tests-torch runs this", allow_module_level=True)

import torch
from measures import kept_by_autograd
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

from anydrop.backends.numpy.backend import NumpyBackend
from anydrop.backends.torch import host

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own calls

SELECTING = [v for v in VARIANTS if v.layer._rule]
X = torch.linspace(-2, 2, 40).reshape(8, 5)


@pytest.fixture(autouse=True)
def numba_at_once(monkeypatch):
    monkeypatch.setattr(host, "HOST", NumpyBackend(use_numba=True))


def ready(x=X):
    anydrop.Dropout(0.5, seed=0)(x)
    layer = anydrop.Dropout(0.5, seed=0)
    layer(x)
    assert layer._plan is not None
    return layer


def by_hand(x, step):
    return anydrop.dropout(x, 0.5, seed=0, step=step)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64"])
@pytest.mark.parametrize("variant", SELECTING, ids=str)
def test_a_planned_call_is_the_function_at_its_step(variant, dtype):
    layer, x = variant.make(), torch.from_numpy(variant.input()).to(getattr(torch, dtype))
    variant.make()(x)
    layer(x)
    assert layer._plan
    layer._forward = None
    for step in range(1, 4):
        y = layer(x)
        expected, mask = variant(x, seed=0, step=step, return_mask=True)
        assert torch.equal(y, expected)
        assert y.dtype == x.dtype
        assert not y.requires_grad
        assert torch.equal(layer.backward(x), mask.apply(x))
        assert layer.recipe == mask
        assert layer.step == step + 1


@pytest.mark.skipif(not available("ml_dtypes"), reason="needs ml_dtypes; nox -s tests-torch has it")
def test_bfloat16():
    layer = ready(X.bfloat16())
    layer._forward = None
    assert torch.equal(layer(X.bfloat16()), by_hand(X.bfloat16(), 1))


@pytest.mark.parametrize(
    "variant", [v for v in SELECTING if v.layer.__name__ != "Dropout"], ids=str
)
def test_gradients(variant):
    x = torch.from_numpy(variant.input("f8")).requires_grad_()
    layer = variant.make()
    variant.make()(x)
    layer(x)
    assert layer._plan
    layer._forward = None
    for step in (1, 2):
        y = layer(x)
        assert y.requires_grad
        expected, mask = variant(x.detach(), seed=0, step=step, return_mask=True)
        assert torch.equal(y.detach(), expected)
        (dx,) = torch.autograd.grad(y.sum(), x)
        assert torch.equal(dx, mask.apply(torch.ones_like(x)))


def test_autograd_keeps_nothing_and_can_go_twice():
    assert kept_by_autograd(anydrop.Dropout(0.5, seed=0), 2**20) < 0.05  # a bit would be 0.125
    layer, x = ready(), X.clone().requires_grad_()
    y = layer(x)
    slope = by_hand(torch.ones_like(X), 1)
    g = torch.ones_like(X, requires_grad=True)
    (dx,) = torch.autograd.grad(y, x, g, create_graph=True)
    assert torch.equal(dx, slope)
    (dg,) = torch.autograd.grad(dx.sum(), g)
    assert torch.equal(dg, slope)


def test_gradients_that_are_no_plain_memory():
    """A batch of them, and one with a bit to negate it."""
    layer, x = ready(), X.clone().requires_grad_()
    y, ones = layer(x), torch.ones_like(X)
    two = torch.stack([ones, 2 * ones])
    (dx,) = torch.autograd.grad(y, x, two, is_grads_batched=True, retain_graph=True)
    assert torch.equal(dx, two * by_hand(ones, 1))
    (dx,) = torch.autograd.grad(y, x, torch._neg_view(-ones))
    assert torch.equal(dx, by_hand(ones, 1))


def test_after_the_last_step():
    layer = anydrop.Dropout(0.5, seed=0)
    layer.step = 2**64 - 2
    layer(X)
    assert torch.equal(layer(X), by_hand(X, 2**64 - 1))
    with pytest.raises(ValueError, match=r"step must satisfy 0 <= step < 2\*\*64"):
        layer(X)


def test_gradcheck():
    layer, x = ready(X.double()), X.double().requires_grad_()

    def at_one_step(x):
        layer._step = 3  # the setter would forget the call
        return layer(x)

    assert torch.autograd.gradcheck(at_one_step, x)
    assert torch.autograd.gradgradcheck(at_one_step, x)
    assert layer._plan is not None


@pytest.mark.parametrize("g", [X.t().contiguous().t(), X.double(), X[:, :1].expand(8, 5)], ids=str)
def test_gradients_of_other_layouts(g):
    layer, x = ready(), X.clone().requires_grad_()
    y = layer(x)
    assert torch.equal(layer.backward(g), by_hand(g, 1))
    if g.dtype == x.dtype:
        assert torch.equal(torch.autograd.grad(y, x, g)[0], by_hand(g, 1))


def test_where_autograd_does_not_look():
    x = X.clone().requires_grad_()
    layer = ready(x)
    with torch.no_grad():
        y = layer(x)
    assert not y.requires_grad
    assert torch.equal(y, by_hand(X, 1))
    with torch.inference_mode():
        y, inside = layer(X), layer(X.clone())
    assert y.is_inference()
    assert torch.equal(y, by_hand(X, 2))
    assert torch.equal(inside, by_hand(X, 3))
    parameter = torch.nn.Parameter(X.clone())
    y = layer(parameter)
    assert type(y) is torch.Tensor
    assert torch.equal(y, by_hand(X, 4))
    y.sum().backward()
    assert torch.equal(parameter.grad, by_hand(torch.ones_like(X), 4))


class Sub(torch.Tensor):
    """A subclass, which has a say in every operation."""


OTHERS = {
    "shape": X[:7],
    "dtype": X.double(),
    "strides": X.t().contiguous().t(),
    "negated": torch._neg_view(X),
    "subclass": X.as_subclass(Sub),
    "inference": None,
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_tensor_of_another_kind(name):
    x = OTHERS[name]
    if x is None:
        with torch.inference_mode():
            x = X.clone()
    layer = ready()
    y = layer(x)
    assert torch.equal(y, by_hand(x, 1))
    assert type(y) is type(x)
    assert torch.equal(layer(X), by_hand(X, 2))


def test_a_conjugated_tensor():
    x = torch.complex(X, X + 1)
    layer = ready(x)
    assert torch.equal(layer(x.conj()), by_hand(x, 1).conj())


def test_transforms():
    layer = ready()
    dx = torch.func.grad(lambda x: layer(x).sum())(X)
    assert torch.equal(dx, by_hand(torch.ones_like(X), 1))
    slope = torch.func.jacrev(lambda a: a * layer(X))(torch.tensor(2.0))
    assert torch.equal(slope, by_hand(X, 2))
    _, t = torch.func.jvp(layer, (X,), (X + 1,))
    assert torch.equal(t, by_hand(X + 1, 3))
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(X, X + 1)
        assert torch.equal(forward_ad.unpack_dual(layer(dual)).tangent, by_hand(X + 1, 4))
    assert torch.equal(layer(X), by_hand(X, 5))


@pytest.mark.parametrize("pre_dispatch", [False, True])
def test_tracing(pre_dispatch):
    layer = ready()
    for run in (lambda x: layer(x), lambda x: layer.backward(x)):
        with pytest.raises(TypeError, match="a layer counts its steps in Python"):
            make_fx(run, pre_dispatch=pre_dispatch)(X)
    assert torch.equal(layer(X), by_hand(X, 1))


def test_fake_and_meta_tensors():
    layer = ready()
    with torch._subclasses.FakeTensorMode() as mode:
        y = layer(mode.from_tensor(X))
        assert type(y).__name__ == "FakeTensor"
    assert layer(X.to("meta")).is_meta
    assert torch.equal(layer(X), by_hand(X, 3))


def test_compiled_after_it_was_called_and_called_after_it_was_compiled():
    torch._dynamo.reset()
    layer = ready()
    program = torch.compile(lambda x: layer(x) + 1, backend="eager", fullgraph=True)
    for step in (1, 3, 5):
        assert torch.equal(program(X), by_hand(X, step) + 1)
        assert torch.equal(layer(X), by_hand(X, step + 1))
    assert layer.step == 7


def test_a_module_that_is_copied_and_moved():
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = anydrop.Dropout(0.5, seed=0)

        def forward(self, x):
            return self.drop(x)

    network = Network()
    network(X)
    twin = copy.deepcopy(network)
    for step in (1, 2):
        assert torch.equal(twin(X), by_hand(X, step))
    assert torch.equal(network(X), by_hand(X, 1))


def test_other_libraries_arrays():
    layer = ready()
    assert np.array_equal(layer(X.numpy()), by_hand(X, 1).numpy())
    assert torch.equal(layer(X), by_hand(X, 2))
    assert np.array_equal(layer.backward(X.numpy()), by_hand(X, 2).numpy())


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@pytest.mark.parametrize("pre_dispatch", [False, True])
@pytest.mark.parametrize("shared_axes", [(), (1,)])
def test_a_function_that_is_traced(mode, pre_dispatch, shared_axes):
    """After its plan was made, and with lengths that the trace keeps open."""

    def call(x):
        return anydrop.dropout(x, 0.5, seed=0, shared_axes=shared_axes)

    expected = [call(X) for _ in range(3)][-1]
    program = make_fx(call, tracing_mode=mode, pre_dispatch=pre_dispatch)(X)
    assert torch.equal(program(X), expected)


@pytest.mark.parametrize("by", [0, 5, -5, 400])
def test_an_out_in_overlapping_memory(by):
    """Tensors over one NumPy array have storages of their own, and overlap all the same."""
    memory = np.empty(1000, "f4")
    for step in range(4):
        memory[:] = np.arange(1000)
        x, out = torch.from_numpy(memory[10:310]), torch.from_numpy(memory[10 + by :][:300])
        expected = by_hand(x.clone(), step)
        assert anydrop.dropout(x, 0.5, seed=0, step=step, out=out) is out
        assert torch.equal(out, expected)
