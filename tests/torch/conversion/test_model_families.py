"""Models of many families: they train alike in each way, and what is left of them is known."""

import functools
import json
from collections import Counter

import pytest
from subjects import available

if not available("model_families"):
    pytest.skip(
        "torch, transformers, timm or torchvision is not installed here; nox -s tests-models "
        "runs this",
        allow_module_level=True,
    )

import torch
from converted import one_thread  # noqa: F401 - a fixture that all tests use
from model_families import FAMILIES, FILE, WAYS, Family, drawn, row, seeded, skip_no_layer
from model_training import (
    Trained,
    assert_same,
    checkpointed,
    compiled,
    gradients_of,
    loss_of,
    train,
)
from torch import nn

import anydrop
from anydrop.torch.conversion.convert import convert, revert
from anydrop.torch.conversion.remaining import remaining
from anydrop.torch.module import Module

TABLE = json.loads(FILE.read_text(encoding="utf-8"))
# What PyTorch's compilers warn of: of themselves, and of transformers' code in their hands.
compiling = pytest.mark.filterwarnings("ignore")
every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
both_kinds = pytest.mark.parametrize("use_reentrant", [False, True], ids=["new", "reentrant"])


# What is left ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_the_table_says_what_is_found(name):
    assert TABLE[name] == row(name)


def test_the_table_has_no_other_families():
    assert list(TABLE) == list(FAMILIES)


@every_family
def test_what_is_left_is_told(family):
    for keywords in ({}, {"functional": True}):
        model, inputs = family.made()
        told = convert(model, seed=0, **keywords).left
        left = drawn(model, inputs)
        del left["numpy"]  # no dropout, and so not among what is told
        assert bool(left) <= bool(told), (left, told)
    assert bool(left) == bool(family.left)


@every_family
@pytest.mark.parametrize("way", WAYS)
def test_remaining_names_what_is_left(family, way):
    model, inputs = family.made()
    skip_no_layer(model)
    if (keywords := WAYS[way]) is not None:
        convert(model, seed=0, **keywords)
    found = Counter()
    for call in remaining(model, **inputs):
        found[call.operator.removeprefix("aten::")] += call.times
        assert call.file is not None
    left = drawn(model, inputs)
    # It counts the places where NumPy's generator is seen to have moved.
    assert bool(left.pop("numpy", 0)) == bool(found.pop("numpy.random", 0))
    assert found == left


# Training -------------------------------------------------------------------------------------


@functools.cache
def eagerly(name, seed=0):
    return train(FAMILIES[name], seed=seed)


@pytest.mark.parametrize("name", FAMILIES)
@both_kinds
@pytest.mark.parametrize("seed", [0, None], ids=["seeded", "unseeded"])
def test_checkpointed(name, use_reentrant, seed):
    way = checkpointed(use_reentrant=use_reentrant)
    other = 0 if seed is None else 1  # With a seed the masks don't depend on PyTorch's.
    assert_same(eagerly(name, seed), train(FAMILIES[name], way, seed=seed, generators=other))


@pytest.mark.parametrize("name", FAMILIES)
def test_resumed(name):
    assert_same(eagerly(name), train(FAMILIES[name], resumed=True, generators=1))


@compiling
@pytest.mark.parametrize("name", FAMILIES)
def test_compiled(name):
    torch.compiler.reset()
    assert_same(eagerly(name), train(FAMILIES[name], compiled("aot_eager"), generators=1))


@compiling
@pytest.mark.parametrize("name", ["convnext", "densenet"])
def test_compiled_to_machine_code(name):
    torch.compiler.reset()
    assert_same(eagerly(name), train(FAMILIES[name], compiled("inductor"), generators=1))


@compiling
@pytest.mark.parametrize("name", ["bert"])
def test_compiled_with_checkpoints_inside(name):
    way = compiled("aot_eager", checkpointed(use_reentrant=False))
    torch.compiler.reset()
    assert_same(eagerly(name), train(FAMILIES[name], way, generators=1))


