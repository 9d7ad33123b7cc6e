"""Conversions in several calls, of several kinds of dropout at once, and in several ways to run."""

import random
from functools import partial

import pytest
from subjects import available

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from converted import Calling, Model, described
from ranks import WAYS, TwoRanks, close, rows
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.parallel import DistributedDataParallel

import anydrop
from anydrop import monte_carlo
from anydrop.torch import Place, convert, remaining, revert, steps
from anydrop.torch.conversion.bytecode import is_torchs

X = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))


def second(name, module):
    return name.startswith("1")


def first(name, module):
    return not second(name, module)


def two_models():
    torch.manual_seed(0)
    return nn.Sequential(Model(), Model())


def drawn(model, times=2):
    return [model(X) for _ in range(times)]


# In two calls ------------------------------------------------------------------------------------


@pytest.mark.parametrize("functional", [False, True])
def test_two_calls_convert_what_one_does(functional):
    model, other = two_models(), two_models()
    options = {"seed": 3, "functional": functional}
    names = {
        place.name
        for where in (first, second)
        for place in convert(model, where=where, **options).converted
    }
    assert names == {place.name for place in convert(other, **options).converted}
    torch.manual_seed(1)
    expected = drawn(other)
    torch.manual_seed(1)
    assert all(map(torch.equal, drawn(model), expected))


def test_functions_are_reached_by_a_second_call():
    model, other = two_models(), two_models()
    convert(model, seed=3)
    table = convert(model, seed=3, functional=True)
    names = {place.name for place in table.converted}
    assert {"0.calling.anydrop", "1.calling.anydrop"} <= names
    convert(other, seed=3, functional=True)
    assert all(map(torch.equal, drawn(model), drawn(other)))
    revert(model)
    assert described(model) == described(two_models())


def test_what_two_calls_leave_draws_pytorchs_masks():
    """A module around it was converted by the first call."""

    class Around(Calling):
        def forward(self, x):
            return super().forward(self.linear(x))

    model = Around()
    model.linear = Calling()
    convert(model, seed=3, functional=True, where=lambda name, module: not name)
    assert [place[::4] for place in convert(model, seed=3)] == [
        ("linear", "a function: functional=True reaches it"),
        ("anydrop", "it is anydrop's already"),
    ]
    model(X)
    assert model.anydrop.step == 1


def test_a_refused_second_call_changes_nothing():
    model = two_models()
    convert(model, seed=3, functional=True, where=first)
    model[1].attention.anydrop = nn.Identity()
    before = described(model)
    with pytest.raises(ValueError, match="has an attribute 'anydrop'"):
        convert(model, seed=3, functional=True)
    assert described(model) == before


# What is left ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "shape", "function"),
    [
        (nn.RReLU(), (4,), "rrelu"),
        (nn.FractionalMaxPool2d(2, 3), (1, 6, 6), "fractional_max_pool2d"),
        (nn.FractionalMaxPool3d(2, 3), (1, 6, 6, 6), "fractional_max_pool3d"),
    ],
)
def test_pytorchs_other_random_modules_are_left(module, shape, function):
    model = nn.Sequential(nn.Identity(), module)
    why = "a random function that convert does not replace"
    table = convert(model, functional=True)
    assert table == (Place("1", function, function, None, why),)
    assert [call.module for call in remaining(model, -torch.ones(shape))] == ["1"]


# Classes of other packages -----------------------------------------------------------------------


class StableDropout(nn.Module):
    """As older models of DeBERTa have it."""

    def __init__(self, drop_prob):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        return torch.dropout(x, self.drop_prob, self.training)


def test_stable_dropout():
    model = nn.Sequential(StableDropout(0.25))
    before = described(model)
    assert convert(model, seed=0) == (Place("0", "StableDropout", "StableDropout", 0.25),)
    expected = anydrop.dropout(X, 0.25, seed=model[0].seed, step=0)
    assert torch.equal(model(X), expected)
    model[0].drop_prob = 0.5
    assert torch.equal(model(X), anydrop.dropout(X, 0.5, seed=model[0].seed, step=1))
    assert torch.equal(model.eval()(X), X)
    revert(model)
    assert described(model) == before


# In monte_carlo ----------------------------------------------------------------------------------


