"""Recurrent modules that are converted: checkpoints, compilers, states, copies and transforms."""

import copy
import pickle

import numpy as np
import pytest
from subjects import available

import anydrop

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from converted import one_thread  # noqa: F401 - a fixture that all tests use
from recurrent import (
    IN,
    LAYERS,
    NAME,
    P,
    by_hand,
    converted,
    inputs,
    stock,
    tensors,
)
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.func import functional_call
from torch.nn.utils import parametrizations
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

import anydrop.torch
from anydrop.torch import convert
from anydrop.torch.conversion.recurrent import RECURRENT

SEED = pytest.mark.parametrize("seed", [7, None])
REENTRANT = pytest.mark.parametrize("reentrant", [False, True])


# Recomputes --------------------------------------------------------------------------------------


def run(call, module, forwards=2):
    """Return gradients of some forwards, which come before all backward passes."""
    torch.manual_seed(3)
    _, x, _ = inputs(module)
    ys = [call(module, x)[0] for _ in range(forwards)]
    for n, y in enumerate(ys):
        (y * (n + 1)).square().sum().backward()
    return [w.grad for w in module.parameters()]


@NAME
@SEED
@REENTRANT
def test_checkpoints(name, seed, reentrant):
    def call(module, x):
        return checkpoint(module, x, use_reentrant=reentrant)

    plain = run(lambda module, x: module(x), converted(name, seed))
    assert_close(run(call, converted(name, seed)), plain, rtol=0, atol=1e-12)


@SEED
def test_a_recompute_with_other_random_numbers_is_refused(seed):
    ours = converted(seed=seed)
    _, x, _ = inputs(ours)
    y, _ = checkpoint(ours, x, use_reentrant=False, preserve_rng_state=False)
    with pytest.raises(RuntimeError, match="none of this module's last 4096 forwards began"):
        y.sum().backward()


@SEED
@REENTRANT
def test_a_recompute_in_eval_mode_is_refused(seed, reentrant):
    ours = converted(seed=seed)
    _, x, _ = inputs(ours)
    y, _ = checkpoint(ours, x, use_reentrant=reentrant)
    ours.eval()
    with pytest.raises(RuntimeError, match=r"call eval\(\) after the backward pass"):
        y.sum().backward()


# Compilers ---------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self, recurrent):
        super().__init__()
        self.before = nn.Linear(IN, IN, dtype=torch.float64)
        self.recurrent = recurrent

    def forward(self, x):
        return self.recurrent(self.before(x).sin())[0].cos().sum()


def losses(call, net, forwards=4):
    torch.manual_seed(3)
    _, x, _ = inputs(net.recurrent)
    found = []
    for _ in range(forwards):
        loss = call(x)
        loss.backward()
        found.append(loss.detach())
    return found, [w.grad for w in net.parameters()]


def net(name, seed):
    recurrent = stock(name) if seed == "stock" else converted(name, seed)
    return Net(recurrent)


@NAME
@SEED
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled(name, seed, backend):
    """Dynamo leaves recurrent modules out, and so ours, which run as in an eager model."""
    counts = {}
    for each in ("stock", seed):
        torch.compiler.reset()
        model = net(name, each)
        counter = CompileCounterWithBackend(backend)
        got = losses(torch.compile(model, backend=counter), model)
        counts[each] = counter.frame_count
    eager = net(name, seed)
    assert_close(got, losses(eager, eager), rtol=0, atol=1e-12)
    assert counts[seed] == counts["stock"]


@NAME
@SEED
@torch._dynamo.config.patch(allow_rnn=True)
def test_compiled_whole(name, seed):
    torch.compiler.reset()
    model, eager = net(name, seed), net(name, seed)
    counter = CompileCounterWithBackend("aot_eager")
    got = losses(torch.compile(model, backend=counter, fullgraph=True), model)
    assert_close(got, losses(eager, eager), rtol=0, atol=1e-12)
    assert counter.frame_count == 1


@NAME
@SEED
@pytest.mark.filterwarnings("ignore:The tensor attributes self.recurrent._flat_weights")
def test_exported(name, seed):
    model, eager = net(name, seed), net(name, seed)
    _, x, _ = inputs(model.recurrent)
    program = torch.export.export(model, (x,)).module()
    torch.manual_seed(3)
    got = [program(x) for _ in range(3)]
    torch.manual_seed(3)
    assert_close(got, [eager(x) for _ in range(3)], rtol=0, atol=1e-12)


# State, copies and transforms --------------------------------------------------------------------


@SEED
def test_its_state_has_one_key_more(seed):
    theirs, ours = stock(), converted(seed=seed)
    more = ["anydrop.step"] if seed is not None else []
    assert list(ours.state_dict()) == [*theirs.state_dict(), *more]
    _, x, _ = inputs(ours)
    ours(x)
    other = converted(seed=seed)
    other.load_state_dict(ours.state_dict())
    assert other.anydrop.step == ours.anydrop.step
    theirs.load_state_dict(anydrop.torch.without_steps(ours.state_dict(), ours))


