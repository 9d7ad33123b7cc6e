"""Faults that an attack on the catalogue found: state that is shared, mistaken or lost."""

import collections
import copy
import threading
from dataclasses import dataclass

import numpy as np
import pytest
from catalogue import VARIANTS

import anydrop
from anydrop import schedules


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_shallow_copy_has_settings_of_its_own(variant):
    layer = variant.make()
    setattr(copy.copy(layer), variant.rate, 0.1)
    assert getattr(layer, variant.rate) == 0.4


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_setting_that_a_layer_has_not(variant):
    kind = variant.layer.__name__
    for name in ("nonsense", "rate", "training", "step"):
        message = rf"{kind} has no setting '{name}': it takes seed, rng, .*{variant.rate}"
        message += f"|{kind}.* unexpected keyword argument '{name}'"
        with pytest.raises(TypeError, match=message):
            variant.layer(**{variant.rate: 0.4, **variant.options, name: 1})


@dataclass(frozen=True)
class Linear(schedules.Schedule):
    """A user's, of the same name and fields as one of anydrop's."""

    start: float
    stop: float
    steps: int

    def __call__(self, step):
        return 0.9


@pytest.mark.parametrize("kind", [Linear, schedules.Linear])
def test_schedules_of_one_name_are_not_mistaken(kind):
    layer, other = anydrop.Dropout(kind(0.0, 0.5, 10), seed=0), anydrop.Dropout(seed=1)
    other.load_state_dict(layer.state_dict())
    assert type(other.p) is kind


def test_a_schedule_in_the_place_of_a_number():
    with pytest.raises(TypeError, match="a schedule is for a layer, or to be called with the step"):
        anydrop.dropout(np.ones(3), schedules.Constant(0.5), seed=0)


@pytest.mark.parametrize("dtype", [">c8", ">c16", ">f4", ">f2"])
def test_noise_keeps_the_byte_order(dtype):
    y, noise = anydrop.gaussian_dropout(np.ones(3, dtype), 0.5, seed=0, return_mask=True)
    assert y.dtype == noise.apply(y).dtype == np.dtype(dtype)


def test_the_mask_of_noise_beside_complex_numbers():
    x = np.ones(4, "c16")
    y, noise = anydrop.gaussian_dropout(x, 0.5, seed=0, return_mask=True)
    assert np.array_equal(noise.keep(like=x), y.real)


def test_tokens_store_no_mask_that_nobody_wants(monkeypatch):
    packed = []
    backend = anydrop.resolve(np.ones(1))
    pack = backend.pack
    monkeypatch.setattr(backend, "pack", lambda keep: packed.append(keep.shape) or pack(keep))
    ids = np.arange(9)
    anydrop.token_dropout(ids, 0.5, token=1, seed=0)
    assert packed == []
    anydrop.token_dropout(ids, 0.5, token=1, seed=0, return_mask=True)
    assert packed == [(9,)]


HIDDEN = anydrop.Dropout(0.5, seed=1)


@pytest.mark.parametrize(
    "holder",
    [
        lambda layer: collections.UserList([layer]),
        lambda layer: collections.UserDict({0: layer}),
        lambda layer: collections.ChainMap({}, {0: layer}),
        lambda layer: {layer: "a layer"},
    ],
    ids=["UserList", "UserDict", "ChainMap", "key"],
)
def test_layers_in_other_containers_are_found(holder):
    first, second = (anydrop.Dropout(0.5, seed=s).eval() for s in (0, 1))
    held = holder(second)
    x = np.ones(400)

    def predict(x):
        layer = next(iter(held)) if isinstance(held, dict) else held[0]
        return layer(first(x)).sum()

    given = anydrop.monte_carlo(predict, x, samples=50, seed=0, layers=[second, first])
    found = anydrop.monte_carlo(predict, x, samples=50, seed=0)
    assert abs(found.std / given.std - 1) < 0.5  # 33 and not 19, of the first alone
    assert found.std > 26


def test_an_input_that_is_called_as_a_keyword_is():
    drop = anydrop.Dropout(0.5, seed=0)
    by_another_name = anydrop.monte_carlo(lambda x: drop(x), np.ones(9), samples=5, seed=0)
    for predict in (lambda seed: drop(seed), lambda step: drop(step)):
        result = anydrop.monte_carlo(predict, np.ones(9), samples=5, seed=0)
        assert np.array_equal(result.mean, by_another_name.mean)


def test_one_layer_belongs_to_one_thread():
    drop, errors = anydrop.Dropout(0.5, seed=3), []

    def elsewhere():
        try:
            anydrop.monte_carlo(drop, np.ones(3), samples=2, seed=0)
        except RuntimeError as error:
            errors.append(str(error))

    def predict(x):
        if not errors:
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
        return drop(x)

    anydrop.monte_carlo(predict, np.ones(3), samples=3, seed=0, layers=[drop])
    assert "this Dropout is at work in another thread" in errors[0]
    assert (drop.seed, drop.step, drop.mask) == (3, 0, None)


def test_a_sequence_without_a_batch_has_no_mask_to_share():
    drop = anydrop.LockedDropout(0.5, time_axis=0, seed=0)
    call = {"samples": 3, "seed": 0, "same_masks": True}
    with pytest.raises(ValueError, match="which of the two LockedDropout got can't be told"):
        anydrop.monte_carlo(drop, np.ones((7, 100)), **call)
    assert anydrop.monte_carlo(drop, np.ones((7, 2, 50)), **call).std.any()


def test_certainty_is_zero_and_not_minus_zero():
    sure = np.asarray([[1.0, 0.0], [0.0, 1.0]])
    drop = anydrop.Dropout(0.5, seed=0)
    result = anydrop.monte_carlo(
        lambda x: sure + 0 * drop(x), sure, samples=3, seed=0, outputs="probabilities"
    )
    assert not np.signbit(result.entropy).any()
    assert not result.entropy.any()
