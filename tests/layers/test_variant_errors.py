"""Bad input to the variants: each message is read, and nothing is changed by it."""

import re

import numpy as np
import pytest
from catalogue import VARIANTS, numbers, variants_where

import anydrop
from anydrop import schedules

BAD = -0.5, float("nan"), float("inf"), True, "0.5", None
TOO_LARGE = 1.0, 1.5, 7  # for a probability


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request):
    return request.param


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("variant", "bad"),
    [
        pytest.param(variant, bad, id=f"{variant}-{bad!r}")
        for variant in VARIANTS
        for bad in (*BAD, *(TOO_LARGE if variant.rate == "p" else ()))
    ],
)
def test_a_bad_rate_is_refused(variant, bad, training):
    kind = ValueError if type(bad) in (int, float) else TypeError
    x, shown = variant.input(), repr(float(bad) if kind is ValueError else bad)
    with pytest.raises(kind, match=rf"^{variant.rate} must .*, got .*{re.escape(shown)}$"):
        variant(x, bad, seed=0, training=training)
    with pytest.raises(kind, match=f"^{variant.rate} must "):
        variant.make(bad)
    layer = variant.make()
    with pytest.raises(kind, match=f"^{variant.rate} must "):
        setattr(layer, variant.rate, bad)
    assert getattr(layer, variant.rate) == 0.4


def test_settings_are_settled(variant):
    layer = variant.make()
    for name in layer._options:
        if name != variant.rate:
            with pytest.raises(AttributeError, match=f"{name} of a .* can't be changed"):
                setattr(layer, name, getattr(layer, name))
    setattr(layer, variant.rate, 0.25)
    assert getattr(layer, variant.rate) == 0.25


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("keywords", "kind", "message"),
    [
        ({"seed": -1}, ValueError, "seed must be an int >= 0, got -1"),
        ({"step": -1}, ValueError, "step must satisfy 0 <= step < 2**64, got -1"),
        ({"shared_axes": 9}, ValueError, "shared axis 9 is out of range"),
        ({"window": 3}, TypeError, "window must be a Window or a pair"),
        ({"return_mask": 1}, TypeError, "return_mask must be True or False, got int 1"),
        ({"nonsense": 1}, TypeError, "unexpected keyword argument 'nonsense'"),
    ],
)
def test_bad_keywords_are_refused(variant, keywords, kind, message, training):
    if "noise_shape" in variant.options:
        message = message.replace("shared axis 9 is", "give either")[:11]
    with pytest.raises(kind, match=re.escape(message)):
        variant(variant.input(), **{"seed": 0, **keywords}, training=training)


def test_a_training_call_needs_a_source(variant):
    with pytest.raises(TypeError, match=r"a training call needs seed="):
        variant(variant.input())


@pytest.mark.parametrize("training", [True, False])
def test_an_input_that_is_no_array(variant, training):
    layer = variant.make()
    for x in ([1.0, 2.0], None, 3.0):
        with pytest.raises(TypeError, match="x must be an array of"):
            layer.forward(x, training=training, **dict.fromkeys(variant.inputs(1.0), x))
    assert layer.step == 0


@variants_where(numbers)
def test_integers_are_refused(variant):
    x = np.ones(variant.shape, "i4")
    with pytest.raises(TypeError, match="int32"):
        variant.run(layer := variant.make(), x)
    assert layer.step == 0
    assert layer.mask is None


@variants_where(numbers)
def test_backward_before_forward(variant):
    with pytest.raises(RuntimeError, match=rf"{variant.layer.__name__}.backward\(\) belongs to"):
        variant.make().backward(variant.input())


@variants_where(numbers)
def test_a_gradient_of_another_shape(variant):
    layer, x = variant.make(), variant.input()
    variant.run(layer, x)
    with pytest.raises(ValueError, match="the mask belongs to an array of shape"):
        layer.backward(np.ones(3, "f4"))


def test_tokens_have_no_gradient():
    drop = anydrop.TokenDropout(0.5, token=0, seed=0)
    drop(np.arange(5))
    with pytest.raises(TypeError, match="token ids are integers and have no gradient"):
        drop.backward(np.ones(5))


def test_feature_maps_of_another_rank():
    """How many axes an example has is said and never guessed."""
    x = np.ones((2, 3, 4), "f4")
    for function in (anydrop.dropout2d, anydrop.drop_block2d):
        name = function.__name__
        message = rf"{name} needs an array of 4 dimensions, \(batch, channels, height, width\), "
        with pytest.raises(ValueError, match=message + "got 3; for one example .* batched=False"):
            function(x, seed=0)
        message = rf"{name} needs an array of 3 dimensions, \(height, width, channels\), got 4; for"
        with pytest.raises(ValueError, match=message + " a batch leave batched=False out"):
            function(x[None], seed=0, batched=False, data_format="channels_last", training=False)
    with pytest.raises(ValueError, match="data_format must be 'channels_first' or 'channels_last'"):
        anydrop.dropout2d(x[None], seed=0, data_format="NCHW")
    with pytest.raises(ValueError, match="needs an array of 2 dimensions or more, with channels"):
        anydrop.feature_alpha_dropout(np.ones(3), seed=0)
    with pytest.raises(TypeError, match="batched must be True or False, got int 1"):
        anydrop.Dropout2d(batched=1)


