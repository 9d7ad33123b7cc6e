"""convert and revert: what changes in a model, what its table says, and what is refused."""

import copy
import io
import pickle

import pytest
from subjects import available

import anydrop

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from converted import Calling, Model, described, within
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere
from torch.nn.utils import parametrize

import anydrop.torch
from anydrop.torch import Conversion, Place, convert, revert
from anydrop.torch.conversion.child import FunctionalDropout

X = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
SIX = ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout")


class DropPath(nn.Module):
    def __init__(self, drop_prob=0.3, keeps=False, always=False, axes=None):
        super().__init__()
        self.drop_prob, self.keeps, self.always, self.axes = drop_prob, keeps, always, axes

    def forward(self, x):
        if self.axes is not None and x.ndim != self.axes:
            raise ValueError("of another number of axes")
        if not self.drop_prob or not (self.training or self.always):
            return x
        keep = self.drop_prob if self.keeps else 1 - self.drop_prob
        return x * x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(keep) / keep


# What is done, and what the table says -----------------------------------------------------------


def test_the_table():
    model = Model()
    table = convert(model, seed=0)
    assert table == (
        Place("attention.anydrop", "MultiheadAttention", "FunctionalDropout", 0.1),
        Place("calling", "F.dropout", "F.dropout", None, "a function: functional=True reaches it"),
        Place("drop", "Dropout", "Dropout", 0.2),
    )
    assert [place.name for place in table.converted] == ["attention.anydrop", "drop"]
    assert [place.name for place in table.left] == ["calling"]
    assert repr(Conversion()).startswith("No dropout was found.")


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_dropout_between_the_layers_of_a_recurrent_module(kind):
    model = within(kind(4, 5, num_layers=3, dropout=0.5))
    weights, before = set(model.state_dict()), described(model)
    assert convert(model, seed=0) == (Place("0.anydrop", kind.__name__, "Dropout", 0.5),)
    assert set(model.state_dict()) == {*weights, "0.anydrop.step"}
    model(torch.ones(6, 2, 4))
    assert model[0].anydrop.step == 2
    assert not convert(model, seed=0).converted
    revert(model)
    assert described(model) == before


def test_a_recurrent_module_without_gaps_is_not_in_the_table():
    assert convert(within(nn.LSTM(4, 5))) == ()


def test_a_subclass_of_a_recurrent_module_is_left():
    class Own(nn.LSTM):
        pass

    (place,) = convert(within(Own(4, 5, num_layers=2, dropout=0.5)))
    assert place.left == "it is a subclass of PyTorch's recurrent modules"


def test_functions_are_reached():
    model = Model()
    table = convert(model, seed=0, functional=True)
    assert [(place.name, place.was) for place in table.converted] == [
        ("anydrop", "other functions"),
        ("attention.anydrop", "MultiheadAttention"),
        ("calling.anydrop", "F.dropout"),
        ("drop", "Dropout"),
    ]
    assert model(X).shape == X.shape
    steps = {name: part.step for name, part in model.named_modules() if hasattr(part, "step")}
    assert steps == {"anydrop": 0, "attention.anydrop": 1, "calling.anydrop": 1, "drop": 2}


@pytest.mark.parametrize("name", SIX)
def test_a_module_of_pytorchs_becomes_ours_where_it_stands(name):
    stock = getattr(nn, name)(0.4, inplace=True).eval()
    model, called = within(stock), []
    stock.register_forward_hook(lambda *_: called.append(True))
    convert(model, seed=0)
    assert model[0] is stock
    assert type(stock) is getattr(anydrop.torch, name)
    assert (stock.p, stock.inplace, stock.training) == (0.4, True, False)
    ours = getattr(anydrop.torch, name)(0.4, seed=0)
    ours.reseed(0, "0")
    x = torch.ones(2, 3, 4, 5) if name != "Dropout3d" else torch.ones(2, 3, 4, 5, 2)
    x = x[0] if name == "Dropout1d" else x
    assert torch.equal(stock.train()(x.clone()), ours(x))
    assert called == [True]


def test_seeds_are_those_of_seed_layers():
    one, two = Model(), Model()
    convert(one, seed=7, functional=True)
    convert(two, functional=True)
    anydrop.seed_layers(two, 7)
    keys = [
        {n: m.key() for n, m in model.named_modules() if isinstance(m, anydrop.torch.Module)}
        for model in (one, two)
    ]
    assert keys[0] == keys[1]
    assert len(set(keys[0].values())) == 4


