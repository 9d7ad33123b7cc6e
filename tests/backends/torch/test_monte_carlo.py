"""Monte Carlo of PyTorch's modules."""

import threading
import warnings

import numpy as np
import pytest
from numpy.random import SeedSequence
from subjects import available

import anydrop
from anydrop import monte_carlo
from anydrop.testing.reference import keep

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch

import anydrop.torch

# A network that holds their dropout is warned of: see `test_their_dropout_is_named`.
warned = pytest.mark.filterwarnings("ignore:predict leads to another library's dropout")


class Network(torch.nn.Module):
    """With dropout of both libraries, batch norm, and a train() that reaches its layers."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(6)
        self.theirs = torch.nn.Dropout(0.5)
        self.body = torch.nn.ModuleList([torch.nn.Linear(6, 6, dtype=torch.float32)])
        self.drops = [anydrop.Dropout(0.5, seed=0), anydrop.Dropout(0.25, seed=0)]

    def train(self, mode=True):
        for drop in self.drops:
            drop.train(mode)
        return super().train(mode)

    def forward(self, x):
        return self.drops[1](self.body[0](self.drops[0](self.theirs(self.norm(x)))))


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = Network()
    network.norm.running_mean += 0.5
    return network


X = torch.linspace(-1, 1, 24).reshape(4, 6)


def by_hand(network, samples, seed):
    """In NumPy, with the reference's masks."""
    norm, (linear,) = network.norm, network.body
    weight, bias = (p.detach().numpy().astype("f8") for p in linear.parameters())
    variance = norm.running_var.numpy().astype("f8") + norm.eps
    normal = (X.numpy() - norm.running_mean.numpy()) / variance**0.5
    children = SeedSequence(seed).spawn(2)
    for step in range(samples):
        first, second = (
            keep((4, 6), p, seed=child, step=step) / (1 - p)
            for p, child in zip((0.5, 0.25), children, strict=True)
        )
        yield ((first * normal) @ weight.T + bias) * second


@warned
@pytest.mark.parametrize("mode", [True, False])
def test_only_our_layers_drop(network, mode):
    network.train(mode)
    network.theirs.train(not mode)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    result = monte_carlo(network, X, samples=6, seed=3)
    expected = np.stack(list(by_hand(network, 6, 3)))
    np.testing.assert_allclose(result.mean.numpy(), expected.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(result.std.numpy(), expected.std(0), rtol=1e-4, atol=1e-6)
    assert [m.training for m in network.modules()] == [mode, mode, not mode, mode, mode]
    assert [drop.training for drop in network.drops] == [mode, mode]
    assert [drop.step for drop in network.drops] == [0, 0]
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@warned
def test_no_graph_is_kept(network):
    result = monte_carlo(network, X, samples=3, seed=0, outputs="logits", return_samples=True)
    for value in (*result[:4], result.outputs):
        assert value.grad_fn is None
        assert not value.requires_grad
    with torch.no_grad():
        alike = monte_carlo(network, X, samples=3, seed=0, outputs="logits")
    assert all(torch.equal(a, b) for a, b in zip(result[:4], alike[:4], strict=True))


def test_their_dropout_is_named(network):
    """Once for all of a kind, with the line that called; not where it drops nothing."""
    network.more = torch.nn.Sequential(torch.nn.Dropout(0.1), torch.nn.Dropout1d(0.2))
    with pytest.warns(UserWarning, match="another library's dropout") as caught:
        monte_carlo(network, X, samples=2, seed=0)
    (warning,) = caught
    assert str(warning.message) == (
        "predict leads to another library's dropout (torch.nn.modules.dropout.Dropout, "
        "torch.nn.modules.dropout.Dropout1d), which monte_carlo doesn't switch on: "
        "call anydrop.torch.convert(model), which replaces it"
    )
    assert warning.filename == __file__
    for module in network.modules():
        if hasattr(module, "p"):
            module.p = 0.0
    monte_carlo(network, X, samples=2, seed=0)


def test_their_dropout_alone_is_none():
    model = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Dropout(0.5))
    with pytest.raises(ValueError, match="predict leads to no dropout layer of anydrop") as error:
        monte_carlo(model, X, samples=3, seed=0)
    assert "call anydrop.torch.convert(model), which replaces it" in str(error.value)
    assert model[1].training


