"""Subclasses with attributes and constructors of their own: nothing of theirs is lost."""

import copy
import json
import pickle
from functools import partial

import numpy as np
import pytest

import anydrop
from anydrop import DropLayer
from anydrop.core.setting import Setting

X = np.ones(64)


class Named(DropLayer):
    """Its constructor takes other arguments than its parent's; one attribute is in a slot."""

    __slots__ = ("note",)
    _function = staticmethod(anydrop.dropout)

    def __init__(self, name, *, seed):
        super().__init__(0.3, seed=seed)
        self.name, self.calls, self.note = name, 0, [name]

    def forward(self, x, training=None):
        self.calls += 1
        return super().forward(x, training)

    __call__ = forward


class Least(DropLayer):
    """It has a setting of its own, and a rule for two of them together."""

    _function = staticmethod(lambda x, least, **keywords: anydrop.dropout(x, **keywords))
    least = Setting(lambda value, name: float(value), "The least p.")

    def __init__(self, p, least, seed):
        super().__init__(p, least=least, seed=seed)

    @classmethod
    def _check_settings(cls, settings):
        if settings["p"] < settings["least"]:
            raise ValueError(f"p must be at least {settings['least']}, got {settings['p']}")
        return super()._check_settings(settings)


def run(layer):
    anydrop.monte_carlo(lambda x: layer(x), X, samples=3, seed=0)
    layer.calls -= 3
    return layer


def run_that_names(layer):
    """An attribute that is set meanwhile stays too."""

    def predict(x):
        layer.name = "dropout"
        return layer(x)

    layer.name = ""
    anydrop.monte_carlo(predict, X, samples=1, seed=0)
    layer.calls -= 1
    return layer


def resume(layer):
    layer.load_state_dict(json.loads(json.dumps(layer.state_dict())))
    return layer


def through_pickle(layer, protocol):
    return pickle.loads(pickle.dumps(layer, protocol))


WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "load_state_dict": resume,
    "monte_carlo": run,
    "monte_carlo, set meanwhile": run_that_names,
    **{f"pickle {n}": partial(through_pickle, protocol=n) for n in range(2, 6)},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_attributes_stay(way):
    layer = Named("dropout", seed=7)
    layer(X)
    after = way(layer)
    assert type(after) is Named
    assert (after.name, after.calls, after.note) == ("dropout", 1, ["dropout"])
    assert np.array_equal(after(X), anydrop.dropout(X, 0.3, seed=7, step=1))


def test_a_copy_shares_what_a_deepcopy_has_for_itself():
    layer = Named("dropout", seed=7)
    assert copy.copy(layer).note is layer.note
    assert copy.deepcopy(layer).note is not layer.note


def test_a_state_goes_from_one_layer_to_another():
    """Of the same class; what is not in it stays as each layer has it."""
    one, other = Named("one", seed=7), Named("other", seed=8)
    one(X)
    other.load_state_dict(one.state_dict())
    assert (other.name, other.calls, other.seed, other.step) == ("other", 0, 7, 1)


def test_a_rule_of_its_own_holds_for_a_state():
    layer = Least(0.5, 0.25, seed=0)
    layer(X)
    before, mask = layer.state_dict(), layer.mask
    with pytest.raises(ValueError, match=r"not a state of this layer: p must be at least 0.25"):
        layer.load_state_dict({**before, "p": 0.125, "seed": 5, "step": 9})
    assert layer.state_dict() == before
    assert np.array_equal(layer.mask, mask)
    layer.load_state_dict({**before, "p": 0.75})
    assert (layer.p, layer.least, layer.mask) == (0.75, 0.25, None)


@pytest.mark.parametrize(
    ("layer", "change", "message"),
    [
        (
            anydrop.Dropout(seed=0),
            {"shared_axes": [0], "noise_shape": [1, None]},
            "give either shared_axes= or noise_shape=",
        ),
        (
            anydrop.GaussianNoise(seed=0),
            {"shared_axes": [0], "noise_shape": [1, None]},
            "give either shared_axes= or noise_shape=",
        ),
        (anydrop.AlphaDropout(seed=0), {"scaling": "inference"}, "makes no sense here"),
        (anydrop.DropBlock2d(seed=0), {"block_size": [3, 3, 3]}, "block_size must be one length"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_settings_that_do_not_go_together(layer, change, message):
    before = layer.state_dict()
    with pytest.raises(ValueError, match=message):
        layer.load_state_dict({**before, "seed": 5, "step": 9, **change})
    assert layer.state_dict() == before
    rate = {"p": 0.5} if "p" in before else {"std": 0.5}
    with pytest.raises(ValueError, match=message):
        type(layer)(**rate, **change)
