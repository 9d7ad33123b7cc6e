"""One seed for a model of PyTorch's: each module's own is made of it and of the module's name."""

import hashlib

import numpy as np
import pytest
from numpy.random import SeedSequence
from subjects import available

import anydrop

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from anydrop.torch import Dropout, Module

X = torch.ones(400)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.drop = nn.Linear(400, 400), Dropout(0.5)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.ModuleDict({"a": Dropout(0.5, seed=9), "b": nn.Sequential(Block())})
        self.plain = anydrop.Dropout(0.5, seed=0)


class Network:
    """The same names, in NumPy."""

    def __init__(self):
        self.blocks = [{"drop": anydrop.Dropout(0.5)}, {"drop": anydrop.Dropout(0.5)}]
        self.head = {"a": anydrop.Dropout(0.5), "b": [{"drop": anydrop.Dropout(0.5)}]}
        self.plain = anydrop.Dropout(0.5)


NAMES = ["blocks.0.drop", "blocks.1.drop", "head.a", "head.b.0.drop"]


def of_name(seed, name):
    digest = hashlib.sha256(name.encode("utf-8")).digest()
    words = tuple(int.from_bytes(digest[i : i + 4], "big") for i in (0, 4, 8, 12))
    own = seed.spawn_key if isinstance(seed, SeedSequence) else ()
    entropy = seed.entropy if isinstance(seed, SeedSequence) else seed
    pool = seed.pool_size if isinstance(seed, SeedSequence) else 4
    return SeedSequence(entropy, spawn_key=(*own, *words), pool_size=pool)


@pytest.mark.parametrize("seed", [0, 2**100, (1, 2), SeedSequence(5, spawn_key=(9,), pool_size=8)])
def test_names_are_pytorchs_and_seeds_are_those_of_a_numpy_network(seed):
    model = Model()
    found = anydrop.seed_layers(model, seed)
    named = {name for name, module in model.named_modules() if isinstance(module, Module)}
    assert set(found) == {*NAMES, "plain"} == {*named, "plain"}
    layers = anydrop.seed_layers(Network(), seed)
    assert set(layers) == set(found)
    for name, module in found.items():
        if name != "plain":
            assert module is model.get_submodule(name)
            assert (module.place, module.step, module.counts) == (name, 0, True)
        expected = of_name(seed, name)
        for t in range(3):
            y = module(X).numpy()
            assert np.array_equal(y, anydrop.dropout(X.numpy(), 0.5, seed=expected, step=t))
            assert np.array_equal(y, layers[name](X.numpy()))


def test_it_begins_anew():
    model = Model()
    drop = anydrop.seed_layers(model, 1)["head.a"]
    first = drop(X)
    assert not torch.equal(drop(X), first)
    anydrop.seed_layers(model, 1)
    assert drop.step == 0
    assert torch.equal(drop(X), first)
    anydrop.seed_layers(model, 2)
    assert not torch.equal(drop(X), first)


def test_copies_that_are_seeded_have_a_place_each():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    layer.dropout1 = Dropout(0.5, seed=0)
    encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    names = [f"layers.{i}.dropout1" for i in range(3)]
    found = anydrop.seed_layers(encoder, 4)
    assert list(found) == names
    for name, module in found.items():
        assert torch.equal(module(X), anydrop.dropout(X, 0.5, seed=of_name(4, name), step=0))
        assert repr(module) == f"Dropout(p=0.5, inplace=False, seed=4, place={name!r}, step=1)"


def test_a_shared_module_has_one_name():
    drop = Dropout(0.5)
    model = nn.Sequential(nn.Sequential(drop), drop)
    assert list(anydrop.seed_layers(model, 0)) == ["1"]
    assert drop.place == "1"


def test_modules_within_a_dropout_module_are_found():
    class Both(Dropout):
        def __init__(self):
            super().__init__()
            self.inner = Dropout()

    assert list(anydrop.seed_layers(nn.Sequential(Both()), 0)) == ["0", "0.inner"]


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own calls
def test_wrappers_are_no_part_of_a_name():
    names = ["0.drop", "1.drop"]
    model = nn.Sequential(checkpoint_wrapper(Block()), torch.compile(Block()))
    for wrapped in (model, nn.DataParallel(model), torch.compile(model), checkpoint_wrapper(model)):
        found = anydrop.seed_layers(wrapped, 0)
        assert list(found) == names
        assert [module.place for module in found.values()] == names


def test_a_child_that_is_named_as_a_wrappers_is_part_of_the_name():
    model = nn.Module()
    model.module = Block()
    assert list(anydrop.seed_layers(model, 0)) == ["module.drop"]


def test_what_only_looks_like_a_module_is_left_alone():
    class Stranger(nn.Module):
        def reseed(self, seed, place=None):
            raise AssertionError("reseed of a stranger")

    model = nn.Sequential(Stranger(), Block())
    assert list(anydrop.seed_layers(model, 0)) == ["1.drop"]
    with pytest.raises(ValueError, match=r"no dropout layer of anydrop was found in .*Stranger"):
        anydrop.seed_layers(Stranger(), 0)


def test_equal_names_change_nothing():
    model = {1: Dropout(0.5, seed=5), "1": Dropout(0.5)}
    with pytest.raises(ValueError, match=r"two layers .* get the name '1'"):
        anydrop.seed_layers(model, 0)
    assert (model[1].seed, model[1].place, model["1"].seed) == (5, None, None)
    surrogate = {"a": model[1], "\udc80": model["1"]}
    with pytest.raises(ValueError, match="surrogates not allowed"):
        anydrop.seed_layers(surrogate, 0)
    assert (model[1].seed, model[1].place, model["1"].seed) == (5, None, None)


def test_a_compiled_program_draws_the_masks_of_the_new_seed():
    model = nn.Sequential(Dropout(0.5))
    program = torch.compile(model, backend="aot_eager", fullgraph=True)
    assert program(X).shape == X.shape  # without a seed
    for seed in (0, 1):
        anydrop.seed_layers(program, seed)
        for t in range(2):
            assert torch.equal(program(X), anydrop.dropout(X, 0.5, seed=of_name(seed, "0"), step=t))
