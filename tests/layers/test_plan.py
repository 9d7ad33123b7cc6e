"""Planned calls: from the third of a kind on, a layer or a function goes straight to the kernel."""

import copy
import functools
import pickle

import numpy as np
import pytest
from catalogue import VARIANTS
from subjects import available, numpy_subjects, serving

import anydrop
from anydrop.schedules import Linear
from anydrop.testing.reference import bits

SELECTING = [v for v in VARIANTS if v.layer._rule]


@pytest.fixture(
    params=[s for s in numpy_subjects() if s.name.endswith("-1")], ids=str, autouse=True
)
def kernels(request, monkeypatch):
    """Each kind of kernels, which is there from the first call."""
    return serving(monkeypatch, request.param)


def ready(variant=SELECTING[0], **keywords):
    """Return a layer that has the plan of its last call, and an array for it."""
    x = variant.input()
    variant.run(variant.make(**keywords), x)
    layer = variant.make(**keywords)
    variant.run(layer, x)
    assert layer._plan is not None
    return layer, x


def by_hand(x, p=0.4, **keywords):
    return anydrop.dropout(x, p, seed=0, **keywords)


def test_which_functions_are_planned():
    names = {v.function.__name__ for v in VARIANTS} - {v.function.__name__ for v in SELECTING}
    assert names == {
        *("drop_block1d", "drop_block2d", "drop_block3d", "drop_connect", "zoneout"),
        "dropout_add",
        *("gaussian_dropout", "gaussian_noise", "token_dropout"),
    }


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("variant", SELECTING, ids=str)
def test_a_planned_call_is_the_function_at_its_step(variant, dtype, monkeypatch):
    layer, x = variant.make(), variant.input(dtype)
    variant.run(variant.make(), x)
    g = np.random.default_rng(1).standard_normal(x.shape).astype(dtype)
    variant.run(layer, x)
    assert layer._plan
    monkeypatch.setattr(type(layer), "_forward", None)  # all that follows does without
    for step in range(1, 4):
        y = layer(x)
        expected, mask = variant(x, seed=0, step=step, return_mask=True)
        assert bits(y) == bits(expected)
        assert y.dtype == x.dtype
        assert y.flags.writeable
        assert bits(layer.backward(g)) == bits(mask.apply(g))
        assert layer.recipe == mask
        assert layer.step == step + 1
        assert np.array_equal(layer.mask, mask.keep(like=x))


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v not in SELECTING], ids=str)
def test_other_functions_are_called_each_time(variant):
    layer, x = variant.make(), variant.input()
    for step in range(3):
        y, again = variant.run(layer, x), variant(x, seed=0, step=step)
        assert np.array_equal(y, again)
        assert layer._plan is None


OTHER_ARRAYS = {
    "shape": np.ones((5, 6), "f4"),
    "dtype": np.ones((6, 5)),
    "no dimensions": np.float32(2),
    "empty": np.ones((0, 5), "f4"),
    "strided": np.arange(120, dtype="f4").reshape(6, 20)[:, ::4],
    "fortran": np.asfortranarray(np.arange(30, dtype="f4").reshape(6, 5)),
    "byte-swapped": np.arange(30).astype(">f4").reshape(6, 5),
    "unaligned": np.arange(121, dtype="u1")[1:].view("f4").reshape(6, 5),
    "read-only": np.frombuffer(np.arange(30, dtype="f4").tobytes(), "f4").reshape(6, 5),
    "large": np.ones((2**10, 2**9), "f4"),
}


@pytest.mark.parametrize("x", OTHER_ARRAYS.values(), ids=OTHER_ARRAYS)
def test_an_array_of_another_kind(x):
    layer, first = ready()
    assert np.array_equal(layer(x), by_hand(x, step=1), equal_nan=True)
    assert np.array_equal(layer.backward(x), by_hand(x, step=1), equal_nan=True)
    assert np.array_equal(layer(first), by_hand(first, step=2))
    assert np.array_equal(layer.backward(first), by_hand(first, step=2))
    assert layer.step == 3


def test_arrays_of_two_kinds_in_turn(monkeypatch):
    layer, x = ready()
    other = np.arange(24, dtype="f4").reshape(4, 6)
    for step, array in enumerate([x, other, x, other, other, other, x], start=1):
        assert np.array_equal(layer(array), by_hand(array, step=step))
        assert np.array_equal(layer.backward(array), by_hand(array, step=step))
        with pytest.raises(ValueError, match="shape"):
            layer.backward(other if array is x else x)
    # Both plans are kept.
    monkeypatch.setattr(anydrop.resolve(x), "plan", None)
    monkeypatch.setattr(anydrop.resolve(x), "select", None)
    for array in (other, x, other, x):
        layer(array)


def test_a_function_around_one_that_is_planned():
    """A subclass that has another function has no rule of its parent's."""

    @functools.wraps(anydrop.dropout)
    def louder(*arguments, **keywords):
        y, mask = anydrop.dropout(*arguments, **keywords)
        return y + 100, mask

    class Louder(anydrop.Dropout):
        _function = staticmethod(louder)

    layer, x = Louder(0.4, seed=0), np.ones((6, 5), "f4")
    for step in range(3):
        assert np.array_equal(layer(x), by_hand(x, step=step) + 100)


