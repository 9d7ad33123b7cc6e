"""The layer: passes, modes, state. Each runs on every subject."""

import copy
import json
import pickle

import numpy as np
import pytest
from subjects import SUBJECTS

import anydrop
from anydrop import Dropout
from anydrop.testing.reference import keep


def ones(subject, *shape):
    return subject.array(np.ones(shape, "f4"))


def test_textbook_example(subject):
    drop = Dropout(p=0.5, seed=0)
    x = np.array([1, 2, 3, 4], "f4")
    y = subject.numpy(drop.forward(subject.array(x), training=True))
    assert set((y / x).tolist()) <= {0.0, 2.0}
    gradient = np.array([0.1, 0.2, 0.3, 0.4], "f4")
    dx = subject.numpy(drop.backward(subject.array(gradient)))
    assert np.array_equal(dx, np.where(y == 0, 0, gradient * 2))


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_drop_rate_and_mean(subject, p):
    """Within 5 standard errors: a right layer fails one run in 1.7 million, were it random."""
    n = 100_000
    y = subject.numpy(Dropout(p, seed=11)(ones(subject, n))).astype("f8")
    error = np.sqrt(p * (1 - p) / n)
    assert abs((y == 0).mean() - p) < 5 * error
    assert abs(y.mean() - 1) < 5 * error / (1 - p)


def test_steps_follow_the_stream(subject):
    drop = Dropout(0.4, seed=5)
    for step in range(3):
        assert drop.step == step
        drop(ones(subject, 4, 9))
        assert np.array_equal(subject.numpy(drop.mask), keep((4, 9), 0.4, seed=5, step=step))
    drop.step = 1
    drop(ones(subject, 4, 9))
    assert np.array_equal(subject.numpy(drop.mask), keep((4, 9), 0.4, seed=5, step=1))


def test_two_training_forwards_differ(subject):
    drop = Dropout(0.5, seed=0)
    first, second = (subject.numpy(drop(ones(subject, 100))) for _ in range(2))
    assert not np.array_equal(first, second)


def test_inference_changes_nothing(subject):
    """An inference forward between a training forward and its backward."""
    drop = Dropout(0.5, seed=0)
    x = ones(subject, 50)
    y = subject.numpy(drop(x))
    other = ones(subject, 3)
    assert drop.forward(other, training=False) is other
    drop.eval()
    assert drop(other) is other
    assert drop.step == 1
    assert np.array_equal(subject.numpy(drop.mask), y != 0)
    assert drop.backward(other) is other  # of the last forward, in inference mode
    assert np.array_equal(subject.numpy(drop.backward(x, training=True)), y)
    assert np.array_equal(subject.numpy(drop.train().backward(x)), y)


def test_modes():
    drop = Dropout(0.5, seed=0)
    assert drop.training
    assert drop.eval() is drop
    assert not drop.training
    assert drop.train() is drop
    assert drop.training
    assert not drop.train(False).training
    x = np.ones(100)
    assert (drop.forward(x, training=True) == 0).any()
    assert not drop.training


def test_mask(subject):
    drop = Dropout(0.5, seed=1, shared_axes=-1)
    assert drop.mask is None
    x = ones(subject, 6, 5)
    y = subject.numpy(drop(x))
    assert subject.backend.owns(drop.mask)
    assert subject.backend.device(drop.mask) == subject.backend.device(x)
    assert subject.numpy(drop.mask).shape == (6, 1)
    assert np.array_equal(y, 2.0 * np.broadcast_to(subject.numpy(drop.mask), (6, 5)))


def test_backward_takes_any_library(subject):
    drop = Dropout(0.5, seed=1)
    drop(ones(subject, 20))
    from_numpy = drop.backward(np.ones(20, "f4"))
    assert type(from_numpy) is np.ndarray
    assert np.array_equal(from_numpy, subject.numpy(drop.backward(ones(subject, 20))))


def test_backward_takes_the_gradients_dtype():
    drop = Dropout(0.5, seed=1)
    drop(np.ones(8, "f4"))
    assert drop.backward(np.ones(8, "f8")).dtype == "f8"


