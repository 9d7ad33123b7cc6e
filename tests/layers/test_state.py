"""Faults that an attack on the catalogue found: state that is shared, mistaken or lost."""

import copy
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
    with pytest.raises(TypeError, match="give a schedule to a layer, or call it with the step"):
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