# How the checks would fail --------------------------------------------------------------------


@every_family
@both_kinds
def test_checkpoints_run_modules_again(family, use_reentrant):
    calls = []
    model, inputs = family.made()
    skip_no_layer(model)
    for module in model.modules():
        module.register_forward_pre_hook(lambda *_: calls.append(1))
    loss = checkpointed(use_reentrant=use_reentrant)(model)(**inputs)
    before = len(calls)
    loss.backward()
    assert len(calls) > before


class Counting(nn.Module):
    """Each call draws the next mask, a checkpoint's second run too."""

    def __init__(self):
        super().__init__()
        self.linear, self.step = nn.Linear(4, 4), 0

    def forward(self, x):
        self.step += 1
        return anydrop.dropout(self.linear(x), 0.5, seed=0, step=self.step)


@both_kinds
def test_the_comparison_sees_gradients_of_other_masks(use_reentrant):
    wrong = Family("wrong", lambda: (Counting(), {"x": torch.randn(8, 4)}))
    way = checkpointed(use_reentrant=use_reentrant)
    trained, other = (
        Trained(one.losses[:1], one.gradients[:1], {})
        for one in (train(wrong, converted=False), train(wrong, way, converted=False))
    )
    assert trained.losses == other.losses
    with pytest.raises(AssertionError, match="not close"):
        assert_same(trained, other)


def test_the_comparison_sees_other_masks():
    other = train(FAMILIES["bert"], seed=1)
    with pytest.raises(AssertionError, match="not close"):
        assert_same(eagerly("bert"), other)


# What stays -----------------------------------------------------------------------------------


def outputs_of(model, inputs):
    with seeded(3):
        output = model(**inputs)
    values = [output] if isinstance(output, torch.Tensor) else output.values()
    return [value for value in values if isinstance(value, torch.Tensor)]


def assert_equal(values, others):
    torch.testing.assert_close(values, others, rtol=0, atol=0)


@every_family
def test_outputs_in_eval_mode_stay(family):
    model, inputs = family.made()
    before = outputs_of(model.eval(), inputs)
    convert(model, seed=0, functional=True)
    assert_equal(outputs_of(model, inputs), before)


def state_of(model):
    """What conversion keeps or revert puts back, of each module by all its names."""
    return {
        name: (id(module), module.training, vars(module).get("p"), vars(module).get("drop_prob"))
        for name, module in model.named_modules(remove_duplicate=False)
        if name.rpartition(".")[2] != "anydrop"
    }


@every_family
def test_a_reverted_model_is_as_it_was(family):
    (untouched, inputs), (model, _) = family.made(), family.made()
    state, classes = state_of(model), [type(module) for module in model.modules()]
    for functional in (True, False):
        convert(model, seed=0, functional=functional)
        loss_of(model(**inputs)).backward()
        model.zero_grad()
        revert(model)
        assert [type(module) for module in model.modules()] == classes
        assert state_of(model) == state
        assert model.state_dict().keys() == untouched.state_dict().keys()
    found = [outputs_of(one, inputs) for one in (model, untouched)]
    assert_equal(*found)
    for one in (model, untouched):
        with seeded(3):
            loss_of(one(**inputs)).backward()
    assert_equal(gradients_of(model), gradients_of(untouched))


@every_family
def test_hooks_modes_shared_modules_and_rates_stay(family):
    model, inputs = family.made()
    skip_no_layer(model)
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    for module in dropouts[::2]:
        module.eval()
    names = {id(module): name for name, module in model.named_modules()}
    called = []
    for module in model.modules():
        module.register_forward_hook(lambda module, *_: called.append(names[id(module)]))
    before = state_of(model)
    model(**inputs)
    calls = called.copy()
    called.clear()
    convert(model, seed=0, functional=True)
    assert state_of(model) == before
    assert all(isinstance(module, Module) for module in dropouts)
    model(**inputs)
    assert called == calls
