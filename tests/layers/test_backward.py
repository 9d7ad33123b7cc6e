"""Which forward a backward pass belongs to, and what nothing that is dropped costs."""

import numpy as np
import pytest
from catalogue import VARIANTS

import anydrop
from anydrop.testing.reference import bits

X = np.asarray([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]], "f4")
G = np.asarray([[0.5, 1.5, -1.0], [2.0, 0.25, 3.0]], "f4")


def test_training_mode_means_the_last_training_forward():
    """As textbooks have it: forward in training, forward at inference, backward."""
    drop = anydrop.Dropout(0.5, seed=0)
    drop(X)
    drop.forward(X[:1], training=False)
    assert np.array_equal(drop.backward(G), anydrop.dropout(G, 0.5, seed=0))


def test_inference_mode_means_the_last_forward():
    """As saliency and adversarial examples have it: eval(), forward, backward."""
    drop = anydrop.Dropout(0.5, seed=0)
    drop(X)
    drop.eval()
    assert np.array_equal(drop.backward(G), anydrop.dropout(G, 0.5, seed=0))
    drop(X)
    assert drop.backward(G) is G
    drop.forward(X, training=True)
    assert np.array_equal(drop.backward(G), anydrop.dropout(G, 0.5, seed=0, step=1))


def test_an_argument_overrides_the_mode():
    drop = anydrop.Dropout(0.5, seed=0)
    drop(X)
    drop.forward(X, training=False)
    assert drop.backward(G, training=False) is G
    drop.eval()
    assert np.array_equal(drop.backward(G, training=True), anydrop.dropout(G, 0.5, seed=0))
    with pytest.raises(TypeError, match="training must be True or False"):
        drop.backward(G, training=1)


def test_before_any_forward():
    drop = anydrop.Dropout(0.5, seed=0)
    with pytest.raises(RuntimeError, match=r"last forward in training mode.*training=True"):
        drop.backward(G)
    drop.forward(X, training=False)
    with pytest.raises(RuntimeError, match=r"last forward in training mode.*training=True"):
        drop.backward(G)
    with pytest.raises(RuntimeError, match=r"an earlier forward.*call forward\(x\) first"):
        anydrop.Dropout(0.5, seed=0).eval().backward(G)


def test_scaling_of_2014():
    drop = anydrop.Dropout(0.25, seed=0, scaling="inference").eval()
    assert np.array_equal(drop(X), X * np.float32(0.75))
    assert np.array_equal(drop.backward(G), G * np.float32(0.75))


def test_zoneout():
    zone = anydrop.Zoneout(0.25, seed=0).eval()
    zone(X, -X)
    new, previous = zone.backward(G)
    assert np.array_equal(new, G * np.float32(0.75))
    assert np.array_equal(previous, G * np.float32(0.25))
    with pytest.raises(ValueError, match="shape"):
        zone.backward(G[:1])


def test_copies_of_weights():
    drop, g = anydrop.DropConnect(0.25, seed=0).eval(), np.stack([G, 2 * G, 3 * G])
    drop(X, examples=3)
    assert np.array_equal(drop.backward(g), 6 * G)
    drop(X)
    assert drop.backward(G) is G


def test_tokens_have_no_gradient():
    drop = anydrop.TokenDropout(0.25, token=0, seed=0).eval()
    drop(np.asarray([1, 2]))
    with pytest.raises(TypeError, match="token ids are integers"):
        drop.backward(G, training=False)


def test_a_gradient_of_another_shape():
    drop = anydrop.Dropout(0.5, seed=0).eval()
    drop(X)
    with pytest.raises(ValueError, match=r"shape \(2, 3\), got one of \(1, 3\)"):
        drop.backward(G[:1])


# p = 0 -------------------------------------------------------------------------------------------

RATES = [v for v in VARIANTS if v.rate == "p"]


@pytest.mark.parametrize("variant", RATES, ids=str)
def test_nothing_is_dropped_at_0(variant):
    """What inference gives, and a mask of which all is kept; the step is spent."""
    x, layer = variant.input(), variant.make(0.0)
    y = variant.run(layer, x)
    assert np.array_equal(y, variant.run(variant.make(0.4), x, training=False)) or y is x
    assert bits(np.asarray(y)) == bits(variant(x, 0.0, training=False))
    assert np.shares_memory(y, x) == (variant.layer is not anydrop.DropoutAdd)  # a sum is new
    assert layer.step == 1
    assert np.asarray(layer.mask).all()
    if variant.whole:
        return
    g = np.random.default_rng(2).standard_normal(y.shape).astype("f4")
    inference = variant.make(0.0).eval()
    variant.run(inference, x)
    for ours, theirs in zip(layer.backward(g), inference.backward(g), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("variant", RATES, ids=str)
def test_nothing_is_drawn_at_0(variant, monkeypatch):
    x = variant.input()
    backend = anydrop.resolve(x)
    for name in ("keep", "normals", "draw"):
        monkeypatch.setattr(backend, name, None)
    layer = variant.make(0.0)
    y = variant.run(layer, x)
    if not variant.whole:
        layer.backward(np.ones_like(y, dtype="f4"))


def test_a_generator_does_not_move_at_0():
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert anydrop.dropout(X, 0.0, rng=rng) is X
    assert rng.bit_generator.state == before
    with pytest.raises(TypeError, match="rng must be a numpy"):
        anydrop.dropout(X, 0.0, rng=7)


def test_at_0_all_else_is_refused_still():
    with pytest.raises(TypeError, match="dropout needs a floating-point array"):
        anydrop.dropout(X.astype(int), 0.0, seed=0)
    with pytest.raises(TypeError, match="a training call needs seed="):
        anydrop.dropout(X, 0.0)
    with pytest.raises(ValueError, match="out must have the shape"):
        anydrop.dropout(X, 0.0, seed=0, out=np.empty(3, "f4"))
    with pytest.raises(ValueError, match="shared axis 7"):
        anydrop.dropout(X, 0.0, seed=0, shared_axes=7)


def test_into_out_it_is_a_copy():
    out = np.empty_like(X)
    assert anydrop.dropout(X, 0.0, seed=0, out=out) is out
    assert np.array_equal(out, X)


def test_the_rule_is_that_of_a_calls_p():
    """Not of a scale that a mask was given, nor of a noise's standard deviation."""
    mask = anydrop.Mask.from_seed(X.shape, 0.0, seed=0, scale=2.0)
    assert np.array_equal(mask.apply(X), 2 * X)
    y = anydrop.gaussian_noise(X, 0.0, seed=0)
    assert y is not X
    assert np.array_equal(y, X)


def test_the_least_p_goes_through_a_kernel():
    y = anydrop.dropout(X, 2**-34, seed=0)
    assert y is not X
    assert np.array_equal(y, X)
