"""One seed for a model: a seed of its own for each layer, which its name decides."""

import copy
import hashlib
import itertools
import json
from unittest.mock import MagicMock

import numpy as np
import pytest
from numpy.random import SeedSequence
from subjects import available

import anydrop
from anydrop import Dropout, DropPath, seed_layers

X = np.ones(4000, "f4")


class Block:
    def __init__(self):
        self.drop, self.path = Dropout(0.5), DropPath(0.5)


class Slotted:
    __slots__ = ("drop", "empty")

    def __init__(self):
        self.drop = Dropout(0.5)


class Network:
    def __init__(self, **more):
        self.weights, self.name = np.ones(3), "network"
        self.first = Dropout(0.5, seed=0)
        self.blocks = [Block(), Block()]
        self.heads = {"a": Dropout(0.5, seed=0), 7: (Slotted(),)}
        self.owner = self
        vars(self).update(more)


NAMES = [
    *("first", "heads.a", "blocks.0.drop", "blocks.0.path", "blocks.1.drop", "blocks.1.path"),
    "heads.7.0.drop",
]


def words(name):
    digest = hashlib.sha256(name.encode("utf-8")).digest()
    return tuple(int.from_bytes(digest[i : i + 4], "big") for i in (0, 4, 8, 12))


@pytest.mark.parametrize("seed", [0, 2**100, (1, 2), SeedSequence(5, spawn_key=(9,), pool_size=8)])
def test_the_seed_of_a_name(seed):
    model = Network()
    found = seed_layers(model, seed)
    assert list(found) == NAMES
    assert found["blocks.1.drop"] is model.blocks[1].drop
    own = seed.spawn_key if isinstance(seed, SeedSequence) else ()
    entropy = seed.entropy if isinstance(seed, SeedSequence) else seed
    pool = seed.pool_size if isinstance(seed, SeedSequence) else 4
    for name, layer in found.items():
        expected = SeedSequence(entropy, spawn_key=(*own, *words(name)), pool_size=pool)
        assert np.array_equal(layer.seed.generate_state(2), expected.generate_state(2))
        y = layer(X) if name[-4:] != "path" else layer(X[:, None])[:, 0]
        assert np.array_equal(y, anydrop.dropout(X, 0.5, seed=expected))


def test_no_two_layers_share_a_mask():
    masks = [
        layer(X) > 0 for name, layer in seed_layers(Network(), 0).items() if "path" not in name
    ]
    for a, b in itertools.combinations(masks, 2):
        assert 0.4 < (a == b).mean() < 0.6


def test_a_layer_that_is_added_changes_no_other():
    few, many = seed_layers(Network(), 3), seed_layers(Network(extra=[Block()]), 3)
    assert len(many) == len(few) + 2
    for name, layer in few.items():
        assert layer.state_dict() == many[name].state_dict()


def test_it_begins_anew():
    model = Network()
    y = [layer(X) for layer in seed_layers(model, 1).values()]
    for layer in seed_layers(model, 1).values():
        assert (layer.step, layer.mask, layer.recipe) == (0, None, None)
        with pytest.raises(RuntimeError, match="there was none yet"):
            layer.backward(X)
    again = [layer(X) for layer in seed_layers(model, 1).values()]
    assert all(map(np.array_equal, y, again))


def test_a_copy_that_is_seeded_anew_draws_masks_of_its_own():
    model = Network()
    seed_layers(model, 1)
    twin, other = copy.deepcopy(model), copy.deepcopy(model)
    seed_layers(other, 2)
    y = model.first(X)
    assert np.array_equal(twin.first(X), y)
    assert not np.array_equal(other.first(X), y)


def test_the_seed_is_saved_with_a_layer():
    layer, loaded = Network().first, Dropout(0.5, seed=0)
    seed_layers([layer], 4)
    loaded.load_state_dict(json.loads(json.dumps(layer.state_dict())))
    assert np.array_equal(loaded(X), layer(X))


def test_a_layer_of_two_names_has_the_shorter():
    model = Network()
    model.blocks[0].same = model.tail = model.blocks[1].drop
    names = list(seed_layers(model, 0))
    assert "tail" in names
    assert not {"blocks.0.same", "blocks.1.drop"} & set(names)


