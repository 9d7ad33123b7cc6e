"""The ends of ranges: the last value that is taken, and the first that is refused."""

import json
import math
import re

import numpy as np
import pytest

import anydrop
from anydrop import Dropout, GaussianNoise, Mask
from anydrop.schedules import Constant, Cosine, Linear, Schedule, WarmUp

X = np.ones((2, 3), "f4")
LARGEST_P = 1 - 2**-32
LARGEST_SEED = 10**4300 - 1


def error(kind, message, call, *args, **kwargs):
    with pytest.raises(kind, match=re.escape(message)):
        call(*args, **kwargs)


class Late(Schedule):
    """Too near to 1 from the second step on."""

    def __call__(self, step):
        return 1 - 2**-40 if step else 0.5


def set_p(p):
    layer = Dropout(0.5, seed=0)
    try:
        layer.p = p
    finally:
        assert layer.p == 0.5


@pytest.mark.parametrize("p", [math.nextafter(LARGEST_P, 1), 1 - 2**-33, 1 - 2**-53])
@pytest.mark.parametrize(
    "take",
    [
        lambda p: anydrop.dropout(X, p, seed=0),
        lambda p: anydrop.dropout(X, p, training=False),
        lambda p: anydrop.zoneout(X, X, p, seed=0),
        lambda p: anydrop.dropout_add(X, X, p, seed=0),
        lambda p: Mask.from_seed((3,), p, seed=0),
        lambda p: anydrop.depth_rates(p, 3),
        lambda p: Linear(0.5, p, 3),
        lambda p: WarmUp(3, Cosine(p, 0.5, 3)),
        lambda p: Dropout(Constant(p)),
        Dropout,
        set_p,
    ],
)
def test_a_p_that_no_threshold_can_follow(take, p):
    message = "p must satisfy 0 <= p < 1 and be at most 1 - 2**-32, got "
    error(ValueError, message, take, p)
    error(ValueError, f"got {p!r}", take, p)


def test_the_p_of_a_schedule_at_a_step():
    layer = Dropout(Late(), seed=0)
    layer(X)
    error(ValueError, "be at most 1 - 2**-32", layer, X)
    assert layer.step == 1


def test_the_largest_p():
    assert Mask.from_seed((3,), LARGEST_P, seed=0).threshold == 2**32 - 1
    layer = Dropout(LARGEST_P, seed=0)
    assert np.array_equal(layer(X), np.zeros_like(X))
    assert Linear(0.0, LARGEST_P, 7)(7) == LARGEST_P


@pytest.mark.parametrize("length", [0, -1, np.int64(-3)])
def test_a_noise_shape_that_no_array_has(length):
    message = f"noise_shape must have 1 for shared axes, and None or .*{length}"
    for make in (Dropout, anydrop.AlphaDropout, GaussianNoise):
        with pytest.raises(ValueError, match=message):
            make(noise_shape=(length, 1))
    for x in (X, X[:0]):
        for training in (True, False):
            with pytest.raises(ValueError, match=message):
                anydrop.dropout(x, seed=0, noise_shape=(length, 1), training=training)


@pytest.mark.parametrize(
    "seed",
    [LARGEST_SEED + 1, 10**9999, (7, LARGEST_SEED + 1), -(10**4300)],
    ids=["one more", "many more", "a word", "negative"],
)
def test_a_seed_of_too_many_digits(seed):
    message = "seed must be an int of at most 4300 decimal digits, the most that Python prints"
    error(ValueError, message, anydrop.dropout, X, seed=seed)
    error(ValueError, message, Dropout, seed=seed)
    error(ValueError, message, Mask.from_seed, (3,), 0.5, seed=seed)


@pytest.mark.parametrize("seed", [LARGEST_SEED, (LARGEST_SEED, 7)], ids=["an int", "a word"])
def test_the_largest_seed(seed):
    layer, other = Dropout(0.5, seed=seed), Dropout(0.5, seed=0)
    y = layer(X)
    assert np.array_equal(y, anydrop.dropout(X, 0.5, seed=np.random.SeedSequence(seed)))
    other.load_state_dict(json.loads(json.dumps(layer.state_dict())))
    assert other.seed == seed
    assert str(LARGEST_SEED) in repr(other)


@pytest.mark.parametrize("scaling", [np.array(["train"]), np.array("inference"), ["train"]])
def test_a_scaling_that_only_equals_one(scaling):
    message = "scaling must be 'train' (kept elements times 1/(1-p) in training) or 'inference'"
    error(ValueError, message, anydrop.dropout, X, seed=0, scaling=scaling)
    error(ValueError, message, Dropout, scaling=scaling)
    assert Dropout(scaling=np.str_("train")).scaling == "train"


@pytest.mark.parametrize(
    "keywords",
    [
        {"step": 10**4300},
        {"shared_axes": 10**4300},
        {"noise_shape": (10**4300,)},
        {"window": ((0,), (10**4300,))},
        {"window": ((10**4300,), (9,))},
    ],
    ids=lambda keywords: next(iter(keywords)),
)
def test_ints_that_python_does_not_print(keywords):
    with pytest.raises(ValueError, match="must be an int of at most 4300 decimal digits"):
        anydrop.dropout(np.ones(7), 0.5, seed=0, **keywords)
