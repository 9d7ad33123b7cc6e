"""Monte Carlo of JAX's functions."""

import numpy as np
import pytest
from subjects import available

import anydrop
from anydrop import monte_carlo
from anydrop.testing.reference import keep

if not available("jax"):
    pytest.skip("jax is not installed here; nox -s tests-jax runs this", allow_module_level=True)

import jax
import jax.numpy as jnp

X = np.linspace(-1, 1, 12, dtype="f4").reshape(3, 4)


def test_a_jitted_function_is_compiled_once():
    """Sample t is at step t of the seed that the function has."""
    traced = []

    @jax.jit
    def predict(x, step):
        traced.append(1)
        return anydrop.dropout(x, 0.5, seed=9, step=step)

    result = monte_carlo(predict, jnp.asarray(X), samples=6, seed=0)
    assert len(traced) == 1
    expected = np.stack([np.where(keep(X.shape, 0.5, seed=9, step=t), 2 * X, 0) for t in range(6)])
    assert isinstance(result.mean, jax.Array)
    np.testing.assert_allclose(result.mean, expected.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result.std, expected.std(0), rtol=1e-5, atol=1e-6)
    monte_carlo(predict, jnp.asarray(X), samples=3, seed=1)
    assert len(traced) == 1


@pytest.mark.parametrize("x64", [True, False])
def test_a_static_seed(x64):
    traced = []

    def predict(x, *, step, seed):
        traced.append(1)
        return anydrop.dropout(x, 0.5, seed=seed, step=step)

    with jax.enable_x64(x64):
        program = jax.jit(predict, static_argnames="seed")
        result = monte_carlo(program, jnp.asarray(X), samples=4, seed=(1, 2))
    assert len(traced) == 1
    masks = [keep(X.shape, 0.5, seed=(1, 2), step=t) for t in range(4)]
    np.testing.assert_allclose(result.mean, 2 * X * np.mean(masks, axis=0), rtol=1e-5, atol=1e-6)


def test_a_layer_under_jit_is_refused():
    """And found where it is: behind the compiled function."""
    drop = anydrop.Dropout(0.5, seed=0)
    program = jax.jit(lambda x: drop(x))
    with pytest.raises(TypeError, match="a layer counts its steps in Python"):
        monte_carlo(program, jnp.asarray(X), samples=3, seed=0)
    assert drop.step == 0


def test_a_layer_that_was_compiled_at_inference():
    """Which is not seen by the compiled program any more."""
    drop = anydrop.Dropout(0.5, seed=0).eval()
    program = jax.jit(lambda x: drop(x))
    program(jnp.asarray(X))
    with pytest.raises(ValueError, match="no dropout layer drew a mask in the first sample"):
        monte_carlo(program, jnp.asarray(X), samples=3, seed=0)


def test_gradients_go_through():
    """Of the mean by the weights: that of a linear model is its mean input."""

    def mean(w):
        def predict(x, step):
            return anydrop.dropout(x, 0.5, seed=9, step=step) @ w

        return monte_carlo(predict, jnp.asarray(X), samples=4, seed=0).mean.sum()

    masks = [keep(X.shape, 0.5, seed=9, step=t) for t in range(4)]
    expected = (2 * X * np.mean(masks, axis=0)).sum(0)
    np.testing.assert_allclose(jax.grad(mean)(jnp.ones(4)), expected, rtol=1e-5, atol=1e-6)
