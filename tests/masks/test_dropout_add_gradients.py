"""The gradients of `dropout_add`: of x, of the residual and of the bias."""

import numpy as np
import pytest
from subjects import available

import anydrop
from anydrop.testing.reference import bits, keep

P = 0.4


def arrays(shape=(6, 5), dtype="f4", bias=None):
    """Return x, a residual and a bias of random numbers."""
    rng = np.random.default_rng(0)
    x, residual = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    return x, residual, None if bias is None else np.asarray(rng.standard_normal(bias), dtype)


def test_gradients_are_of_their_arrays_dtypes():
    x, residual, bias = arrays(dtype="f2", bias=(5,))
    _, mask = anydrop.dropout_add(
        x, residual.astype("f4"), P, bias=bias.astype("f4"), seed=0, return_mask=True
    )
    g = np.random.default_rng(5).standard_normal(x.shape).astype("f4")
    dx, dresidual, dbias = mask.apply(g)
    wanted = np.where(keep(x.shape, P, seed=0), g * np.float32(1 / (1 - P)), 0).astype("f2")
    assert bits(dx) == bits(wanted)
    assert dresidual is g
    assert dbias.dtype == "f4"
    np.testing.assert_allclose(dbias, wanted.astype("f8").sum(axis=0), rtol=1e-6)


def test_the_backward_pass_of_an_inference_forward():
    x, residual, bias = arrays(bias=(5,))
    g = np.random.default_rng(5).standard_normal(x.shape).astype("f4")
    add = anydrop.DropoutAdd(P, seed=0).eval()
    assert bits(add(x, residual, bias)) == bits(residual + (x + bias))
    dx, dresidual, dbias = add.backward(g)
    assert dx is dresidual is g
    np.testing.assert_allclose(dbias, g.sum(axis=0), rtol=1e-5)
    add(x, residual)
    assert len(add.backward(g)) == 2
    old = anydrop.DropoutAdd(P, seed=0, scaling="inference").eval()
    assert bits(old(x, residual, bias)) == bits(residual + (x + bias) * np.float32(1 - P))
    assert bits(old.backward(g)[0]) == bits(g * np.float32(1 - P))
    add(x.astype("f2"), residual)
    assert [a.dtype for a in add.backward(g)] == ["f2", "f4"]


def test_a_gradient_that_does_not_fit():
    x, residual, bias = arrays(bias=(5,))
    _, mask = anydrop.dropout_add(x, residual, P, bias=bias, seed=0, return_mask=True)
    with pytest.raises(ValueError, match=r"of shape \(6, 5\), got one of \(5, 6\)"):
        mask.apply(x.T)
    with pytest.raises(ValueError, match=r"the gradient must be real, .* got .* complex64"):
        mask.apply(x + 1j * x)
    with pytest.raises(TypeError, match="got list"):
        mask.apply(x.tolist())


def test_the_gradient_of_a_bias_is_as_good_as_its_dtype():
    """A sum in pairs: of 100,000 rows one after the other makes a hundredfold the error."""
    g = (1 + np.random.default_rng(0).random((100_000, 3))).astype("f4")
    add = anydrop.DropoutAdd(0.1, seed=0)
    add(g, g, np.zeros(3, "f4"))
    dx, _, dbias = add.backward(g)
    exact = dx.astype("f8").sum(axis=0)
    assert np.all(np.abs(dbias - exact) <= 2 * np.spacing(exact.astype("f4")))
    in_a_row = np.add.accumulate(dx, axis=0)[-1]
    assert np.all(np.abs(in_a_row - exact) > 10 * np.spacing(exact.astype("f4")))


def libraries():
    """Yield what makes an array of each library of a NumPy array, and dtypes that it has."""
    ways = {"numpy": (lambda x: x, ("f2", "f4", "f8"))}
    if available("jax"):
        import jax.numpy as jnp

        ways["jax"] = jnp.asarray, ("f2", "f4")
    if available("torch"):
        import torch

        ways["torch"] = torch.from_numpy, ("f2", "f4", "f8")
    if available("array_api_strict"):
        import array_api_strict

        ways["strict"] = array_api_strict.asarray, ("f4", "f8")
    for name, (convert, dtypes) in ways.items():
        for dtype in dtypes:
            yield pytest.param(convert, dtype, id=f"{name}-{dtype}")


@pytest.mark.parametrize("shape", [(), (7,), (9, 1), (33, 1, 7)], ids=str)
@pytest.mark.parametrize(("convert", "dtype"), list(libraries()))
def test_the_gradient_of_a_bias_has_the_same_bits_everywhere(convert, dtype, shape):
    """Of a recipe that NumPy's arrays made, for each library's gradient."""
    x = np.random.default_rng(0).standard_normal((33, 9, 7)).astype(dtype)
    bias = np.zeros(shape, dtype)
    _, mask = anydrop.dropout_add(x, x, P, bias=bias, seed=0, return_mask=True)
    expected = mask.apply(x)
    got = mask.apply(convert(x.copy()))
    for ours, theirs in zip(expected, got, strict=True):
        there = anydrop.resolve(theirs).to_numpy(theirs)
        assert there.dtype == ours.dtype
        assert bits(there) == bits(ours)