def test_p_zero_keeps_everything(subject):
    drop = Dropout(0.0, seed=3)
    x = ones(subject, 200)
    assert np.array_equal(subject.numpy(drop(x)), np.ones(200))
    assert drop.step == 1


def test_p_may_change_between_steps(subject):
    drop = Dropout(0.5, seed=0)
    drop(ones(subject, 64))
    drop.p = 0.25
    assert np.array_equal(subject.numpy(drop.mask), keep((64,), 0.5, seed=0))
    drop(ones(subject, 64))
    assert np.array_equal(subject.numpy(drop.mask), keep((64,), 0.25, seed=0, step=1))


def test_scaling_of_2014(subject):
    """The expectation is the same in both ways of scaling, at inference and in training."""
    x = ones(subject, 1000)
    drop = Dropout(0.2, seed=0, scaling="inference")
    y = subject.numpy(drop(x))
    assert set(y.tolist()) == {0.0, 1.0}
    assert np.array_equal(subject.numpy(drop.backward(x)), y)
    assert np.array_equal(subject.numpy(drop.forward(x, False)), np.full(1000, 0.8, "f4"))


def test_fresh_seeds_are_reported_and_repeat():
    drop = Dropout(0.5)
    assert isinstance(drop.seed, int)
    assert drop.seed != Dropout(0.5).seed
    x = np.ones(100)
    assert np.array_equal(drop(x), Dropout(0.5, seed=drop.seed)(x))


def test_spawned_seeds_are_independent():
    a, b = (Dropout(0.5, seed=s) for s in np.random.SeedSequence(7).spawn(2))
    assert not np.array_equal(a(np.ones(100)), b(np.ones(100)))


SEEDS = [0, 2**100, (1, 2, 3), np.random.SeedSequence(7).spawn(3)[2]]


@pytest.mark.parametrize("seed", SEEDS, ids=repr)
def test_a_resumed_run_is_the_unbroken_run(seed):
    x = np.ones((3, 40))
    unbroken = Dropout(0.5, seed=seed, shared_axes=0)
    expected = [unbroken(x) for _ in range(4)]

    first = Dropout(0.5, seed=seed, shared_axes=0)
    assert [np.array_equal(first(x), e) for e in expected[:2]] == [True, True]
    written = json.dumps(first.state_dict())
    second = Dropout(0.9, seed=99).eval()
    second.load_state_dict(json.loads(written))
    assert second.p == 0.5
    assert not second.training
    second.train()
    assert [np.array_equal(second(x), e) for e in expected[2:]] == [True, True]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
@pytest.mark.parametrize("seed", SEEDS, ids=repr)
def test_copies_go_on_alike(duplicate, seed):
    x = np.ones(100, "f4")
    drop = Dropout(0.3, seed=seed, shared_axes=(), scaling="train")
    y = drop(x)
    twin = duplicate(drop)
    assert repr(twin) == repr(drop)
    assert np.array_equal(twin.backward(x), y)
    assert np.array_equal(twin.mask, drop.mask)
    assert np.array_equal(twin(x), drop(x))


def test_copies_on_every_library(subject):
    drop = Dropout(0.3, seed=1)
    x = ones(subject, 100)
    y = drop(x)
    twin = copy.deepcopy(drop)
    assert np.array_equal(subject.numpy(twin.backward(x)), subject.numpy(y))
    assert np.array_equal(subject.numpy(twin.mask), subject.numpy(drop.mask))


def test_the_state_of_any_seed_is_plain_json():
    for seed in (
        np.random.SeedSequence(np.int64(5)),
        np.random.SeedSequence(np.array([1, 2])),
        np.random.SeedSequence([np.int64(3), 4], spawn_key=(np.int64(2),), pool_size=8),
    ):
        drop = Dropout(0.5, seed=seed)
        other = Dropout(seed=0)
        other.load_state_dict(json.loads(json.dumps(drop.state_dict())))
        assert np.array_equal(other(np.ones(99)), drop(np.ones(99)))


def test_a_resumed_seed_does_not_spawn_its_children_again():
    seed = np.random.SeedSequence(1)
    seed.spawn(2)
    drop = Dropout(seed=0)
    drop.load_state_dict(json.loads(json.dumps(Dropout(seed=seed).state_dict())))
    assert drop.seed.spawn(1)[0].spawn_key == (2,)


