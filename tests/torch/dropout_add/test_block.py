"""`DropoutAdd` at the end of a sublayer: what the lines that it stands for give, everywhere."""

import copy

import pytest
from subjects import available

import anydrop

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint

import anydrop.torch

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),  # torch's own calls
    pytest.mark.filterwarnings("ignore:.torch._prims_common.check:FutureWarning"),
]
X = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    """Two sublayers of a pre-norm transformer."""

    def __init__(self, last, seed=None):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(2))
        self.layers = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in range(2))
        self.biases = nn.ParameterList(torch.linspace(-1, 1, 8) for _ in range(2))
        self.last = nn.ModuleList(last(0.3) for _ in range(2))
        if seed is not None:
            anydrop.seed_layers(self, seed)


class ByHand(Block):
    def __init__(self, seed=None):
        super().__init__(anydrop.torch.Dropout, seed)

    def forward(self, x):
        for norm, layer, bias, drop in zip(
            self.norms, self.layers, self.biases, self.last, strict=True
        ):
            x = x + drop(layer(norm(x)) + bias)
        return x


class Fused(Block):
    def __init__(self, seed=None):
        super().__init__(anydrop.torch.DropoutAdd, seed)

    def forward(self, x):
        for norm, layer, bias, add in zip(
            self.norms, self.layers, self.biases, self.last, strict=True
        ):
            x = add(layer(norm(x)), x, bias)
        return x


def pair(seed):
    """Return a block by hand, and a fused one of the same weights."""
    by_hand, fused = ByHand(seed), Fused(seed)
    fused.load_state_dict(by_hand.state_dict())
    return by_hand, fused


def trained(run, model, x=X, seed=5):
    """Return the result of a model, and the gradients of its input and its parameters."""
    torch.manual_seed(seed)
    x = x.clone().requires_grad_()
    y = run(x)
    y.sin().sum().backward()
    found = [y.detach(), x.grad, *(p.grad for p in model.parameters())]
    model.zero_grad()
    return found


def close(ours, theirs):
    """Tell whether results are equal, but for the order in which PyTorch sums a bias's gradient."""
    assert torch.equal(ours[0], theirs[0])
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", [7, None])
def test_it_gives_what_the_lines_give(seed):
    by_hand, fused = pair(seed)
    for _ in range(3):
        close(trained(fused, fused), trained(by_hand, by_hand))
    for model in (by_hand, fused):
        model.eval()
    close(trained(fused, fused), trained(by_hand, by_hand))
    assert torch.equal(fused(X), by_hand(X))


@pytest.mark.parametrize("seed", [7, None])
@pytest.mark.parametrize("use_reentrant", [True, False])
def test_in_a_checkpoint(use_reentrant, seed):
    _, one = pair(seed)
    other = copy.deepcopy(one, {anydrop.torch.module.UNCOUNTED: True})
    kept = trained(one, one)
    again = trained(lambda x: checkpoint(other, x, use_reentrant=use_reentrant), other)
    assert all(map(torch.equal, kept, again))


@pytest.mark.parametrize("seed", [7, None])
def test_compiled(seed):
    torch.compiler.reset()
    _, one = pair(seed)
    other = copy.deepcopy(one, {anydrop.torch.module.UNCOUNTED: True})
    counter = CompileCounterWithBackend("aot_eager")
    program = torch.compile(other, fullgraph=True, backend=counter)
    for _ in range(3):
        assert all(map(torch.equal, trained(one, one), trained(program, other)))
    assert counter.frame_count == 1


def test_under_autocast():
    """The stream of residuals stays float32, and so do its bits where nothing is rounded twice."""
    _, model = pair(7)
    twin = copy.deepcopy(model, {anydrop.torch.module.UNCOUNTED: True})
    with torch.autocast("cpu", torch.bfloat16):
        y = model(X)
        x = X
        for i, add in enumerate(twin.last):
            hidden = twin.layers[i](twin.norms[i](x))
            assert hidden.dtype == torch.bfloat16
            dropped = anydrop.dropout(hidden.float() + twin.biases[i], 0.3, seed=add.seed, step=0)
            x = x + dropped
    assert y.dtype == torch.float32
    assert torch.equal(y, x)
    y.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


def test_monte_carlo():
    _, model = pair(7)
    samples = [anydrop.monte_carlo(model, X, samples=4, seed=1).mean for _ in range(2)]
    assert torch.equal(*samples)
    assert not torch.equal(samples[0], model.eval()(X))
    assert [add.step for add in model.last] == [0, 0]


def test_traced_by_fx():
    _, model = pair(7)
    traced = torch.fx.symbolic_trace(model)
    names = {node.target for node in traced.graph.nodes if node.op == "call_module"}
    assert {"last.0", "last.1"} <= names
    y = model(X)
    for add in model.last:
        add.step = 0
    assert torch.equal(traced(X), y)


def test_a_second_input_that_does_not_fit_spends_no_step():
    add = anydrop.torch.DropoutAdd(0.5, seed=0)
    for residual, bias, message in (
        (X[0], None, "residual must have the shape of x"),
        (X.double(), None, "residual must have the dtype of x"),
        (X, X[0, 0].half(), "bias must have the dtype of x"),
        (X, torch.ones(7), "bias must broadcast to the shape of x"),
        ([1.0], None, "residual must be of the library of x, torch, got list"),
    ):
        with pytest.raises(ValueError, match=message):
            add(X, residual, bias)
    assert add.step == 0