def test_any_container_is_a_model():
    assert list(seed_layers([Dropout(0.5), Dropout(0.5)], 0)) == ["0", "1"]
    assert list(seed_layers({"x": Dropout(0.5)}, 0)) == ["x"]
    assert list(seed_layers(Dropout(0.5), 0)) == [""]


class Hidden:
    """Attributes of a class, private ones, and slots whose names Python changes."""

    __slots__ = ("__dict__", "__secret")
    shared = Dropout(0.5)

    def __init__(self):
        self.__secret, self._private = Dropout(0.5), Dropout(0.5)


def test_layers_in_every_kind_of_attribute():
    assert set(seed_layers(Hidden(), 0)) == {"_private", "_Hidden__secret", "shared"}


class Raises:
    def __getattr__(self, name):
        raise KeyError(name)


def test_things_that_answer_oddly():
    """They are read, and not asked."""
    model = {"raises": Raises(), "mock": MagicMock(), "drop": Dropout(0.5), "many": range(10**9)}
    assert list(seed_layers(model, 0)) == ["drop"]


def test_a_seed_is_made_for_every_layer_before_one_is_changed():
    a, b = Dropout(0.5, seed=1), Dropout(0.5, seed=2)
    with pytest.raises(ValueError, match="surrogates not allowed"):
        seed_layers({"a": a, "\udc80": b}, 0)
    assert (a.seed, b.seed) == (1, 2)


def test_not_within_a_run_of_monte_carlo():
    layer = Dropout(0.5, seed=1)

    def predict(x):
        seed_layers([layer], 7)
        return layer(x)

    with pytest.raises(RuntimeError, match="monte_carlo is running this layer"):
        anydrop.monte_carlo(predict, X, samples=2, seed=0, layers=[layer])
    assert (layer.seed, layer.step) == (1, 0)


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        ({1: Dropout(0.5), "1": Dropout(0.5)}, ValueError, "two layers .* get the name '1'"),
        ({"a.b": Dropout(0.5), "a": {"b": Dropout(0.5)}}, ValueError, "get the name 'a.b'"),
        ([Dropout(0.5), Dropout(0.5, rng=np.random)], ValueError, "the layer '1' draws from a gen"),
        ({object(): Dropout(0.5)}, ValueError, "under a key that is neither a str nor an int"),
        ([np.ones(3), "text", None], ValueError, "no dropout layer of anydrop was found in"),
        (Network, ValueError, "no dropout layer of anydrop was found in type"),
    ],
)
def test_what_is_refused_changes_nothing(model, kind, message):
    layers = (
        [layer for layer in model if isinstance(layer, Dropout)] if model is not Network else []
    )
    before = [layer.seed for layer in layers]
    with pytest.raises(kind, match=message):
        seed_layers(model, 0)
    assert [layer.seed for layer in layers] == before


def test_no_seed():
    with pytest.raises(TypeError, match="seed must be an int >= 0"):
        seed_layers(Network(), None)
    with pytest.raises(ValueError, match="given as rng=: make it with seed="):
        Dropout(0.5, rng=np.random).reseed(0)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own calls
@pytest.mark.skipif(not available("torch"), reason="torch is not here; nox -s tests-torch has it")
def test_names_within_pytorchs_modules_are_pytorchs():
    import torch

    class Part(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.drop = torch.nn.Linear(2, 2), Dropout(0.5)

    model = torch.nn.Sequential(Part(), torch.nn.ModuleDict({"head": Part()}))
    parts = [f"{name}.drop" for name, part in model.named_modules() if isinstance(part, Part)]
    assert list(seed_layers(model, 0)) == parts == ["0.drop", "1.head.drop"]
    model[0]._drop = Dropout(0.5)
    names = ["0.drop", "0._drop", "1.head.drop"]
    assert list(seed_layers(model, 0)) == names
    for wrapped in (torch.nn.DataParallel(model), torch.compile(model)):
        assert list(seed_layers(wrapped, 0)) == names
