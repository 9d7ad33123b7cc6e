"""JAX on a GPU, where it puts an array if nobody says: programs, gradients, keys, both memories.

What the subjects `jax-gpu` and `jax-gpu-jit` pass in the tests of all backends is not repeated.
"""

import numpy as np
import pytest
from devices import needs_device

import anydrop
from anydrop import Dropout, Mask
from anydrop.testing.reference import bits, keep, select
from anydrop.testing.subject import dtype_of

jax = pytest.importorskip("jax", reason="jax is not installed here; nox -s tests-jax runs this")
import jax.numpy as jnp  # noqa: E402

pytestmark = needs_device("jax-gpu")
X = np.arange(1, 25, dtype="f4").reshape(4, 6)


def test_results_lie_where_the_array_does():
    drop, x = Dropout(0.5, seed=0), jnp.asarray(X)
    y = drop(x)
    assert y.devices() == drop.mask.devices() == x.devices()
    there = jax.device_put(X, jax.devices("cpu")[1])
    y = drop(there)
    assert y.devices() == drop.mask.devices() == there.devices()
    assert drop.backward(x).devices() == x.devices()
    assert np.array_equal(y, anydrop.dropout(X, 0.5, seed=0, step=1))


def test_a_scan_over_steps_and_its_gradient():
    steps = jnp.arange(5, dtype=jnp.uint32)

    def loss(x):
        def body(total, step):
            return total + anydrop.dropout(x, 0.5, seed=0, step=step), None

        return (jax.lax.scan(body, jnp.zeros_like(x), steps)[0] * x).sum()

    kept = sum(2.0 * keep(X.shape, 0.5, seed=0, step=step) for step in range(5))
    value, slope = jax.jit(jax.value_and_grad(loss))(jnp.asarray(X))
    assert float(value) == float((kept * X * X).sum())
    assert np.array_equal(slope, 2 * kept * X)


def test_a_product_and_a_sum_are_not_contracted():
    """A fused multiply-add rounds once where all other libraries round twice."""
    x = np.random.default_rng(0).standard_normal(2**16).astype("f4")

    def f(x):
        return anydrop.alpha_dropout(x, 0.3, seed=0)

    for here in (f(jnp.asarray(x)), jax.jit(f)(x)):
        assert bits(np.asarray(here)) == bits(f(x))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_every_number_of_the_half_types(name):
    import jax_ways

    x = np.arange(2**16, dtype=np.uint16).view(dtype_of(name))
    backend = anydrop.resolve(jnp.ones(1))
    for scale in (1.0, 1 / 0.9, 1 / 3, 6e-5, 3e4):
        y = backend.select(jnp.asarray(x), Mask.from_seed(x.shape, 2.0**-34, seed=0), scale)
        expected = select(x, np.True_, scale, flush=jax_ways.flushes())
        assert bits(np.asarray(y)) == bits(expected)


def test_a_keys_numbers_are_those_of_the_host():
    key = jax.random.key(3)
    y = anydrop.dropout(jnp.ones((70, 100)), 0.3, rng=key)
    there = jax.device_put(jnp.ones((70, 100)), jax.devices("cpu")[0])
    host = jax.device_put(key, jax.devices("cpu")[0])
    assert np.array_equal(y, anydrop.dropout(there, 0.3, rng=host))