@pytest.mark.parametrize("dropout", [0.5, 1, 0.0])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "MultiheadAttention"])
def test_dropout_within_their_modules_is_named(network, kind, dropout):
    """Until it is converted."""
    network.theirs.p = 0.0
    sizes = (6, 2) if kind == "MultiheadAttention" else (6, 6, 2)
    network.inside = getattr(torch.nn, kind)(*sizes, dropout=dropout)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        monte_carlo(network, X, samples=2, seed=0)
    named = [str(w.message) for w in caught if "another library's dropout" in str(w.message)]
    assert len(named) == (dropout > 0)
    assert all(kind in message for message in named)
    anydrop.torch.convert(network)
    monte_carlo(network, X, samples=2, seed=0)


def test_dropout_between_the_layers_of_one_layer_is_none(network):
    network.theirs.p = 0.0
    with pytest.warns(UserWarning, match="num_layers"):
        network.inside = torch.nn.LSTM(6, 6, 1, dropout=0.5)
    monte_carlo(network, X, samples=2, seed=0)


@warned
def test_training_false_is_named(network):
    """The way of a module that hands its own mode to its layers."""

    def predict(x):
        return network.drops[0](x, training=network.norm.training)

    with pytest.raises(ValueError, match="Call them without training="):
        monte_carlo(predict, X, samples=3, seed=0)


@pytest.mark.parametrize("step", [7, torch.tensor(7)], ids=["int", "tensor"])
def test_a_step_stays_what_it_is(step):
    """Samples begin at 0, ints or tensors, and the layer's own is the object that it was."""
    drop, steps = anydrop.Dropout(0.5, seed=0), []
    drop.step = step
    own = drop.step

    def predict(x):
        steps.append(drop.step)
        return drop(x)

    monte_carlo(predict, X, samples=3, seed=3)
    assert [type(one) for one in steps] == [type(step)] * 3
    assert [int(one) for one in steps] == [0, 1, 2]
    assert drop.step is own
    assert int(own) == 7


@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("samples", [6, 40])
def test_a_compiled_module(network, samples):
    """Compiled once for all samples, if the layers' steps are tensors: so they stay."""
    torch._dynamo.reset()
    anydrop.resolve(X)  # of which the registry learns but once
    compiled = []

    def backend(graph, inputs):
        compiled.append(1)
        return graph.forward

    for drop in network.drops:
        drop.step = torch.tensor(5)
    program = torch.compile(network, backend=backend)
    with torch.no_grad():
        result = monte_carlo(program, X, samples=samples, seed=3)
    expected = np.mean(list(by_hand(network, samples, 3)), axis=0)
    np.testing.assert_allclose(result.mean.numpy(), expected, rtol=1e-4, atol=1e-6)
    assert len(compiled) == 1
    assert [int(drop.step) for drop in network.drops] == [5, 5]


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_a_program_without_a_break(network):
    """To 1e-15 of the program that is not compiled, and nothing of the run is left in it."""
    torch._dynamo.reset()
    anydrop.resolve(X)  # of which the registry learns but once
    x = X.double()
    network.double().eval()
    program = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        plain = program(x)
        eager = monte_carlo(network, x, samples=6, seed=3)
        result = monte_carlo(program, x, samples=6, seed=3)
        torch.testing.assert_close(program(x), plain, rtol=0, atol=0)
    for got, expected in zip(result[:2], eager[:2], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-15, atol=1e-15)
    assert eager.std.any()


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_a_compiled_layer_that_was_not_found():
    """In the thread of a run it is refused, and in another it is compiled as ever."""
    torch._dynamo.reset()
    anydrop.resolve(X)
    drop, layer, seen = anydrop.Dropout(0.5, seed=0), anydrop.Dropout(0.5, seed=7), []
    program = torch.compile(lambda x: layer(x), backend="eager", fullgraph=True)
    hidden = iter([program, lambda x: seen.append(program(x))])  # where nobody looks

    with pytest.raises(RuntimeError, match="monte_carlo did not find Dropout"):
        monte_carlo(lambda x: next(hidden)(drop(x)), X, samples=1, seed=0)
    assert layer.step == 0

    def predict(x):
        thread = threading.Thread(target=next(hidden), args=(x,))
        thread.start()
        thread.join()
        return drop(x)

    monte_carlo(predict, X, samples=1, seed=0)
    seen.append(program(X))
    for step, y in enumerate(seen):
        assert np.array_equal(y.numpy() != 0, keep(X.shape, 0.5, seed=7, step=step))
    assert layer.step == len(seen) == 2


@warned
def test_same_masks(network):
    x = X[:1].repeat(5, 1)
    result = monte_carlo(network.eval(), x, samples=3, seed=0, same_masks=True)
    assert result.std.any()
    torch.testing.assert_close(result.mean, result.mean[:1].repeat(5, 1))
