"""Dropout that Monte Carlo can't run: other libraries', and that of p = 0."""

import re

import numpy as np
import pytest

import anydrop
from anydrop import Dropout, monte_carlo
from anydrop.schedules import Linear

X = np.ones(64)


def kind_of(module, name, *bases):
    """Return a class as a library that is not installed here has it."""
    return type(name, bases or (object,), {"__module__": module})


class Model:
    def __init__(self, *parts):
        self.parts = parts

    def __call__(self, x):
        return self.parts[0](x)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("flax.nnx.nn.stochastic", "Dropout"),
        ("keras.src.layers.regularization.spatial_dropout", "SpatialDropout2D"),
        ("keras.src.layers.regularization.gaussian_dropout", "GaussianDropout"),
        ("equinox.nn._dropout", "Dropout"),
        ("torchvision.ops.stochastic_depth", "StochasticDepth"),
        ("timm.layers.drop", "DropPath"),
    ],
)
def test_another_librarys_dropout_is_named(module, name):
    """By the name of its class, or of one that it derives from; nothing is imported for it."""
    theirs = kind_of(module, name)
    mine = kind_of("my_model", "Mine", theirs)
    for kind, shown in ((theirs, f"{module}.{name}"), (mine, "my_model.Mine")):
        message = re.escape(
            f"another library's dropout ({shown}), which monte_carlo doesn't switch on"
        )
        with pytest.warns(UserWarning, match=message):
            result = monte_carlo(Model(Dropout(0.5, seed=0), kind()), X, samples=4, seed=0)
        assert result.std.any()


def test_what_is_no_dropout_of_theirs():
    """Their other layers, what the user calls so, and what drops nothing."""
    for kind in (kind_of("flax.nnx", "Linear"), kind_of("mine", "Dropout")):
        monte_carlo(Model(Dropout(0.5, seed=0), kind()), X, samples=2, seed=0)
    for rate in ("p", "rate"):
        theirs = kind_of("flax.nnx", "Dropout")()
        setattr(theirs, rate, 0.0)
        monte_carlo(Model(Dropout(0.5, seed=0), theirs), X, samples=2, seed=0)


@pytest.mark.parametrize(
    ("layers", "shown"),
    [
        ([Dropout(0.0, seed=0)], "1 (Dropout)"),
        (
            [anydrop.GaussianNoise(0.0, seed=0), Dropout(Linear(0.0, 0.5, steps=9), seed=0)],
            "2 (GaussianNoise, Dropout)",
        ),
    ],
)
def test_every_p_is_zero(layers, shown):
    message = (
        f"every p is 0, so all samples would be equal: none of {shown} drops. Set a p above 0; "
        "a schedule is evaluated at its layer's current step"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        monte_carlo(lambda x: [layer(x) for layer in layers].pop(), X, samples=2, seed=0)
    assert [layer.step for layer in layers] == [0] * len(layers)


def test_one_p_above_zero():
    off, on = Dropout(0.0, seed=0), Dropout(2**-2, seed=0)
    assert monte_carlo(lambda x: on(off(x)), X, samples=9, seed=0).std.any()

    def predict(x, step):
        return anydrop.dropout(off(x), 0.5, seed=0, step=step)

    assert monte_carlo(predict, X, samples=9, seed=0).std.any()


def test_attributes_of_strangers_are_not_looked_up():
    """An object that answers for every name may compute, or fail."""

    class Stranger:
        def __getattr__(self, name):
            if name == "anydrop":
                raise RuntimeError("looked up")
            raise AttributeError(name)

    drop, stranger = Dropout(0.5, seed=0), Stranger()
    assert monte_carlo(lambda x: (stranger, drop(x))[1], X, samples=9, seed=0).std.any()
