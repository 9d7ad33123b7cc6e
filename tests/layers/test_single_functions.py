"""What holds of one function alone, and one wrong line would break."""

from functools import partial

import numpy as np
import pytest

import anydrop
from anydrop.testing.reference import keep


@pytest.mark.parametrize("protected", [(), (0, 4)])
def test_the_mask_of_tokens_that_share(protected):
    """It has length 1 along an axis that is shared, but not where single tokens are protected."""
    ids = np.random.default_rng(0).integers(0, 5, (40, 9))
    drop = anydrop.TokenDropout(0.5, token=9, protected=protected, seed=3, shared_axes=1)
    y = drop(ids)
    kept = keep(ids.shape, 0.5, seed=3, shared_axes=(1,))
    if protected:
        kept = kept | (ids == 0) | (ids == 4)
    assert drop.mask.shape == kept.shape == ((40, 9) if protected else (40, 1))
    assert np.array_equal(drop.mask, kept)
    assert np.array_equal(y, np.where(kept, ids, 9))


@pytest.mark.parametrize("function", [anydrop.alpha_dropout, anydrop.feature_alpha_dropout])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_alpha_of_no_rate_keeps_the_sign_of_zeros(function, dtype):
    x = np.asarray([[-0.0, 0.0, -1.5]], dtype)
    assert function(x, 0.0, seed=0).tobytes() == x.tobytes()


def test_the_gradient_of_added_noise_in_out():
    """It is that of the output: the array itself, or written where the caller says."""
    _, noise = anydrop.gaussian_noise(np.ones((3, 4)), 0.5, seed=0, return_mask=True)
    gradient, out = np.arange(12.0).reshape(3, 4), np.full((3, 4), np.nan)
    assert noise.apply(gradient) is gradient
    assert noise.apply(gradient, out=out) is out
    assert np.array_equal(out, np.arange(12.0).reshape(3, 4))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("function", [anydrop.gaussian_dropout, anydrop.gaussian_noise])
def test_noise_from_a_generator_is_refused(function, training):
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    with pytest.raises(TypeError, match="normal noise needs seed="):
        function(np.ones(3), rng=rng, training=training)
    assert rng.bit_generator.state == before


def test_attention_of_one_head_and_one_example():
    x = np.arange(1.0, 21.0).reshape(4, 5)
    kept = keep((4, 5), 0.5, seed=2)
    assert np.array_equal(anydrop.attention_dropout(x, 0.5, seed=2), np.where(kept, 2 * x, 0))
    for training in (True, False):
        call = partial(anydrop.attention_dropout, seed=2, training=training)
        message = r"needs an array of 2 dimensions or more here, \(queries, keys\), got 1"
        with pytest.raises(ValueError, match=message):
            call(x[0])
        message = r"of 3 dimensions or more here, \(heads, queries, keys\), got 2"
        with pytest.raises(ValueError, match=message):
            call(x, share_heads=True)


def test_copies_have_no_mask_at_inference():
    weights = np.arange(6.0).reshape(2, 3)
    copies, mask = anydrop.drop_connect(weights, 0.5, examples=4, training=False, return_mask=True)
    assert mask is None
    assert np.array_equal(copies, np.stack([weights] * 4))


def test_a_mode_by_position():
    """As torchvision has it."""
    x = np.ones((4, 3))
    row, batch = (anydrop.StochasticDepth(0.5, mode, seed=0) for mode in ("row", "batch"))
    assert np.array_equal(row(x), anydrop.stochastic_depth(x, 0.5, "row", seed=0))
    assert np.array_equal(batch(x), anydrop.stochastic_depth(x, 0.5, "batch", seed=0))
    with pytest.raises(ValueError, match="mode must be 'row' or 'batch', got int 0"):
        anydrop.DropPath(0.5, 0)
