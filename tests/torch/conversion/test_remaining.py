"""What `remaining` finds: each operator that is planted in a model, by its name and its line."""

import random
import re

import numpy as np
import pytest
from subjects import available

import anydrop

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )
import torch
from ranks import TwoRanks
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch_modules import CASES

import anydrop.torch
from anydrop.torch.conversion.random_calls import ANYDROP, CONVERSION
from anydrop.torch.conversion.remaining import remaining

X = torch.arange(1.0, 25).reshape(2, 3, 4) / 25
Q = X.unsqueeze(1)


class Planted(nn.Module):
    """Calls a function in its forward."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs, **keywords):
        return self.function(*inputs, **keywords)


class Given(nn.Module):
    """Gives a part of it to a function in its forward."""

    def __init__(self, part, function):
        super().__init__()
        self.part, self.function = part, function

    def forward(self, x):
        return self.function(self.part, x)


def found_in(function, *inputs):
    """Return what is found of a function in a part of a model, and check all that is told of it."""
    model = nn.Sequential(nn.Sequential(Planted(function)))
    found = remaining(model, *(inputs or (X,)))
    for call in found:
        assert call[1:5] == ("0.0", "Planted", __file__, function.__code__.co_firstlineno), call
    return {call.operator: call.times for call in found}


# PyTorch's operators ------------------------------------------------------------------------------

G = torch.Generator()
PLANTED = {
    "dropout": (lambda x: functional.dropout(x, 0.5), "aten::bernoulli_"),
    "dropout in place": (lambda x: functional.dropout(x, 0.5, inplace=True), "aten::bernoulli_"),
    "dropout1d": (lambda x: functional.dropout1d(x, 0.5), "aten::bernoulli_"),
    "alpha_dropout": (lambda x: functional.alpha_dropout(x, 0.5, True), "aten::bernoulli_"),
    "feature_alpha": (lambda x: functional.feature_alpha_dropout(x, 0.5, True), "aten::bernoulli_"),
    "native_dropout": (lambda x: torch.native_dropout(x, 0.5, True), "aten::native_dropout"),
    "sdpa": (
        lambda x: functional.scaled_dot_product_attention(Q, Q, Q, None, 0.5),
        "aten::bernoulli_",
    ),
    "rrelu": (lambda x: functional.rrelu(-x, training=True), "aten::rrelu_with_noise"),
    "bernoulli_": (lambda x: x.new_empty(3).bernoulli_(0.5), "aten::bernoulli_"),
    "bernoulli": (lambda x: torch.bernoulli(x.clamp(0, 1)), "aten::bernoulli"),
    "uniform_": (lambda x: x.new_empty(3).uniform_(), "aten::uniform_"),
    "normal_": (lambda x: x.new_empty(3).normal_(), "aten::normal_"),
    "normal": (lambda x: torch.normal(x, 1.0), "aten::normal"),
    "random_": (lambda x: x.new_empty(3).random_(9), "aten::random_"),
    "rand": (lambda x: torch.rand(3), "aten::rand"),
    "rand_like": (lambda x: torch.rand_like(x), "aten::rand_like"),
    "randn": (lambda x: torch.randn(3), "aten::randn"),
    "randint": (lambda x: torch.randint(9, (3,)), "aten::randint"),
    "randperm": (lambda x: torch.randperm(9), "aten::randperm"),
    "multinomial": (lambda x: torch.multinomial(x[0, 0], 1), "aten::multinomial"),
    "poisson": (lambda x: torch.poisson(x), "aten::poisson"),
    "gumbel": (lambda x: functional.gumbel_softmax(x), "aten::exponential_"),
    "distribution": (lambda x: torch.distributions.Normal(0.0, 1.0).sample(), "aten::normal"),
    "own generator": (lambda x: torch.rand(3, generator=G), "aten::rand"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_an_operator_is_found(name):
    function, operator = PLANTED[name]
    assert found_in(function) == {operator: 1}


def test_an_operator_is_found_on_a_device_without_numbers():
    assert found_in(lambda x: functional.dropout(x), X.to("meta")) == {"aten::bernoulli_": 1}


NOT_RANDOM = {
    "p = 0": lambda x: functional.dropout(x, 0.0),
    "not training": lambda x: functional.dropout(x, 0.5, training=False),
    "native": lambda x: torch.native_dropout(x, 0.5, False),
    "rrelu": lambda x: functional.rrelu(-x, training=False),
    "sdpa": lambda x: functional.scaled_dot_product_attention(Q, Q, Q),
    "no numbers": lambda x: torch.rand(0),
    "arithmetic": lambda x: x @ x.mT + x.sort().values.cumsum(0).mean(),
}


@pytest.mark.parametrize("name", NOT_RANDOM)
def test_an_operator_that_draws_nothing_is_not_found(name):
    assert found_in(NOT_RANDOM[name]) == {}


def test_an_operator_that_says_nothing_of_its_draws_is_found():
    @torch.library.custom_op("anydrop_test::noise", mutates_args=())
    def noise(x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand(3, 4)

    assert torch.Tag.nondeterministic_seeded not in torch.ops.anydrop_test.noise.default.tags
    assert found_in(lambda x: noise(x)) == {"anydrop_test::noise": 1}
    assert found_in(lambda x: torch.cond(x.sum() > 0, functional.dropout, torch.sin, (x,))) == {
        "cond": 1
    }


# Other libraries ----------------------------------------------------------------------------------

OTHERS = {
    "numpy.random": lambda x: x * np.random.rand(),  # noqa: NPY002
    "random": lambda x: x * random.random(),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_global_generator_of_another_library_is_found(name):
    assert found_in(OTHERS[name]) == {name: 1}


def test_a_global_generator_is_found_after_the_last_operator():
    found = remaining(Planted(lambda x: (x * 2, random.random())), X)
    assert found == (("random", "", "", None, None, 1),)
    assert re.fullmatch(r"random +\(after the last operator\)  1", str(found).splitlines()[1])


# Where --------------------------------------------------------------------------------------------


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 4, 2, dropout=0.5, batch_first=True)
        self.attend = nn.MultiheadAttention(4, 2, dropout=0.5)
        self.layer = nn.TransformerEncoderLayer(4, 2, 8)
        self.still = nn.LSTM(4, 4, 2, batch_first=True)
        self.drop = nn.Sequential(nn.Dropout(), anydrop.torch.Dropout(0.5))
        self.again = self.drop

    def forward(self, x):
        x, _ = self.lstm(x)
        x = self.attend(x, x, x)[0]
        x = self.layer(x)
        x = self.still(x)[0]
        for _ in range(3):
            x = self.drop(x)
        return self.again(nn.Dropout(0.5)(x))


FOUND = [
    ("lstm", "LSTM", "self.lstm(x)", 1),
    ("attend", "MultiheadAttention", "self.attend(", 1),
    ("layer.self_attn", "MultiheadAttention", "self.layer(x)", 1),
    ("layer.dropout1", "Dropout", "self.layer(x)", 1),
    ("layer.dropout", "Dropout", "self.layer(x)", 1),
    ("layer.dropout2", "Dropout", "self.layer(x)", 1),
    ("drop.0", "Dropout", "self.drop(x)", 3),
    ("", "Network", "nn.Dropout(0.5)(x)", 1),
    ("drop.0", "Dropout", "self.again(", 1),
]


def assert_found_in_a_network(found):
    with open(__file__, encoding="utf-8") as file:
        lines = file.read().splitlines()
    assert len(found) == len(FOUND)
    for call, (module, kind, code, times) in zip(found, FOUND, strict=True):
        assert call[:4] == ("aten::bernoulli_", module, kind, __file__)
        assert call.times == times
        assert call.line is not None
        assert code in lines[call.line - 1]


def test_modules_are_named_and_the_line_is_the_users():
    assert_found_in_a_network(remaining(Network(), X))


def test_the_mode_of_inference_changes_nothing():
    with torch.inference_mode():
        assert_found_in_a_network(remaining(Network(), X))


def test_a_module_that_only_pytorch_calls_has_its_own_line():
    (call,) = remaining(nn.Sequential(nn.Dropout()), X)
    assert call.file == torch.nn.modules.dropout.__file__


@pytest.mark.parametrize("reentrant", [True, False])
def test_parts_under_a_checkpoint_are_seen_once(reentrant):
    model = Given(nn.Dropout(), lambda part, x: checkpoint(part, x, use_reentrant=reentrant))
    (call,) = remaining(model, X)  # and no warning that nothing requires a gradient
    assert (call.operator, call.module, call.times) == ("aten::bernoulli_", "part", 1)


def compiled_part(model):
    model.drop = model.again = torch.compile(model.drop, backend="eager", fullgraph=True)
    return model


WAYS = {
    "torch.compile": lambda model: torch.compile(model, backend="eager"),
    "fullgraph": lambda model: torch.compile(model, backend="eager", fullgraph=True),
    "in place": lambda model: model.compile(backend="eager", fullgraph=True) or model,
    "a part": compiled_part,
    "DataParallel": nn.DataParallel,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_wrapped_model_runs_as_the_model_that_it_holds(way):
    assert_found_in_a_network(remaining(WAYS[way](Network()), X))


two_ranks = TwoRanks(__file__)


@pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this PyTorch was built without distributed"
)
@two_ranks
def test_one_rank_may_ask_alone(rank):
    model = nn.parallel.DistributedDataParallel(nn.Sequential(nn.BatchNorm1d(4), nn.Dropout()))
    if rank == 0:
        (call,) = remaining(model, X[0])
        assert (call.module, call.kind) == ("1", "Dropout")


def test_a_compiled_model_is_compiled_once():
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    model = torch.compile(nn.Sequential(nn.Linear(4, 4), nn.Dropout()), backend=backend)
    model(X)
    remaining(model, X)
    model(X)
    assert len(compiled) == 1


def test_the_table():
    here = r"tests.torch.conversion.test_remaining\.py:\d+"
    lines = repr(remaining(Network(), X)).splitlines()
    columns = [re.split(r"  +", line) for line in lines]
    assert columns[0] == ["operator", "module", "class", "called at", "times"]
    assert columns[1][:3] == ["aten::bernoulli_", "lstm", "LSTM"]
    assert re.fullmatch(here, columns[1][3])
    assert columns[8][1] == "(the model)"
    starts = {line.index(column) for line, (_, column, *_) in zip(lines, columns, strict=True)}
    assert len(starts) == 1
    nothing = remaining(nn.Identity(), X)
    assert not nothing
    assert repr(nothing) == "No random operator is left that is not anydrop's."


# What is anydrop's --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_modules_of_anydrop_are_not_found(case, seed):
    x, drop, ran = case.input(), case.make(seed=seed), []
    more = case.more(x)
    drop.register_forward_hook(lambda module, inputs, y: ran.append(module.training))
    assert remaining(Given(drop, lambda part, x: part(x, **more)), x) == ()
    assert ran == [True]


DRAWS = {
    "vmap": lambda x: torch.vmap(anydrop.torch.Dropout(0.5), randomness="different")(x),
    "a schedule": anydrop.torch.Dropout(anydrop.schedules.Linear(0.0, 0.5, 9), seed=0),
    "a function": lambda x: anydrop.dropout(x, 0.5, seed=0, step=0),
    "a layer": anydrop.Dropout(0.5, seed=0),
    "a program": make_fx(anydrop.torch.Dropout(0.5))(X),
    "a generator": lambda x: anydrop.dropout(x, 0.5, rng=G),
}


@pytest.mark.parametrize("name", DRAWS)
def test_other_draws_of_anydrop_are_not_found(name):
    assert remaining(Planted(DRAWS[name]), X) == ()


@pytest.mark.parametrize(
    ("folder", "draw", "found"),
    [
        (ANYDROP, "torch.rand(3)", 0),
        (ANYDROP, "functional.dropout(x)", 1),  # a function of torch.nn stands between
        (CONVERSION, "torch.rand(3)", 1),  # which runs the code of others
    ],
)
def test_whose_a_draw_is(folder, draw, found):
    space = {"torch": torch, "functional": functional}
    exec(compile(f"def draw(x): return {draw}", f"{folder}some_file.py", "exec"), space)
    calls = remaining(Planted(lambda x: space["draw"](x)), X)
    assert [call.file for call in calls] == [__file__] * found
