"""Masks between the layers of PyTorch's recurrent modules, against networks written by hand."""

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
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.func import functional_call
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

import anydrop.torch
from anydrop.torch.conversion.recurrent import RECURRENT

IN, HIDDEN, LAYERS, P = 4, 6, 3, 0.4
LENGTHS = torch.tensor([2, 5, 3])
SEED = pytest.mark.parametrize("seed", [7, None])
REENTRANT = pytest.mark.parametrize("reentrant", [False, True])

MODULES = {
    "LSTM": (nn.LSTM, {}),
    "LSTM-proj": (nn.LSTM, {"proj_size": 3}),
    "GRU": (nn.GRU, {}),
    "RNN-tanh": (nn.RNN, {}),
    "RNN-relu": (nn.RNN, {"nonlinearity": "relu"}),
}
OPTIONS = {
    "plain": {},
    "bidirectional": {"bidirectional": True},
    "batch_first": {"batch_first": True},
    "without-bias": {"bias": False},
    "all": {"bidirectional": True, "batch_first": True, "bias": False},
}
FORMS = ["batch", "unbatched", "packed", "packed-unsorted"]
NAME = pytest.mark.parametrize("name", MODULES)


@pytest.fixture(autouse=True)
def _one_thread():
    """Small matrices take several threads longer, where other processes have the processors."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def become(module, seed=7):
    """Do what `convert` does to a module."""
    module.__class__ = RECURRENT[type(module)]
    module.anydrop = anydrop.torch.Dropout(module.dropout, seed=seed)
    return module


def stock(name="LSTM", layers=LAYERS, dtype=torch.float64, dropout=P, **options):
    cls, own = MODULES[name]
    torch.manual_seed(0)
    return cls(IN, HIDDEN, layers, dropout=dropout, dtype=dtype, **own, **options)


def converted(name="LSTM", seed=7, **options):
    return become(stock(name, **options), seed)


def inputs(module, form="batch", with_state=True):
    """Return an input of one of the `FORMS`, and a state or None, that both require gradients."""
    torch.manual_seed(1)
    dtype = module.weight_ih_l0.dtype
    shape = (3, 5, IN) if module.batch_first else (5, 3, IN)
    x = torch.randn(shape, dtype=dtype)
    if form == "unbatched":
        x = torch.randn(5, IN, dtype=dtype)
    if form.startswith("packed"):
        lengths = LENGTHS if form == "packed-unsorted" else LENGTHS.sort(descending=True)[0]
        x = pack_padded_sequence(x, lengths, module.batch_first, form != "packed-unsorted")
    leaf = tensors(x)[0].requires_grad_()
    if not with_state:
        return leaf, x, None
    rows = module.num_layers * (1 + module.bidirectional)
    batch = () if form == "unbatched" else (3,)
    sizes = [module.proj_size or HIDDEN, HIDDEN][: 2 if isinstance(module, nn.LSTM) else 1]
    state = [torch.randn(rows, *batch, n, dtype=dtype).requires_grad_() for n in sizes]
    return leaf, x, tuple(state) if len(state) == 2 else state[0]


def tensors(result):
    """Return the tensors of an output, of a state or of both."""
    if isinstance(result, PackedSequence | torch.Tensor):
        return [result.data if isinstance(result, PackedSequence) else result]
    return [t for part in result for t in tensors(part)]


def gradients(module, leaf, state, result):
    # Weights that differ from one another make sure that nothing has changed places.
    loss = sum((t * torch.arange(t.numel()).view(t.shape).cos()).sum() for t in tensors(result))
    leaves = [leaf, *(tensors(state) if state is not None else [])]
    return torch.autograd.grad(loss, [*leaves, *module.parameters()])


def by_hand(module, x, state, drop):
    """Return what modules of one layer return, one after another, with `drop` in between."""
    directions = 1 + module.bidirectional
    ends = []
    for k in range(module.num_layers):
        options = {"nonlinearity": module.nonlinearity} if isinstance(module, nn.RNN) else {}
        layer = next(cls for cls in RECURRENT if isinstance(module, cls))(
            x.data.shape[-1],
            HIDDEN,
            bias=module.bias,
            batch_first=module.batch_first,
            bidirectional=module.bidirectional,
            dtype=module.weight_ih_l0.dtype,
            **options,
            **({"proj_size": module.proj_size} if isinstance(module, nn.LSTM) else {}),
        )
        own = {n: getattr(module, n.replace("_l0", f"_l{k}")) for n, _ in layer.named_parameters()}
        rows = slice(k * directions, (k + 1) * directions)
        start = None
        if state is not None:
            start = tuple(s[rows] for s in tensors(state))
            start = start if len(start) == 2 else start[0]
        x, end = functional_call(layer, own, (x, start))
        ends.append(tensors(end))
        if k < module.num_layers - 1:
            x = x._replace(data=drop(x.data, k)) if isinstance(x, PackedSequence) else drop(x, k)
    return x, tuple(torch.cat(parts) for parts in zip(*ends, strict=True))


@NAME
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("with_state", [True, False], ids=["state", "no-state"])
def test_it_equals_layers_by_hand(name, options, form, with_state):
    ours = converted(name, **options)
    for forward in range(2):

        def drop(x, gap, first=forward * (LAYERS - 1)):
            return anydrop.dropout(x, P, seed=7, step=first + gap)

        leaf, x, state = inputs(ours, form, with_state)
        result, expected = ours(x, state), by_hand(ours, x, state, drop)
        assert_close(tensors(result), tensors(expected), rtol=0, atol=1e-12)
        assert_close(
            gradients(ours, leaf, state, result),
            gradients(ours, leaf, state, expected),
            rtol=0,
            atol=1e-10,
        )
    assert ours.anydrop.step == 2 * (LAYERS - 1)


@NAME
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("with_state", [True, False], ids=["state", "no-state"])
def test_with_nothing_dropped_it_equals_pytorch(name, options, form, with_state):
    theirs = stock(name, **options, dropout=0.0)
    ours = converted(name, **options)
    ours.anydrop.forward = lambda x: x
    leaf, x, state = inputs(ours, form, with_state)
    (y, end), (wanted, wanted_end) = ours(x, state), theirs(x, state)
    assert type(y) is type(wanted)
    assert type(end) is type(wanted_end)
    assert_close(tensors((y, end)), tensors((wanted, wanted_end)), rtol=0, atol=1e-12)
    if isinstance(y, PackedSequence):
        for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
            assert getattr(y, name) is getattr(x, name)
    assert_close(
        gradients(ours, leaf, state, (y, end)),
        gradients(theirs, leaf, state, (wanted, wanted_end)),
        rtol=0,
        atol=1e-12,
    )


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_direction(x, w_ih, w_hh, b_ih, b_hh):
    """Run an LSTM of one layer and direction over a sequence of batches."""
    h = c = np.zeros((x.shape[1], HIDDEN))
    ys = []
    for step in x:
        i, f, g, o = np.split(step @ w_ih.T + b_ih + h @ w_hh.T + b_hh, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        ys.append(h)
    return np.stack(ys)


def test_an_lstm_equals_numpy():
    ours = converted(bidirectional=True)
    weights = [w.detach().numpy() for w in ours.parameters()]
    _, x, _ = inputs(ours)
    for forward in range(2):
        y = x.detach().numpy()
        for k in range(LAYERS):
            forth, back = (weights[8 * k + 4 * d : 8 * k + 4 * d + 4] for d in range(2))
            sides = numpy_direction(y, *forth), numpy_direction(y[::-1], *back)[::-1]
            y = np.concatenate(sides, axis=-1)
            if k < LAYERS - 1:
                y = anydrop.dropout(y, P, seed=7, step=forward * (LAYERS - 1) + k)
        np.testing.assert_allclose(ours(x)[0].detach().numpy(), y, rtol=0, atol=1e-10)


@NAME
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("why", ["eval", "dropout-0", "one-layer"])
@pytest.mark.filterwarnings("ignore:dropout option adds dropout after all but last")
def test_what_drops_nothing_is_pytorchs(name, dtype, why):
    options = {"dropout": 0.0} if why == "dropout-0" else {}
    theirs = stock(name, 1 if why == "one-layer" else LAYERS, dtype, **options)
    ours = become(copy.deepcopy(theirs))
    if why == "eval":
        theirs.eval(), ours.eval()
    _, x, state = inputs(ours)
    for result, wanted in zip(tensors(ours(x, state)), tensors(theirs(x, state)), strict=True):
        assert torch.equal(result, wanted)
    assert ours.anydrop.step == 0


def test_its_dropout_may_be_set():
    ours = converted()
    _, x, _ = inputs(ours)
    ours.dropout = 0.8
    wanted = by_hand(ours, x, None, lambda x, k: anydrop.dropout(x, 0.8, seed=7, step=k))
    assert_close(ours(x)[0], wanted[0], rtol=0, atol=1e-12)
    assert ours.anydrop.p == 0.8
    ours.dropout = 1
    assert torch.equal(ours(x)[0], by_hand(ours, x, None, lambda x, k: 0 * x)[0])
    ours.dropout = 1.5
    with pytest.raises(ValueError, match=r"^p must satisfy 0 <= p <= 1, got 1.5$"):
        ours(x)
    ours.dropout = "half"
    with pytest.raises(TypeError, match="received an invalid combination of arguments"):
        ours(x)


def wrong(dtype=torch.float64, **shapes):
    """Return arguments of a call: an input and a state."""
    made = {name: torch.zeros(shape, dtype=dtype) for name, shape in shapes.items()}
    return made["x"], (made["h"], made["h"]) if "h" in made else None


WRONG = {
    "axes": wrong(x=(5, 3, IN, 1)),
    "features": wrong(x=(5, 3, IN + 1)),
    "dtype": wrong(torch.float32, x=(5, 3, IN)),
    "state": wrong(x=(5, 3, IN), h=(LAYERS, 2, HIDDEN)),
    "layers-of-state": wrong(x=(5, 3, IN), h=(1, 3, HIDDEN)),
    "axes-of-state": wrong(x=(5, 3, IN), h=(LAYERS, HIDDEN)),
    "axes-of-unbatched-state": wrong(x=(5, IN), h=(LAYERS, 1, HIDDEN)),
    "length": wrong(x=(0, 3, IN)),
    "no-tensor": (np.zeros((5, 3, IN)), None),
}


@NAME
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_errors_are_pytorchs(name, mode, arguments):
    theirs, ours = stock(name).train(mode == "train"), converted(name).train(mode == "train")
    x, state = arguments
    if state is not None and not isinstance(theirs, nn.LSTM):
        state = state[0]
    with pytest.raises((TypeError, ValueError, RuntimeError, AttributeError)) as wanted:
        theirs(x, state)
    with pytest.raises(type(wanted.value)) as got:
        ours(x, state)
    assert str(got.value) == str(wanted.value)
    assert ours.anydrop.step == 0


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
    message = "within torch._C.DisableTorchFunction this module would draw PyTorch's own masks"
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