def test_inference_elsewhere_leaves_the_mask_at_home(subject):
    drop = Dropout(0.5, seed=0)
    drop(ones(subject, 9))
    drop.forward(np.ones(3), training=False)
    for device in (other.array(np.ones(3, "f4")) for other in SUBJECTS):
        drop.forward(device, training=False)
    assert subject.backend.owns(drop.mask)
    assert subject.backend.device(drop.mask) == subject.backend.device(ones(subject, 9))


def test_equal_recipes_are_equal():
    one, other = (
        anydrop.Mask.from_seed((2, 3), 0.5, seed=0, shared_axes=a) for a in ([0, 1], [1, 0])
    )
    assert one == other


def test_repr():
    assert repr(Dropout(seed=0)) == "Dropout(p=0.5, seed=0, step=0)"
    drop = Dropout(0.1, seed=(1, 2), shared_axes=-1, scaling="inference").eval()
    assert repr(drop) == (
        "Dropout(p=0.1, shared_axes=(-1,), scaling='inference', "
        "seed=(1, 2), step=0, training=False)"
    )
    spawned = Dropout(seed=np.random.SeedSequence(7).spawn(1)[0])
    assert "seed=SeedSequence(entropy=7, spawn_key=(0,))" in repr(spawned)
    assert "rng=RandomState(MT19937)" in repr(Dropout(rng=np.random.RandomState(0)))


def test_dropout_layer_is_the_same_class():
    assert anydrop.DropoutLayer is Dropout


def test_recipes_are_small_values():
    """No mask is stored: the recipe of 2**40 elements is a few hundred bytes."""
    mask = anydrop.Mask.from_seed((2**20, 2**20), 0.5, seed=0)
    assert len(pickle.dumps(mask)) < 300
    assert pickle.loads(pickle.dumps(mask)) == mask
    assert hash(mask) == hash(anydrop.Mask.from_seed((2**20, 2**20), 0.5, seed=0))


def test_the_mask_is_at_home_with_the_last_input(subject):
    """Inputs of two libraries in turn, planned and not: the mask follows each."""
    layer, x = Dropout(0.5, seed=2), np.ones(40, "f4")
    for step in range(0, 12, 2):
        layer(x)
        assert type(layer.mask) is np.ndarray
        assert np.array_equal(layer.mask, keep((40,), 0.5, seed=2, step=step))
        layer(subject.array(x))
        assert anydrop.resolve(layer.mask) is anydrop.resolve(subject.array(x))
        assert np.array_equal(subject.numpy(layer.mask), keep((40,), 0.5, seed=2, step=step + 1))


def test_a_refused_call_forgets_nothing(subject):
    """Whether the refusal comes before a plan is asked for, from it, or after it."""
    layer, x = Dropout(0.5, seed=2), ones(subject, 40)
    for calls in range(1, 5):
        layer(x)
        before = layer.state_dict(), layer.recipe, subject.numpy(layer.mask)
        for wrong in (np.arange(3), "text", None, np.ones(3, "c16").astype(object)):
            with pytest.raises(TypeError):
                layer(wrong)
        with pytest.raises(TypeError):
            layer(x, training="yes")
        assert (layer.state_dict(), layer.recipe) == before[:2]
        assert np.array_equal(subject.numpy(layer.mask), before[2])
        kept = subject.numpy(layer.backward(x)) != 0
        assert np.array_equal(kept, keep((40,), 0.5, seed=2, step=calls - 1))


def test_a_step_that_is_set_between_planned_calls(subject):
    layer, x = Dropout(0.5, seed=2), ones(subject, 40)
    for step in (0, 1, 2, 7, 2**40, 2**64 - 1, 3, 4):
        layer.step = step
        y = subject.numpy(layer(x))
        kept = keep((40,), 0.5, seed=2, step=step)
        assert np.array_equal(y != 0, kept)
        assert np.array_equal(subject.numpy(layer.backward(x)) != 0, kept)
        assert layer.step == step + 1
        layer.step = 0  # which changes nothing of what was drawn
        assert np.array_equal(subject.numpy(layer.backward(x)) != 0, kept)
        assert np.array_equal(subject.numpy(layer.mask), kept)
        layer(x)