def test_without_a_seed_masks_follow_the_generator_and_the_state_is_as_before():
    model, before = Model(), set(Model().state_dict())
    convert(model, functional=True)
    assert set(model.state_dict()) == before
    torch.manual_seed(0)
    y = model(X)
    assert not torch.equal(model(X), y)
    torch.manual_seed(0)
    assert torch.equal(model(X), y)


def test_outputs_in_eval_mode_are_as_before():
    torch.manual_seed(0)
    model = Model().eval()
    y = model(X)
    convert(model, seed=0, functional=True)
    assert torch.equal(model(X), y)


@pytest.mark.parametrize("functional", [False, True])
def test_where_leaves_modules_to_pytorch(functional):
    model = Model()
    table = convert(model, seed=0, functional=functional, where=lambda name, _: name == "attention")
    assert [place.name for place in table.converted] == ["attention.anydrop"]
    assert {place.left for place in table.left} <= {
        "where= leaves it out",
        "a function: functional=True reaches it",
    }
    model(X)
    assert model.attention.anydrop.step == 1
    assert isinstance(model.drop, nn.Dropout)
    assert not isinstance(model.drop, anydrop.torch.Module)


def test_what_is_left_within_attention_draws_pytorchs_masks():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return self.drop(F.scaled_dot_product_attention(x, x, x, dropout_p=0.1))

    model = within(Attention())
    convert(model, seed=0, where=lambda _, module: not isinstance(module, nn.Dropout))
    model(X)
    assert model[0].anydrop.step == 1


def test_containers_keep_their_length_and_what_they_hold_is_reached():
    model = nn.Sequential(Calling(), nn.Sequential(Calling(), nn.Dropout(0.1)))
    table = convert(model, seed=0, functional=True)
    assert [place.name for place in table.converted] == ["0.anydrop", "1.0.anydrop", "1.1"]
    assert len(model) == len(model[1]) == 2
    model(X)
    assert model[1][0].anydrop.step == 1


def test_a_wrapper_around_the_model():
    model = nn.DataParallel(within(Calling()))
    table = convert(model, seed=0, functional=True)
    assert [place.name for place in table.converted] == ["0.anydrop"]


def test_a_second_conversion_changes_nothing():
    model = Model()
    convert(model, seed=0, functional=True)
    model(X)
    before, state = described(model), copy.deepcopy(model.state_dict())
    assert not convert(model, seed=1, functional=True).converted
    assert described(model) == before
    torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)


@pytest.mark.parametrize(
    "different", [{"keeps": True}, {"always": True}, {"axes": 4}], ids=lambda d: next(iter(d))
)
def test_a_drop_path_of_another_meaning_is_left(different):
    (place,) = convert(within(DropPath(**different)))
    assert place.left == "it does not drop examples as timm's DropPath does"
    assert convert(within(DropPath())).converted


@pytest.mark.parametrize("make", [lambda: nn.Dropout(0.5), Calling])
def test_a_forward_that_was_replaced_is_left(make):
    model = within(make())
    forward = model[0].forward
    model[0].forward = lambda x: forward(x)
    (place,) = convert(model, seed=0, functional=True)
    assert place.left == "its forward was replaced: convert the model before that"


def test_a_lazy_module_is_left():
    class Lazy(nn.modules.lazy.LazyModuleMixin, Calling):
        cls_to_become = Calling

    (place,) = convert(within(Lazy()), functional=True)
    assert place.left == "it is lazy: call the model once before it is converted"


def test_a_class_of_ones_own_is_called_as_it_is():
    class Twice(nn.Dropout):
        def forward(self, x):
            return F.dropout(super().forward(x), self.p, self.training)

    model = nn.ModuleDict({"a": Twice(0.5)})
    assert not convert(model, seed=0).converted
    convert(model, seed=0, functional=True)
    model["a"](X)
    assert model["a"].anydrop.step == 2


# Copies and states -------------------------------------------------------------------------------


