"""The state of a module: what is saved, what loads it, and what is refused in words."""

import copy
import re

import numpy as np
import pytest
from numpy.random import SeedSequence
from subjects import available

import anydrop
from anydrop.core import stream

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from anydrop.torch import Dropout, without_steps

X = torch.ones(400)


def model_of(drop):
    return nn.Sequential(nn.Linear(4, 4), drop)


def drawn(seed, step, p=0.5):
    return anydrop.dropout(X, p, seed=seed, step=step)


# What is saved ------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [0, 3, 2**32 + 5, 2**64 - 1])
def test_the_words_of_a_state(step):
    drop = Dropout(0.5, seed=7)
    drop.step = step
    (value,) = drop.state_dict().values()
    assert list(drop.state_dict()) == ["step"]
    assert value.tolist() == [step % 2**32, step >> 32, *stream.key_of(7)]
    assert (value.dtype, value.device.type) == (torch.int64, "cpu")
    other = Dropout(0.5, seed=7)
    other.load_state_dict({"step": value})
    assert other.step == step
    assert torch.equal(other(X), drawn(7, step))


def test_a_saved_value_is_a_copy():
    drop = Dropout(0.5, seed=7)
    state = drop.state_dict()
    drop(X)
    assert state["step"].tolist()[0] == 0
    state["step"][0] = 5
    assert drop.step == 1


def test_all_steps_drawn():
    drop = Dropout(0.5, seed=7)
    drop.step = 2**64 - 1
    drop(X)
    state = drop.state_dict()
    assert state["step"].tolist()[:2] == [0, 2**32]
    other = Dropout(0.5, seed=7)
    other.load_state_dict(state)
    assert other.step == 2**64
    with pytest.raises(RuntimeError, match=re.escape("of this module's seed are used")):
        other(X)
    assert other.step == 2**64
    assert copy.deepcopy(other).step == 2**64
    other.reseed(7)
    assert torch.equal(other(X), drawn(7, 0))


def test_step_and_seed_are_what_is_drawn_next():
    for seed in (0, 2**100, (1, 2), SeedSequence(5, spawn_key=(9,), pool_size=8)):
        drops = [Dropout(0.25, seed=seed, per_rank=per) for per in (None, True, False, 3)]
        drops += [copy.deepcopy(drops[0]), copy.deepcopy(copy.deepcopy(drops[0]))]
        drops += anydrop.seed_layers(nn.Sequential(Dropout(0.25)), seed).values()
        ys = []
        for drop in drops:
            for _ in range(2):
                expected = anydrop.dropout(X.numpy(), drop.p, seed=drop.seed, step=drop.step)
                there = anydrop.dropout(X, drop.p, seed=drop.seed, step=drop.step)
                y = drop(X)
                assert np.array_equal(y.numpy(), expected)
                assert torch.equal(y, there)
            ys.append(y)
        same = [[torch.equal(a, b) for b in ys] for a in ys]
        # The same on all ranks, told or not; all others draw masks of their own.
        assert same == [[i == j or {i, j} == {0, 2} for j in range(7)] for i in range(7)]


def test_steps_are_set():
    drop = Dropout(0.5, seed=7)
    drop.step = np.int64(9)
    assert (drop.step, type(drop.step)) == (9, int)
    assert torch.equal(drop(X), drawn(7, 9))
    drop.step = torch.tensor(3)
    assert (drop.step, type(drop.step)) == (3, int)
    for value, kind, message in [
        (-1, ValueError, "step must satisfy 0 <= step < 2**64, got -1"),
        (2**64, ValueError, f"step must satisfy 0 <= step < 2**64, got {2**64}"),
        (1.5, TypeError, "step must be an int"),
    ]:
        with pytest.raises(kind, match=re.escape(message)):
            drop.step = value
    assert drop.step == 3
    unseeded = Dropout()
    assert (unseeded.step, unseeded.seed) == (None, None)
    with pytest.raises(TypeError, match="a module without a seed has no step: make it with seed="):
        unseeded.step = 0


def test_reseed():
    drop = copy.deepcopy(Dropout(0.5, seed=7))
    drop(X)
    drop.reseed(8)
    assert repr(drop) == "Dropout(p=0.5, inplace=False, seed=8, step=0)"
    assert torch.equal(drop(X), drawn(8, 0))
    drop.reseed((1, 2), "a.b")
    assert repr(drop) == "Dropout(p=0.5, inplace=False, seed=(1, 2), place='a.b', step=0)"
    unseeded = Dropout(0.5)
    assert repr(unseeded) == repr(nn.Dropout(0.5))
    unseeded.reseed(8)
    assert torch.equal(unseeded(X), drawn(8, 0))
    assert list(unseeded.state_dict()) == ["step"]
    for wrong, kind in [(None, TypeError), (-1, ValueError), (1.5, TypeError)]:
        with pytest.raises(kind, match="seed must be an int >= 0"):
            drop.reseed(wrong)
    assert (drop.place, drop.step) == ("a.b", 0)