def test_blocks_of_another_size():
    x = np.ones((2, 3, 8, 8), "f4")
    with pytest.raises(ValueError, match="block_size must be an int > 0, got 0"):
        anydrop.drop_block2d(x, 0.1, 0, seed=0)
    with pytest.raises(TypeError, match=r"block_size must be an int, got float 0\.5"):
        anydrop.DropBlock2d(0.1, 0.5)
    with pytest.raises(ValueError, match=r"must be one length, or 2 of them, got \(1, 2, 3\)"):
        anydrop.drop_block2d(x, 0.1, (1, 2, 3), seed=0, training=False)
    with pytest.raises(ValueError, match=r"must be one length, or 3 of them, got \(1, 2\)"):
        anydrop.DropBlock3d(0.1, (1, 2))
    with pytest.raises(ValueError, match="drop_block2d can't share axis 2, along which blocks lie"):
        anydrop.drop_block2d(x, 0.1, 3, seed=0, shared_axes=(0, -2), training=False)


def test_states_that_do_not_match():
    new = np.ones((2, 3), "f4")
    with pytest.raises(ValueError, match="previous must have the shape of x"):
        anydrop.zoneout(new, np.ones((3, 2), "f4"), seed=0, training=False)
    with pytest.raises(ValueError, match="previous must have the dtype of x, float32, got float64"):
        anydrop.zoneout(new, np.ones((2, 3)), seed=0)
    with pytest.raises(ValueError, match="previous must be of the library of x, numpy, got list"):
        anydrop.zoneout(new, [[0.0]], seed=0)


def test_tokens_that_a_dtype_can_not_hold():
    ids = np.arange(9, dtype="u1")
    with pytest.raises(ValueError, match=r"token 300 does not fit in dtype uint8, .* 0 to 255"):
        anydrop.token_dropout(ids, token=300, seed=0)
    with pytest.raises(ValueError, match="token -1 does not fit in dtype uint8"):
        anydrop.token_dropout(ids, token=1, protected=(-1,), seed=0, training=False)
    with pytest.raises(TypeError, match="needs an array of integers, got dtype float32"):
        anydrop.token_dropout(ids.astype("f4"), token=1, seed=0)
    with pytest.raises(TypeError, match="needs an array of integers, got dtype bool"):
        anydrop.token_dropout(ids > 3, token=1, seed=0)
    with pytest.raises(TypeError, match="token must be an int, got str"):
        anydrop.TokenDropout(token="[MASK]")
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'token'"):
        anydrop.TokenDropout()


def test_axes_that_are_not_there():
    with pytest.raises(ValueError, match="time_axis 3 is out of range for an array of 2 dim"):
        anydrop.locked_dropout(np.ones((2, 3)), time_axis=3, seed=0)
    with pytest.raises(TypeError, match="time_axis"):
        anydrop.LockedDropout(0.5)
    message = r"needs an array of 4 dimensions or more here, \(batch, heads, queries, keys\), got 3"
    with pytest.raises(ValueError, match=message):
        anydrop.attention_dropout(np.ones((2, 3, 3)), share_batch=True, seed=0, training=False)
    with pytest.raises(ValueError, match=r"a table of shape \(words, features\), got .* \(3,\)"):
        anydrop.embedding_dropout(np.ones(3), seed=0, training=False)
    with pytest.raises(ValueError, match="examples must be an int > 0, got 0"):
        anydrop.drop_connect(np.ones(3), examples=0, seed=0)
    with pytest.raises(ValueError, match="mode must be 'row' or 'batch', got str 'column'"):
        anydrop.StochasticDepth(mode="column")
    with pytest.raises(ValueError, match="either shared_axes= or noise_shape="):
        anydrop.Dropout(shared_axes=1, noise_shape=(None, 1))


def test_deviations():
    for std in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="std must be finite and >= 0, got "):
            anydrop.gaussian_noise(np.ones(3), std, seed=0)
    x = np.ones(3)
    assert np.array_equal(anydrop.gaussian_noise(x, 0.0, seed=0), x)
    assert np.array_equal(anydrop.gaussian_dropout(x, 0.0, seed=0), x)


def test_rates_of_depth():
    assert anydrop.depth_rates(0.5, 4) == (0.125, 0.25, 0.375, 0.5)
    with pytest.raises(ValueError, match="depth must be an int > 0, got 0"):
        anydrop.depth_rates(0.5, 0)


def test_schedules_that_are_none():
    for plain in ({}, {"schedule": "Linear"}, {"schedule": "Sine", "p": 0.5}, {"schedule": []}):
        with pytest.raises(
            ValueError, match=r"not a schedule: .* must name one of Constant, Cosine"
        ):
            anydrop.Dropout(plain)
    with pytest.raises(ValueError, match=r"p must satisfy 0 <= p < 1, got 1\.5"):
        schedules.Linear(0.0, 1.5, 10)
    with pytest.raises(ValueError, match="steps must be an int > 0, got 0"):
        schedules.WarmUp(0, 0.5)


def test_tokens_have_no_out():
    ids = np.arange(9)
    with pytest.raises(TypeError, match="token_dropout has no out=: use the array that it returns"):
        anydrop.token_dropout(ids, token=1, seed=0, out=ids)
