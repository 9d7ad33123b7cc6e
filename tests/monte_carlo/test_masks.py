"""Monte Carlo with one mask for all examples of a batch, through every layer of the catalogue."""

import re

import numpy as np
import pytest

import anydrop
from anydrop import Layer, monte_carlo

FLOATS = np.random.default_rng(0).standard_normal
IDS = np.arange(5, 45).reshape(1, 40)

# A layer, one example as a batch of one, and the axis of the batch.
CASES = {
    "Dropout": (anydrop.Dropout(0.5, seed=0), FLOATS((1, 40)), 0),
    "negative shared axis": (anydrop.Dropout(0.5, seed=0, shared_axes=-1), FLOATS((1, 40, 3)), 0),
    "batch shared already": (anydrop.Dropout(0.5, seed=0, shared_axes=-2), FLOATS((1, 40)), 0),
    "noise_shape": (
        anydrop.Dropout(0.5, seed=0, noise_shape=(None, 1, None)),
        FLOATS((1, 3, 40)),
        0,
    ),
    "Dropout1d": (anydrop.Dropout1d(0.5, seed=0), FLOATS((1, 40, 3)), 0),
    "Dropout2d": (anydrop.Dropout2d(0.5, seed=0), FLOATS((1, 40, 3, 3)), 0),
    "Dropout3d": (
        anydrop.Dropout3d(0.5, seed=0, data_format="channels_last"),
        FLOATS((1, 2, 2, 2, 40)),
        0,
    ),
    "AlphaDropout": (anydrop.AlphaDropout(0.5, seed=0), FLOATS((1, 40)), 0),
    "FeatureAlphaDropout": (anydrop.FeatureAlphaDropout(0.5, seed=0), FLOATS((1, 40, 2)), 0),
    "AttentionDropout": (anydrop.AttentionDropout(0.5, seed=0), FLOATS((1, 2, 5, 5)), 0),
    "AttentionDropout, two batch axes": (
        anydrop.AttentionDropout(0.5, seed=0, share_heads=True),
        FLOATS((1, 1, 2, 9, 9)),
        0,
    ),
    "DropBlock1d": (anydrop.DropBlock1d(0.5, 3, seed=0), FLOATS((1, 2, 40)), 0),
    "DropBlock2d": (anydrop.DropBlock2d(0.5, 2, seed=0), FLOATS((1, 2, 9, 9)), 0),
    "DropBlock3d": (anydrop.DropBlock3d(0.5, 2, seed=0), FLOATS((1, 1, 5, 5, 5)), 0),
    "GaussianDropout": (anydrop.GaussianDropout(0.5, seed=0), FLOATS((1, 40)), 0),
    "GaussianNoise": (anydrop.GaussianNoise(1.0, seed=0), FLOATS((1, 40)), 0),
    "LockedDropout": (anydrop.LockedDropout(0.5, time_axis=1, seed=0), FLOATS((1, 3, 40)), 0),
    "LockedDropout, time first": (
        anydrop.LockedDropout(0.5, time_axis=0, seed=0),
        FLOATS((3, 1, 40)),
        1,
    ),
    "LockedDropout, time first from the end": (
        anydrop.LockedDropout(0.5, time_axis=-3, seed=0),
        FLOATS((3, 1, 40)),
        1,
    ),
    "StochasticDepth": (anydrop.StochasticDepth(0.5, seed=0), FLOATS((1, 2)), 0),
    "TokenDropout": (anydrop.TokenDropout(0.5, token=3, protected=(9,), seed=0), IDS, 0),
    "DropoutAdd": (anydrop.DropoutAdd(0.5, seed=0), FLOATS((1, 40)), 0),
    "Zoneout": (anydrop.Zoneout(0.5, seed=0), FLOATS((1, 40)), 0),
    "DropConnect": (anydrop.DropConnect(0.5, seed=0), FLOATS((1, 40)), 0),
}
# A table has no examples, and its rows are drawn as ever.
WITHOUT_EXAMPLES = {"EmbeddingDropout"}
COPIES = 8