def test_repr_shows_what_it_draws():
    drop = Dropout(0.25, seed=SeedSequence(5, spawn_key=(9,)), per_rank=3)
    drop.step = 12
    assert repr(copy.deepcopy(copy.deepcopy(drop))) == (
        "Dropout(p=0.25, inplace=False, seed=SeedSequence(entropy=5, spawn_key=(9,)), copy=0.0, "
        "per_rank=3, step=12)"
    )


# What loads ---------------------------------------------------------------------------------------


def test_a_state_without_steps_loads_strictly():
    """Of a model with PyTorch's dropout."""
    theirs, ours = model_of(nn.Dropout()), model_of(Dropout(seed=0))
    ours[1].step = 4
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    assert torch.equal(ours[0].weight, theirs[0].weight)
    assert ours[1].step == 4


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own calls
def test_an_unconverted_model_loads_what_without_steps_gives():
    ours, theirs = model_of(Dropout(seed=0)), model_of(nn.Dropout())
    for wrap in (lambda model: model, torch.compile, nn.DataParallel):
        state = wrap(ours).state_dict()
        for model in (wrap(ours), wrap(theirs)):  # the one that it is from, or that it is for
            kept = without_steps(state, model)
            assert len(kept) == 2 == len(state) - 1
            assert kept._metadata == state._metadata
            assert wrap(theirs).load_state_dict(kept) == ([], [])
            assert torch.equal(theirs[0].weight, ours[0].weight)
            nn.init.zeros_(theirs[0].weight)
    assert without_steps({"step": Dropout(seed=0).state_dict()["step"]}, nn.Dropout()) == {}
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"1.step"'):
        theirs.load_state_dict(ours.state_dict())


def test_without_steps_keeps_what_others_call_a_step():
    class Theirs(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("step", torch.arange(4))

    model = nn.Sequential(Theirs(), Theirs(), Dropout(seed=0))
    model[1].step = torch.tensor(7)
    state = model.state_dict()
    state["other.step"] = torch.tensor(7)
    assert list(without_steps(state, model)) == ["0.step", "1.step", "other.step"]
    assert list(state) == ["0.step", "1.step", "2.step", "other.step"]


def test_another_seed_is_refused_and_the_line_that_it_names_works():
    model, other = model_of(Dropout(0.25, seed=0)), model_of(Dropout(0.25, seed=1))
    model[1].step, other[1].step = 3, 9
    state = model.state_dict()
    ours, theirs = (f"0x{low | high << 32:016x}" for low, high in map(stream.key_of, (1, 0)))
    message = (
        f"1.step was saved with another seed or in another place: its key is {theirs}, and the key "
        f"of Dropout(p=0.25, inplace=False, seed=1, step=9) is {ours}: make the model with the "
        "seed and the names that it had, or load it without the steps: "
        "model.load_state_dict(anydrop.torch.without_steps(state, model))."
    )
    with pytest.raises(RuntimeError, match=re.escape(message)):
        other.load_state_dict(state)
    with pytest.raises(RuntimeError, match=re.escape(message)):
        other.load_state_dict(state, strict=False)
    assert other[1].step == 9
    assert other.load_state_dict(anydrop.torch.without_steps(state, other)) == ([], [])
    assert other[1].step == 9


def test_another_place_is_refused():
    def placed(**modules):
        model = nn.ModuleDict(modules)
        anydrop.seed_layers(model, 0)
        return model

    model, moved = placed(a=Dropout()), placed(b=Dropout())
    renamed = {"b.step": model.state_dict()["a.step"]}
    message = r"b.step was saved with another seed or in another place.*, place='b', step=0\) is 0x"
    with pytest.raises(RuntimeError, match=message):
        moved.load_state_dict(renamed)
    bare = nn.ModuleDict({"a": Dropout(seed=0)})
    with pytest.raises(RuntimeError, match=r"a.step was saved .* the key of .*, place='a', step=0"):
        model.load_state_dict(bare.state_dict())
    placed(a=Dropout()).load_state_dict(model.state_dict())


def test_copies_and_ranks_are_not_compared():
    drop = Dropout(seed=0, per_rank=1)
    drop.step = 5
    copied = copy.deepcopy(drop)
    loaded = [copied, copy.deepcopy(copied), Dropout(seed=0, per_rank=2), Dropout(seed=0)]
    masks = {tuple(drop(X).tolist())}
    drop.step = 5
    for other in loaded:
        own = copy.copy(other)
        other.load_state_dict(drop.state_dict())
        own.step = 5
        y = other(X)
        assert torch.equal(y, own(X))  # its own mask
        masks.add(tuple(y.tolist()))
        drop.load_state_dict(other.state_dict())
        assert drop.step == 6
        drop.step = 5
    assert len(masks) == 5


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.tensor([1, 0, 2968811710]), "got torch.int64 of shape (3,) on cpu"),
        (torch.tensor([[1, 0, 2968811710, 3677149159]]), "got torch.int64 of shape (1, 4) on cpu"),
        (torch.tensor([1.0, 0, 2968811710, 3677149159]), "got torch.float32 of shape (4,) on cpu"),
        (
            torch.empty(4, dtype=torch.int64, device="meta"),
            "got a tensor without a value, torch.int64 of shape",
        ),
        ([1, 0, 2968811710, 3677149159], "got list [1, 0, 2968811710, 3677149159]"),
        (torch.tensor([-1, 0, 2968811710, 3677149159]), "<= 2**64, got -1 and 0"),
        (torch.tensor([2**32, 0, 2968811710, 3677149159]), "<= 2**64, got 4294967296 and 0"),
        (torch.tensor([0, -1, 2968811710, 3677149159]), "<= 2**64, got 0 and -1"),
        (torch.tensor([1, 2**32, 2968811710, 3677149159]), "<= 2**64, got 1 and 4294967296"),
        (torch.tensor([0, 2**62, 2968811710, 3677149159]), f"got 0 and {2**62}"),
        (torch.tensor([0, 0, -1, -1]), "its key is 0x"),
    ],
    ids=lambda value: None if isinstance(value, str) else "value",
)
def test_a_damaged_value_is_refused_and_changes_nothing(value, message):
    assert stream.key_of(0) == (2968811710, 3677149159)
    model = model_of(Dropout(seed=0))
    model[1].step = 9
    state = model.state_dict() | {"1.step": value}
    with pytest.raises(RuntimeError, match=re.escape(message)) as raised:
        model.load_state_dict(state)
    line = str(raised.value).splitlines()[1:]
    assert len(line) == 1
    assert line[0].endswith("model.load_state_dict(anydrop.torch.without_steps(state, model)).")
    assert model[1].step == 9
    assert torch.equal(model[1](X), drawn(0, 9))
    model.load_state_dict(without_steps(state, model))


