"""JAX's numbers: how they are rounded, how wide they are, and which are refused."""

import re

import numpy as np
import pytest
from process import python
from random_layouts import normals_of, perturbed

import anydrop
from anydrop import Mask, Window
from anydrop.backends.base import COMPUTE
from anydrop.testing import DTYPES
from anydrop.testing.reference import bits, numbers, select
from anydrop.testing.subject import dtype_of

jax = pytest.importorskip("jax", reason="jax is not installed here; nox -s tests-jax runs this")
import jax.numpy as jnp  # noqa: E402
import jax_ways  # noqa: E402

X = np.arange(1, 25, dtype="f4").reshape(4, 6)
BACKEND = anydrop.resolve(jnp.ones(1))

# Rounding and the rest of the numbers ------------------------------------------------------------


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_a_fused_producer_and_consumer_are_rounded(name):
    """XLA leaves out the rounding of a bfloat16 between operations that it fuses."""
    a, b = np.random.default_rng(0).standard_normal((2, 5000)).astype(dtype_of(name))

    def f(a, b):
        return anydrop.dropout(a * b, 0.1, seed=0) * b.astype(jnp.float32)

    kept = Mask.from_seed(a.shape, 0.1, seed=0).keep(like=np.empty(0))
    expected = select(a * b, kept, 1 / 0.9) * b.astype("f4")
    assert np.array_equal(jax.jit(f)(a, b), expected)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_every_half(name):
    x = np.arange(2**16, dtype=np.uint16).view(dtype_of(name))
    array, mask = jnp.asarray(x), Mask.from_seed(x.shape, 0.0, seed=0)
    for scale in (1.0, 1 / 0.9, 1 / 3, 6e-5, 3e4):
        y = BACKEND.to_numpy(BACKEND.select(array, mask, scale))
        expected = select(x, np.True_, scale, flush=jax_ways.flushes())
        assert bits(y) == bits(expected)


@pytest.mark.skipif(not jax_ways.flushes(), reason="XLA keeps subnormals here")
def test_subnormals_are_flushed_as_by_jax_itself():
    """The one exception to equal bits: and float16, whose subnormals are others', has none."""
    x = jnp.asarray([1e-40, -1e-40, 1.2e-38, 1.0])
    y = anydrop.dropout(x, 2**-34, seed=0)
    assert bits(np.asarray(y)) == bits(np.asarray([0.0, -0.0, 1.2e-38, 1.0], "f4"))
    assert bits(np.asarray(y)) == bits(np.asarray(x * jnp.float32(1.0)))
    x = jnp.asarray([6e-8, -6e-8], jnp.float16)
    assert bits(np.asarray(anydrop.dropout(x, 2**-34, seed=0))) == bits(np.asarray(x))


PLACES = [{}, {"shared_axes": 0}, {"shared_axes": 1}, {"window": Window((3, 2**33), (5, 2**34))}]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("place", PLACES, ids=str)
def test_noise_is_rounded_operation_by_operation(name, place):
    """At once, under jit, and where the user's own program adds to it; of 64 bits, too."""
    shape = (2, 5000)
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype("c16")
    x = x.astype(name) if name.startswith("complex") else x.real.astype(dtype_of(name))
    mask = Mask.from_seed(shape, 0.5, seed=1, step=3, **place)
    array = jax_ways.unplaced(x)
    z = BACKEND.to_numpy(BACKEND.normals(mask, array))
    assert bits(z) == bits(normals_of(mask, COMPUTE[name]))
    for relative in (True, False)[: 1 + (x.dtype.kind != "c")]:

        def noisy(x, relative=relative):
            return BACKEND.perturb(x, mask, 1 / 3, relative)

        expected = perturbed(x, mask, 1 / 3, relative)
        with jax.enable_x64(True):
            for y in (noisy(array), jax.jit(noisy)(array)):
                assert y.dtype == x.dtype
                assert bits(np.asarray(y)) == bits(expected)
            y = jax.jit(lambda x, noisy=noisy: noisy(x) + x)(array)
            assert bits(np.asarray(y)) == bits(expected + x)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", DTYPES)
def test_choices_keep_every_bit(name):
    """And so do their shares, in which nothing is multiplied."""
    rng = np.random.default_rng(0)
    new, previous = (numbers((30, 40), dtype_of(name), rng) for _ in range(2))
    mask = Mask.from_seed((30, 40), 0.4, seed=1)
    kept = mask.keep(like=np.empty(0))
    arrays = [jax_ways.unplaced(x) for x in (new, previous)]
    for keep in (mask, jnp.asarray(kept)):
        for pair, expected in (
            (arrays, np.where(kept, new, previous)),
            ((arrays[0], None), select(new, kept, 1.0)),
            ((None, arrays[1]), select(previous, ~kept, 1.0)),
        ):
            y = BACKEND.choose(*pair, keep)
            assert y.dtype == new.dtype
            assert bits(BACKEND.to_numpy(y)) == bits(expected)


