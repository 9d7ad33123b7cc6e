"""JAX's keys as generators, and layers, which count in Python, around its programs."""

import copy
import pickle
import re

import numpy as np
import pytest

import anydrop
from anydrop import Dropout
from anydrop.testing.reference import keep

jax = pytest.importorskip("jax", reason="jax is not installed here; nox -s tests-jax runs this")
import jax.numpy as jnp  # noqa: E402

ONES = jnp.ones((30, 20))
KEY = jax.random.key(7)
KEYS = {
    "typed": KEY,
    "legacy": jax.random.PRNGKey(7),
    "rbg": jax.random.key(7, impl="rbg"),
}


def error(kind, message, call, *args):
    with pytest.raises(kind, match=re.escape(message)):
        call(*args)


# Keys -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("p", [0.0, 0.3, 1 - 2**-20])
def test_the_keys_own_numbers(name, p):
    """And so the mask of jax.random.bernoulli, which other libraries' dropout draws."""
    key = KEYS[name]
    expected = np.asarray(jax.random.uniform(key, ONES.shape) < 1 - p)
    assert np.array_equal(expected, jax.random.bernoulli(key, 1 - p, ONES.shape))
    y, mask = anydrop.dropout(ONES, p, rng=key, return_mask=True)
    assert np.array_equal(y != 0, expected)
    assert np.array_equal(mask.keep(like=ONES), expected)
    if p:
        assert mask.bits.dtype == np.uint8
        assert mask.bits.size == 75
    assert np.array_equal(mask.apply(np.ones((30, 20), "f4")), y)


@pytest.mark.parametrize("name", KEYS)
def test_a_traced_key(name):
    program = jax.jit(lambda x, key: anydrop.dropout(x, 0.3, rng=key, shared_axes=1))
    expected = jax.random.uniform(KEYS[name], (30, 1)) < 0.7
    y = program(ONES, KEYS[name])
    assert np.array_equal(y != 0, np.broadcast_to(expected, ONES.shape))
    assert np.array_equal(jax.grad(lambda x: program(x, KEYS[name]).sum())(ONES), y)


def test_a_traced_key_for_an_array_that_is_not_traced():
    y = jax.jit(lambda key: anydrop.dropout(ONES, 0.3, rng=key))(KEY)
    assert np.array_equal(y, anydrop.dropout(ONES, 0.3, rng=KEY))


def test_mapped_keys():
    keys = jax.random.split(KEY, 3)
    y = jax.vmap(lambda key: anydrop.dropout(ONES, 0.3, rng=key))(keys)
    for one, key in zip(y, keys, strict=True):
        assert np.array_equal(one, anydrop.dropout(ONES, 0.3, rng=key))


def test_a_stored_mask_comes_out_of_a_jitted_function():
    program = jax.jit(lambda x, key: anydrop.dropout(x, 0.3, rng=key, return_mask=True))
    y, mask = program(ONES, KEY)
    assert np.array_equal(mask.apply(ONES), y)
    assert np.array_equal(mask.apply(np.ones((30, 20), "f4")), y)


def test_a_key_is_not_consumed():
    first, again = (anydrop.dropout(ONES, 0.3, rng=KEY) for _ in range(2))
    assert np.array_equal(first, again)


def test_a_layer_folds_its_step_into_the_key():
    """The key alone would give it one mask for ever."""
    layer = Dropout(0.3, rng=KEY)
    for step in range(3):
        y = layer(ONES)
        key = jax.random.fold_in(KEY, step)
        assert np.array_equal(y != 0, jax.random.uniform(key, ONES.shape) < 0.7)
        assert np.array_equal(layer.backward(ONES), y)
    layer.step = 2**32 + 5
    key = jax.random.fold_in(jax.random.fold_in(KEY, 5), 1)
    assert np.array_equal(layer(ONES) != 0, jax.random.uniform(key, ONES.shape) < 0.7)


def test_what_is_no_key():
    def draw(rng, x=ONES):
        return lambda: anydrop.dropout(x, 0.5, rng=rng)

    message = "rng must be a key, such as jax.random.key(0), for a JAX array, got "
    error(TypeError, message + "numpy.random._generator.Generator", draw(np.random.default_rng(0)))
    error(TypeError, message + "int 5; a seed goes to seed=", draw(5))
    error(TypeError, message + "jaxlib._jax.ArrayImpl", draw(jnp.ones(2)))
    error(TypeError, message + "numpy.ndarray", draw(np.zeros(2, np.uint32)))
    keys = jax.random.split(KEY, 3)
    error(ValueError, "rng must be one key, got an array of keys of shape (3,)", draw(keys))
    message = "for a NumPy array, got jax._src"
    error(TypeError, message, draw(KEY, np.ones(3)))
    layer = Dropout(0.5, rng=np.random.default_rng(0))
    error(TypeError, "rng must be a key", layer, ONES)
    assert layer.step == 0


# Layers under transformations -------------------------------------------------------------------