# Where a model goes -------------------------------------------------------------------------------


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("seed", [0, None], ids=["seed", "no seed"])
def test_meta_initialisation(seed, compiled, assign):
    saved = model_of(Dropout(seed=seed))
    with torch.device("meta"):
        model = model_of(Dropout(seed=seed))
    assert model[0].weight.is_meta
    assert model[1].handle.device.type == "cpu"
    if seed is not None:
        saved[1].step = 4
        assert model[1].step == 0
    if not assign:
        model.to_empty(device="cpu")
    assert model.load_state_dict(saved.state_dict(), assign=assign) == ([], [])
    forward = torch.compile(model, backend="aot_eager") if compiled else model
    x = torch.ones(50, 4)
    torch.manual_seed(0)
    y = forward(x)
    torch.manual_seed(0)
    assert torch.equal(y, saved(x))
    assert model[1].step == (None if seed is None else 5)


def test_a_model_on_the_meta_device_has_shapes():
    model = model_of(Dropout(seed=0)).to("meta")
    assert model(torch.ones(5, 4, device="meta")).shape == (5, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_changes_of_dtype_leave_the_state_alone(dtype):
    drop = Dropout(seed=0)
    drop.step = 2**40
    drop.to(dtype)
    assert drop.state_dict()["step"].tolist() == [0, 2**8, *stream.key_of(0)]
    assert drop.handle.dtype == torch.int64
    assert torch.equal(drop(X.to(dtype)), drawn(0, 2**40).to(dtype))
    drop.half().double().float()
    assert drop.step == 2**40 + 1


@pytest.mark.parametrize("seed", [0, None], ids=["seed", "no seed"])
def test_a_model_that_is_made_of_fake_tensors(seed):
    saved = model_of(Dropout(seed=seed))
    with FakeTensorMode() as mode:
        model = model_of(Dropout(seed=seed))
        y = model(torch.ones(5, 4))
        assert (y.shape, y.fake_mode) == ((5, 4), mode)
    if seed is not None:
        assert model[1].step == 0  # nothing was drawn
    model.load_state_dict(saved.state_dict(), assign=True)
    x = torch.ones(50, 4)
    for forward in (model, torch.compile(model, backend="aot_eager", fullgraph=True)):
        if seed is not None:
            saved[1].step, model[1].step = 6, 6
        torch.manual_seed(0)
        y = forward(x)
        torch.manual_seed(0)
        assert torch.equal(y, saved(x))


def test_a_state_of_fake_tensors_has_no_steps_to_load():
    drop = Dropout(seed=0)
    value = drop.state_dict()["step"]
    with FakeTensorMode(allow_non_fake_inputs=True):
        state = {"step": torch.empty_like(value)}
    with pytest.raises(RuntimeError, match="got a tensor without a value"):
        drop.load_state_dict(state)
    assert torch.equal(drop(X), drawn(0, 0))