def test_with_x64():
    """All that is 64 bits wide in the user's own program then is so here."""
    printed = python(
        """
        import jax, jax.numpy as jnp, numpy as np, anydrop
        from anydrop import Window
        x = np.arange(1.0, 25.0).reshape(4, 6)
        window = Window((2**40, 7), (2**41, 2**20))
        for step in (3, 2**40 + 3, 2**64 - 1):
            expected = anydrop.dropout(x, 0.3, seed=1, step=step, window=window)
            y = anydrop.dropout(jnp.asarray(x), 0.3, seed=1, step=step, window=window)
            assert y.dtype == np.float64
            assert np.array_equal(y, expected)

            @jax.jit
            def program(x, step, row):
                place = Window((row, 7), window.shape)
                return anydrop.dropout(x, 0.3, seed=1, step=step, window=place)

            traced = np.uint64(step), np.int64(2**40)
            assert np.array_equal(program(x, *traced), expected)

            @jax.jit
            def described(x, step):
                return anydrop.dropout(x, 0.3, seed=1, step=step, window=window, return_mask=True)

            y, mask = described(x, np.uint64(step))
            assert np.array_equal(mask.apply(x), y)
            assert np.array_equal(y, expected)
            gradient = jax.grad(lambda x: program(x, *traced).sum())(x)
            assert np.array_equal(gradient, (expected != 0) / (1 - 0.3))
            z = jnp.asarray(x, jnp.float32)
            assert anydrop.dropout(z, 0.3, seed=1).dtype == np.float32
        key = jax.random.key(0)
        y = anydrop.dropout(jnp.ones(99), 0.3, rng=key)
        assert np.array_equal(y != 0, jax.random.uniform(key, (99,)) < 1 - 0.3)
        print(anydrop.Mask.from_seed((1000,), 0.1, seed=0).digest(like=y)[:16])
        """,
        JAX_ENABLE_X64="1",
    )
    assert printed == "7b03f38c3dea3a53"


def test_the_users_x64_setting_is_left_alone():
    assert not jax.config.jax_enable_x64
    y = jax.jit(lambda x: anydrop.dropout(x, 0.5, seed=0) + jnp.arange(3) * 1.5)(jnp.ones(3))
    assert y.dtype == np.float32
    assert not jax.config.jax_enable_x64


# Errors -----------------------------------------------------------------------------------------


def error(kind, message, call, *args):
    with pytest.raises(kind, match=re.escape(message)):
        call(*args)


def test_out_is_refused():
    x = jnp.ones(3)
    message = "out= can't be used with JAX arrays, which are immutable; use what is returned"
    error(ValueError, message, lambda: anydrop.dropout(x, 0.5, seed=0, out=x))
    error(ValueError, message, lambda: anydrop.dropout(x, 0.5, training=False, out=x))
    error(ValueError, message, lambda: Mask.from_seed((3,), 0.5, seed=0).apply(x, out=x))


def test_bad_steps_and_offsets():
    def at(step=0, row=0, x=X):
        return anydrop.dropout(jnp.asarray(x), 0.5, seed=0, step=step, window=((row, 0), (9, 6)))

    traced = jax.jit(at)
    message = "must be an int, or an integer array, got jax."
    error(TypeError, f"step {message}", traced, 1.0)
    error(TypeError, f"step {message}", traced, True)
    error(TypeError, f"window offset {message}", traced, 1, 2.0)
    error(TypeError, "of dtype float32", traced, 1, 2.0)
    error(TypeError, "step must be an int, or an integer array, got jax", at, jnp.float32(1))
    error(ValueError, "step must satisfy 0 <= step < 2**64, got -1", at, jnp.int32(-1))
    error(ValueError, "its low and high 32 bits", traced, jnp.zeros(3, int))
    error(ValueError, "at offset (7, 0) does not fit", at, 0, jnp.int32(7))
    message = "step must be an int here, or an integer scalar array of known value, got jax."
    error(TypeError, message, jax.jit(lambda s: anydrop.dropout(X, 0.5, seed=0, step=s)), 1)


def test_what_is_no_floating_point_array():
    error(TypeError, "got dtype int32", lambda: anydrop.dropout(jnp.arange(3), 0.5, seed=0))
    error(TypeError, "got dtype key<fry>", lambda: anydrop.dropout(jax.random.key(0), 0.5, seed=0))
    message = "p must be a real number with 0 <= p < 1, got jax."
    error(TypeError, message, jax.jit(lambda p: anydrop.dropout(jnp.ones(3), p, seed=0)), 0.5)


def test_a_p_that_is_an_array():
    """Traced or not; as a static argument it is a float."""

    def drop(p):
        return anydrop.dropout(jnp.ones(3), p, seed=0)

    for function in (drop, jax.jit(drop)):
        error(TypeError, ": p can't be an array or a traced value", function, jnp.array(0.5))
    assert np.array_equal(jax.jit(drop, static_argnums=0)(0.5), drop(float(jnp.array(0.5))))