def test_copies_and_pickles_draw_and_are_reverted():
    model = within(nn.MultiheadAttention(16, 2, dropout=0.5))
    convert(model, seed=0)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    pickled, copied = pickle.loads(pickle.dumps(model)), copy.deepcopy(model)
    y = model[0](X, X, X)[0]
    for other in (loaded, pickled):
        assert torch.equal(other[0](X, X, X)[0], y)
    assert not torch.equal(copied[0](X, X, X)[0], y)
    for other in (loaded, pickled, copied):
        revert(other)
        assert type(other[0]) is nn.MultiheadAttention
    assert torch.equal(pickle.loads(pickle.dumps(model))[0](X, X, X)[0], model[0](X, X, X)[0])


def test_states_of_before_are_loaded_and_steps_are_resumed():
    torch.manual_seed(0)
    before = Model().state_dict()
    one, two = Model(), Model()
    for model in (one, two):
        convert(model, seed=0, functional=True)
        model.load_state_dict(before)
    one(X)
    two.load_state_dict(one.state_dict())
    assert torch.equal(two(X), one(X))


# Reverted ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [None, 0])
def test_a_reverted_model_is_what_it_was(seed):
    torch.manual_seed(0)
    model = Model()
    before, untouched = described(model), copy.deepcopy(model)
    convert(model, seed=seed, functional=True)
    model(X)
    revert(model)
    assert described(model) == before
    outputs = []
    for one in (model, untouched):
        torch.manual_seed(1)
        outputs.append(one(X))
    assert torch.equal(*outputs)
    revert(model)
    assert described(model) == before


def test_what_was_set_meanwhile_stays():
    model = nn.Sequential(nn.Dropout(0.5), DropPath(None), DropPath(None))
    convert(model, seed=0)
    model[0].note, model[0].p, model[1].drop_prob = 1, 0.1, 0.2
    revert(model)
    assert (model[0].note, model[0].p) == (1, 0.1)
    assert (model[1].drop_prob, model[2].drop_prob) == (0.2, None)


def test_a_part_is_reverted_alone():
    model = Model()
    convert(model, seed=0)
    revert(model.attention)
    assert type(model.attention) is nn.MultiheadAttention
    assert type(model.drop) is anydrop.torch.Dropout


def test_a_module_that_was_parametrized_meanwhile():
    model = within(Calling())
    convert(model, seed=0, functional=True)
    child = model[0].anydrop
    model[0].weight = nn.Parameter(torch.ones(3))
    parametrize.register_parametrization(model[0], "weight", nn.Identity())
    convert(model, seed=0, functional=True)
    assert model[0].anydrop is child
    with pytest.raises(TypeError, match="parametrized after its conversion: first call"):
        revert(model)
    parametrize.remove_parametrizations(model[0], "weight")
    revert(model)
    assert type(model[0]) is Calling


# Refused -----------------------------------------------------------------------------------------


def raises(*_):
    raise KeyError("in where=")


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"per_rank": True}, ValueError),
        ({"seed": -1}, ValueError),
        ({"functional": 1}, TypeError),
        ({"where": raises}, KeyError),
        ({"where": "drop"}, TypeError),
    ],
)
def test_nothing_is_changed_by_what_is_refused(keywords, error):
    model = Model()
    convert(model.calling, seed=0, functional=True)
    convert(model.attention, seed=0)
    before = described(model)
    with pytest.raises(error):
        convert(model, **keywords)
    assert described(model) == before


def test_the_name_of_the_child_is_taken():
    model = Model()
    model.calling.anydrop = nn.Linear(1, 1)
    before = described(model)
    with pytest.raises(ValueError, match=r"calling has an attribute 'anydrop'.*rename it"):
        convert(model, functional=True)
    assert described(model) == before


def test_a_child_is_not_called():
    child = FunctionalDropout(seed=0)
    assert repr(child) == "FunctionalDropout(seed=0, step=0)"
    with pytest.raises(TypeError, match="call the parent"):
        child(X)


def compiled():
    return torch.compile(Model())


def compiled_in_place():
    model = Model()
    model.drop.compile()
    return model


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: 3, TypeError, "must be a torch.nn.Module, got int 3"),
        (lambda: anydrop.torch.Dropout(0.5), ValueError, "needs no conversion"),
        (
            lambda: nn.Dropout(0.5),
            ValueError,
            "itself a dropout module, a Dropout.*torch.Dropout",
        ),
        (compiled, TypeError, "revert its _orig_mod"),
        (compiled_in_place, TypeError, "first, and compile it afterwards"),
        (lambda: within(torch.jit.script(nn.Dropout())), TypeError, "before scripting"),
    ],
)
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_models_that_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        convert(make())