def samples(layer, one, axis, **keywords):
    """Return every sample of a batch of equal examples, with the batch first."""
    x, seen = np.repeat(one, COPIES, axis=axis), []

    def predict(x):
        if isinstance(layer, anydrop.Zoneout | anydrop.DropoutAdd):
            y = layer(x, -x)
        elif isinstance(layer, anydrop.DropConnect):
            y = layer(one[0], examples=COPIES)
        else:
            y = layer(x)
        seen.append(np.moveaxis(y, axis, 0))
        return y.astype("f8")

    monte_carlo(predict, x, samples=4, seed=7, **keywords)
    return seen


@pytest.mark.parametrize("name", CASES)
def test_equal_inputs_get_equal_outputs(name):
    """And samples differ. Each of the 4 has 8 equal rows by chance with less than 2**-7."""
    for y in samples(*CASES[name], same_masks=True):
        assert (y == y[:1]).all()
    every = samples(*CASES[name], same_masks=True)
    assert len({y.tobytes() for y in every}) > 1


@pytest.mark.parametrize("name", [n for n in CASES if n != "batch shared already"])
def test_without_it_they_differ(name):
    assert any((y != y[:1]).any() for y in samples(*CASES[name]))


def test_every_layer_is_a_case():
    layers = {
        cls.__name__
        for cls in map(anydrop.__dict__.get, anydrop.__all__)
        if isinstance(cls, type) and issubclass(cls, Layer)
    }
    assert layers - {"Layer", "DropLayer"} == WITHOUT_EXAMPLES | {
        type(layer).__name__ for layer, *_ in CASES.values()
    }


def masks(layer, *shape, **inputs):
    seen = []

    def predict(x):
        y = layer(x, **inputs)
        seen.append(np.array(layer.mask))
        return y

    monte_carlo(predict, np.ones(shape), samples=2, seed=7, same_masks=True)
    return seen[-1]


def test_its_own_axes_stay_shared():
    """The batch's are shared in addition, by the shape of the mask."""
    p, seed = 0.5, 0
    assert masks(anydrop.Dropout(p, seed=seed, shared_axes=-1), 4, 5, 6).shape == (1, 5, 1)
    noise = anydrop.Dropout(p, seed=seed, noise_shape=(None, None, 1))
    assert masks(noise, 4, 5, 6).shape == (1, 5, 1)
    assert noise.noise_shape == (None, None, 1)
    assert masks(anydrop.LockedDropout(p, seed=seed, time_axis=0), 4, 5, 6).shape == (1, 1, 6)
    heads = anydrop.AttentionDropout(p, seed=seed, share_heads=True)
    assert masks(heads, 2, 4, 5, 6, 7).shape == (1, 1, 1, 6, 7)
    assert masks(anydrop.AttentionDropout(p, seed=seed), 5, 6, 7).shape == (5, 6, 7)
    assert masks(anydrop.Dropout1d(p, seed=seed, batched=False), 5, 6).shape == (5, 1)
    assert masks(anydrop.EmbeddingDropout(p, seed=seed), 5, 6).shape == (5, 1)
    weights = anydrop.DropConnect(p, seed=seed, shared_axes=-1)
    assert masks(weights, 5, 6).shape == (5, 1)
    assert masks(weights, 5, 6, examples=4).shape == (1, 5, 1)
    assert masks(anydrop.Dropout(p, seed=seed)).shape == ()


def test_a_function_shares_by_itself():
    def predict(x, step):
        return anydrop.dropout(x, 0.5, seed=0, step=step)

    message = (
        "same_masks=True works for layers, and predict takes step= to draw its own masks: call "
        "its dropout functions with shared_axes=0, the axis of the batch"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        monte_carlo(predict, np.ones(3), samples=2, seed=0, same_masks=True)


def test_a_sequence_without_a_batch_has_no_mask_to_share():
    drop = anydrop.LockedDropout(0.5, time_axis=0, seed=0)
    call = {"samples": 3, "seed": 0, "same_masks": True}
    with pytest.raises(ValueError, match="LockedDropout can't tell whether"):
        monte_carlo(drop, np.ones((7, 100)), **call)
    assert monte_carlo(drop, np.ones((7, 2, 50)), **call).std.any()