X = jnp.ones(40)


def kept(step):
    return keep((40,), 0.5, seed=3, step=step)


TRACED_ONCE = {
    "jit": lambda f: jax.jit(f)(X),
    "jit of another argument": lambda f: jax.jit(lambda w: f(X) * w)(2.0),
    "scan": lambda f: jax.lax.scan(lambda c, _: (f(c), None), X, None, length=3),
    "loop": lambda f: jax.lax.fori_loop(0, 3, lambda _, c: f(c), X),
    "cond": lambda f: jax.lax.cond(X[0] > 0, f, lambda x: x, X),
    "checkpoint": lambda f: jax.checkpoint(f)(X),
    "jit of grad": lambda f: jax.jit(jax.grad(lambda x: f(x).sum()))(X),
    "grad of jit": lambda f: jax.grad(jax.jit(lambda x: f(x).sum()))(X),
    "jit of vmap": lambda f: jax.jit(jax.vmap(f))(X[None]),
    "vmap of jit": lambda f: jax.vmap(jax.jit(f))(X[None]),
    "eval_shape": lambda f: jax.eval_shape(f, X),
    "make_jaxpr": lambda f: jax.make_jaxpr(f)(X),
}


@pytest.mark.parametrize("how", TRACED_ONCE)
def test_a_layer_is_refused_where_it_would_be_traced_once(how):
    layer = Dropout(0.5, seed=3)
    message = "a layer counts its steps in Python, and jax.jit (or scan, checkpoint ...) runs"
    error(TypeError, message, TRACED_ONCE[how], layer)
    assert layer.step == 0
    assert layer.mask is None
    layer(X)
    error(TypeError, message, TRACED_ONCE[how], layer.backward)
    assert np.array_equal(layer.backward(X), 2.0 * kept(0))


TRACED_EACH_TIME = {
    "grad": lambda f: jax.grad(lambda x: f(x).sum())(X),
    "vmap": lambda f: jax.vmap(f)(X[None])[0],
    "jvp": lambda f: jax.jvp(f, (X,), (X,))[1],
    "vjp": lambda f: jax.vjp(f, X)[1](X)[0],
    "linearize": lambda f: jax.linearize(f, X)[1](X),
    "vmap of grad": lambda f: jax.vmap(jax.grad(lambda x: f(x).sum()))(X[None])[0],
    "hessian": lambda f: np.diag(jax.hessian(lambda x: (f(x) ** 2).sum() / 4)(X)),
}


@pytest.mark.parametrize("how", TRACED_EACH_TIME)
def test_a_layer_goes_on_where_it_is_traced_at_each_call(how):
    layer = Dropout(0.5, seed=3)
    for step in range(3):
        assert np.array_equal(TRACED_EACH_TIME[how](layer), 2.0 * kept(step))
        assert layer.step == step + 1
        assert np.array_equal(layer.mask, kept(step))


def test_a_layer_with_jit_switched_off():
    layer = Dropout(0.5, seed=3)
    with jax.disable_jit():
        for step in range(2):
            assert np.array_equal(jax.jit(layer)(X), 2.0 * kept(step))


def test_inference_under_jit():
    layer = Dropout(0.2, seed=3, scaling="inference").eval()
    assert np.array_equal(jax.jit(layer)(X), np.full(40, 0.8, "f4"))
    layer = Dropout(0.2, seed=3).eval()
    assert np.array_equal(jax.jit(layer)(X), X)


def test_the_way_out_works():
    """What the message says: the function, with the step as an argument."""
    program = jax.jit(lambda x, step: anydrop.dropout(x, 0.5, seed=3, step=step))
    for step in range(3):
        assert np.array_equal(program(X, step), 2.0 * kept(step))


# Copies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
@pytest.mark.parametrize("source", [{"seed": 3}, {"rng": KEY}, {"rng": KEYS["legacy"]}], ids=str)
def test_copies_of_a_layer_that_has_seen_an_array(duplicate, source):
    layer = Dropout(0.5, **source)
    y = layer(X)
    twin = duplicate(layer)
    assert isinstance(twin.mask, jax.Array)
    assert np.array_equal(twin.mask, y != 0)
    assert np.array_equal(twin.backward(X), y)
    assert np.array_equal(twin(X), layer(X))


def test_copies_of_a_layer_that_has_seen_numpy_still_have_its_mask():
    layer = Dropout(0.5, seed=3)
    y = layer(np.ones(40))
    twin = pickle.loads(pickle.dumps(layer))
    assert type(twin.mask) is np.ndarray
    assert np.array_equal(twin.mask, y != 0)


def test_masks_that_vmap_stacked_are_not_one_of_two_words():
    x = jnp.ones(8)

    def stacked(steps):
        return jax.vmap(lambda t: anydrop.dropout(x, 0.5, seed=0, step=t, return_mask=True)[1])(
            steps
        )

    with pytest.raises(TypeError, match="step must be an int here"):
        stacked(jnp.arange(2)).apply(x)