class Padded(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.drop = nn.Dropout(0.5)
        layer = nn.TransformerEncoderLayer(8, 2, 16, 0.2, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, x):
        padding = torch.tensor([[False] * 3, [False, False, True]])
        return self.drop(self.encoder(x, src_key_padding_mask=padding))


def test_monte_carlo_of_an_encoder_draws_all_masks_without_gradients():
    """PyTorch's fast path for that has no dropout."""
    model, x = Padded().eval(), torch.randn(2, 3, 8)
    convert(model, seed=0)
    expected = monte_carlo(model, x, samples=3, seed=1, return_samples=True)
    with torch.no_grad():
        result = monte_carlo(model, x, samples=3, seed=1, return_samples=True)
        assert torch.allclose(result.outputs, expected.outputs.detach(), atol=1e-6)
        assert torch.backends.mha.get_fastpath_enabled()


# In steps ----------------------------------------------------------------------------------------


class Twice(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(nn.functional.dropout(x, 0.5, self.training), 0.5)


@pytest.mark.parametrize("make", [Twice, partial(nn.LSTM, 16, 16, 3, dropout=0.5)])
def test_the_way_out_of_a_second_call_in_steps(make):
    """A child draws several masks of one forward, and nobody can pass a step to its calls."""
    model = nn.Sequential(make())
    (place,) = convert(model, seed=0, functional=True)
    child = model.get_submodule(place.name)
    for _ in range(3):
        start, expected = child.step, model(X)
    way_out = r"set the step of the next call, model\.get_submodule\(name\)\.step = t"
    with pytest.raises(RuntimeError, match=way_out), steps(model, start):
        model(X)
    child.step = start
    result = model(X)
    for a, b in zip(result, expected, strict=True):
        assert all(map(torch.equal, a, b))


# In wrappers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapper", [checkpoint_wrapper, nn.DataParallel])
def test_a_wrapper_is_no_place(wrapper):
    model, other = Calling(), Calling()
    table = convert(wrapper(model), seed=0, functional=True)
    assert table == convert(other, seed=0, functional=True)
    other.load_state_dict(model.state_dict())
    assert torch.equal(wrapper(model)(X), other(X))
    assert is_torchs(DistributedDataParallel)


# Random architectures ----------------------------------------------------------------------------


class First(nn.Module):
    """Returns the first output of a module that is called on one input, or on three alike."""

    def __init__(self, inner, times=1):
        super().__init__()
        self.inner, self.times = inner, times

    def forward(self, x):
        return self.inner(*[x] * self.times)[0]


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + nn.functional.dropout(self.inner(x), 0.2, self.training)


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


class OwnLSTM(nn.LSTM):
    pass


PARTS = (
    lambda: nn.Linear(16, 16),
    lambda: nn.Dropout(0.2),
    lambda: nn.AlphaDropout(0.2),
    lambda: nn.TransformerEncoderLayer(16, 2, 16, 0.1),
    lambda: First(nn.MultiheadAttention(16, 2, dropout=0.2), 3),
    lambda: First(nn.LSTM(16, 16, 3, dropout=0.3)),
    lambda: First(nn.GRU(16, 16)),
    Calling,
    lambda: nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Dropout(0.3)),
)
NOT_REACHED = (Noise, nn.RReLU, lambda: First(OwnLSTM(16, 16, 2, dropout=0.3)))


def architecture(seed):
    torch.manual_seed(seed)
    chance = random.Random(seed)
    parts = PARTS + NOT_REACHED if seed % 2 else PARTS

    def part():
        made = chance.choice(parts)()
        return Residual(made) if chance.random() < 0.3 else made

    return nn.Sequential(*(part() for _ in range(chance.randint(1, 5))))


@pytest.mark.parametrize("seed", range(20))
def test_random_architectures(seed):
    model, untouched, x = architecture(seed), architecture(seed), torch.randn(2, 3, 16)
    table = convert(model, functional=True, seed=1)
    # What is left draws, and nothing else does.
    found = remaining(model, x)
    assert {call.module for call in found} == {place.name for place in table.left}
    model(x)
    for place in table.converted:
        child = model.get_submodule(place.name)
        assert child.place == place.name
        assert child.step or place.was == "other functions"
    revert(model)
    assert described(model) == described(untouched)
    assert model.state_dict().keys() == untouched.state_dict().keys()
    torch.manual_seed(2)
    expected = untouched(x)
    torch.manual_seed(2)
    assert torch.equal(model(x), expected)


# In two processes --------------------------------------------------------------------------------

two_ranks = TwoRanks(__file__)


class InCheckpoints(nn.Module):
    def __init__(self, way=WAYS[0]):
        super().__init__()
        torch.manual_seed(0)
        self.recurrent = First(nn.LSTM(8, 8, 3, dropout=0.3))
        self.attention = Residual(First(nn.MultiheadAttention(8, 2, dropout=0.2), 3))
        self.way = way

    def forward(self, x):
        return self.way(lambda x: self.attention(self.recurrent(x)), x)


@pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this PyTorch was built without distributed"
)
@two_ranks
def test_a_converted_model_in_ddp_draws_each_ranks_masks(rank):
    """The gradients are the mean of those of two models, each with the masks of one rank."""
    both = InCheckpoints(), InCheckpoints()
    for r, model in enumerate(both):
        convert(model, seed=3, functional=True, per_rank=r)
        model(rows(r)).square().mean().backward()
    mean = [(a.grad + b.grad) / 2 for a, b in zip(*(m.parameters() for m in both), strict=True)]
    for way in WAYS:
        for wrapped_first in (False, True):
            model = InCheckpoints(way)
            parallel = DistributedDataParallel(model) if wrapped_first else model
            convert(parallel, seed=3, functional=True, per_rank=True)
            parallel = parallel if wrapped_first else DistributedDataParallel(model)
            parallel(rows(rank).requires_grad_()).square().mean().backward()
            assert close([p.grad for p in model.parameters()], mean)
            assert model.recurrent.inner.anydrop.step == 2