def test_gradients_of_another_kind():
    layer, x = ready()
    layer(x)
    for g in (x.astype("f8"), np.asfortranarray(x), x.astype(">f4")):
        assert np.array_equal(layer.backward(g), by_hand(g, step=1))
    with pytest.raises(ValueError, match=r"shape \(6, 5\), got one of \(5, 6\)"):
        layer.backward(x.T)
    with pytest.raises(TypeError, match="got list"):
        layer.backward(x.tolist())


def test_what_is_wrong_is_refused_still():
    layer, x = ready()
    before = layer.state_dict()
    for wrong in (x.astype(int), x.tolist(), np.ma.masked_array(x), None):
        with pytest.raises(TypeError):
            layer(wrong)
    for wrong in ("yes", 1, 0):
        with pytest.raises(TypeError, match="training must be True or False"):
            layer(x, training=wrong)
    assert layer.state_dict() == before
    assert np.array_equal(layer(x, training=np.True_), by_hand(x, step=1))


def test_modes():
    layer, x = ready()
    assert layer(x, training=False) is x
    assert layer.eval()(x) is x
    assert np.array_equal(layer(x, training=True), by_hand(x, step=1))
    assert np.array_equal(layer.train()(x), by_hand(x, step=2))
    assert layer.step == 3


def test_settings_that_change():
    layer, x = ready()
    layer(x)
    layer.p = 0.1
    assert np.array_equal(layer.backward(x), by_hand(x, step=1))  # as the forward was
    for step in (2, 3):
        assert np.array_equal(layer(x), by_hand(x, 0.1, step=step))
    layer.step = 7
    assert np.array_equal(layer.backward(x), by_hand(x, 0.1, step=3))
    for step in (7, 8):
        assert np.array_equal(layer(x), by_hand(x, 0.1, step=step))
        assert np.array_equal(layer.backward(x), by_hand(x, 0.1, step=step))
    layer.p = Linear(0.0, 0.9, steps=9)
    for step in (9, 10):
        assert np.array_equal(layer(x), by_hand(x, 0.9, step=step))
    layer.step = 5
    for step in (5, 6):
        assert np.array_equal(layer(x), by_hand(x, 0.1 * step, step=step))
        assert layer._plan is None


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_go_on_by_themselves(duplicate):
    layer, x = ready()
    twin = duplicate(layer)
    for step in (1, 2, 3):
        assert np.array_equal(twin(x), by_hand(x, step=step))
        assert np.array_equal(twin.backward(x), by_hand(x, step=step))
    assert layer.step == 1
    assert np.array_equal(layer(x), by_hand(x, step=1))


def test_a_state_that_is_loaded():
    layer, x = ready()
    layer(x)
    other = anydrop.Dropout(0.2, seed=9)
    layer.load_state_dict(other.state_dict())
    for step in range(3):
        assert np.array_equal(layer(x), anydrop.dropout(x, 0.2, seed=9, step=step))


def test_monte_carlo_lends_a_layer_and_gives_it_back():
    layer, x = ready()
    result = anydrop.monte_carlo(layer, x, samples=5, seed=3)
    assert result.std.any()
    child = np.random.SeedSequence(3, spawn_key=(0,))
    samples = [anydrop.dropout(x, 0.4, seed=child, step=step) for step in range(5)]
    np.testing.assert_allclose(result.mean, np.mean(samples, axis=0), rtol=1e-6)
    assert np.array_equal(layer(x), by_hand(x, step=1))


def test_generators_are_asked_each_time():
    layer, x = anydrop.Dropout(0.5, rng=np.random.default_rng(0)), np.ones((6, 5), "f4")
    rng = np.random.default_rng(0)
    for _ in range(3):
        assert np.array_equal(layer(x) != 0, rng.random((6, 5)) < 0.5)


@pytest.mark.parametrize("first", [2**63 - 2, 2**64 - 3])
def test_steps_of_64_bits(first):
    layer, x = anydrop.Dropout(0.4, seed=0), np.ones((6, 5), "f4")
    layer.step = first
    for step in range(first, first + 3):
        assert np.array_equal(layer(x), by_hand(x, step=step))
        assert np.array_equal(layer.backward(x), by_hand(x, step=step))
    assert layer.step == first + 3


def test_a_step_of_another_library():
    """It may be traced, so nothing is known of the calls that it counts."""
    if not available("torch"):
        pytest.skip("torch is not installed here; nox -s tests-torch and tests-all have it")
    import torch

    layer, x = ready()
    layer.step = torch.tensor(3)
    assert layer._plan is None
    for step in (3, 4):
        assert np.array_equal(layer(x), by_hand(x, step=step))
        assert layer._plan is None
    assert int(layer.step) == 5


def test_after_the_last_step():
    layer, x = anydrop.Dropout(0.4, seed=0), np.ones((6, 5), "f4")
    layer.step = 2**64 - 2
    layer(x)
    layer(x)
    with pytest.raises(ValueError, match=r"step must satisfy 0 <= step < 2\*\*64"):
        layer(x)
    assert layer.step == 2**64


def test_extreme_numbers():
    """By selection: and without a warning, which pytest would make an error."""
    x = np.asarray([np.nan, np.inf, -np.inf, -0.0, 0.0, 3e38, 1e-45, 1.0] * 8, "f4")
    layer = anydrop.Dropout(0.5, seed=0)
    layer(x)
    y = layer(x)
    kept = layer.mask
    assert bits(y) == bits(
        np.where(kept, [np.nan, np.inf, -np.inf, -0.0, 0.0, np.inf, 3e-45, 2.0] * 8, 0).astype("f4")
    )
    assert not np.signbit(y[~kept]).any()