def test_copies_and_pickles():
    ours = converted()
    _, x, _ = inputs(ours)
    ours(x)
    pickled, copied = pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours)
    for other, seed in ((pickled, 7), (copied, copied.anydrop.seed)):
        assert type(other) is RECURRENT[nn.LSTM]

        def drop(x, gap, seed=seed):
            return anydrop.dropout(x, P, seed=seed, step=2 + gap)

        wanted = by_hand(other, x, None, drop)[0]
        assert_close(other(x)[0], wanted, rtol=0, atol=1e-12)
    y = ours(x)[0]
    assert not torch.allclose(copy.deepcopy(ours)(x)[0], y)


def test_without_a_seed_it_follows_pytorchs_generator():
    ours = converted(seed=None)
    _, x, _ = inputs(ours)
    ys = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        ys.append(ours(x)[0])
    assert torch.equal(ys[0], ys[1])
    assert not torch.allclose(ys[0], ys[2])
    assert not torch.allclose(ours(x)[0], ys[2])


def test_functional_calls():
    ours = converted()
    _, x, _ = inputs(ours)
    others = {name: w.detach() * 2 for name, w in ours.named_parameters()}

    def loss(weights):
        return functional_call(ours, weights, (x,))[0].sum()

    twice = converted()
    with torch.no_grad():
        for w in twice.parameters():
            w.mul_(2)
    wanted = twice(x)[0].sum()
    assert_close(loss(others), wanted, rtol=0, atol=1e-12)
    ours.anydrop.step = 0
    got = torch.func.grad(loss)(others)
    assert_close(list(got.values()), list(torch.autograd.grad(wanted, list(twice.parameters()))))


def test_a_weight_may_be_a_function_of_others():
    plain, ours = stock(), converted()
    parametrizations.weight_norm(ours, "weight_hh_l1")  # which leaves its value as it was
    _, x, _ = inputs(plain)
    y = ours(x)[0]
    wanted = by_hand(plain, x, None, lambda x, k: anydrop.dropout(x, P, seed=7, step=k))[0]
    assert_close(y, wanted, rtol=0, atol=1e-12)
    y.sum().backward()
    assert ours.parametrizations.weight_hh_l1.original0.grad.abs().sum() > 0


@NAME
def test_second_derivatives(name):
    ours = converted(name)

    def call(x):
        ours.anydrop.step = 0
        return ours(x)[0]

    x = torch.randn(2, 1, IN, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(call, (x,))


@NAME
@pytest.mark.parametrize("way", ["autocast", "module"])
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_bfloat16(name, way):
    """Within a few roundings it equals float32, and its dtypes are PyTorch's."""
    ours, theirs = converted(name, dtype=torch.float32), stock(name, dtype=torch.float32)
    _, x, _ = inputs(ours)
    exact = ours(x)[0]
    ours.anydrop.step = 0
    if way == "module":
        x, ours, theirs = x.bfloat16(), ours.bfloat16(), theirs.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast"):
        result, wanted = ours(x), theirs(x)
    assert [t.dtype for t in tensors(result)] == [t.dtype for t in tensors(wanted)]
    assert_close(result[0].float(), exact, rtol=0, atol=0.05)
    result[0].sum().backward()
    assert all(w.grad.dtype == w.dtype for w in ours.parameters())


def test_monte_carlo():
    ours = converted().eval()
    _, x, _ = inputs(ours)
    found = anydrop.monte_carlo(
        lambda x: ours(x)[0].detach(),
        x,
        samples=3,
        seed=1,
        layers=[ours.anydrop],
        return_samples=True,
    )
    seed = np.random.SeedSequence(1, spawn_key=(0,))
    for n, y in enumerate(found.outputs):

        def drop(x, gap, first=n * (LAYERS - 1)):
            return anydrop.dropout(x, P, seed=seed, step=first + gap)

        assert_close(y, by_hand(ours, x, None, drop)[0], rtol=0, atol=1e-12, check_stride=False)


def test_where_pytorch_calls_no_modes_it_refuses():
    ours = converted()
    _, x, _ = inputs(ours)
    message = "within torch._C.DisableTorchFunction this module would draw PyTorch's masks"
    with torch._C.DisableTorchFunction(), pytest.raises(RuntimeError, match=message):
        ours(x)
    assert ours.anydrop.step == 0


def test_other_modes_see_the_layers():
    calls = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            calls.append(func)
            return func(*args, **(kwargs or {}))

    ours = converted()
    _, x, _ = inputs(ours)
    with Watch():
        y = ours(x)[0]
    assert calls.count(torch.lstm) == LAYERS
    assert torch.equal(y, converted()(x)[0])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_its_own_mode_decides(kind):
    """And not the child's, which ``module.training = False`` does not reach."""
    torch.manual_seed(0)
    module = kind(4, 5, 3, dropout=0.5)
    x = torch.randn(6, 2, 4)
    expected = module.eval()(x)[0]
    convert(nn.Sequential(module.train()), seed=0)
    module.training = False
    assert torch.equal(module(x)[0], expected)
    assert module.anydrop.step == 0
