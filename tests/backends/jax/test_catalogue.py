"""The catalogue in JAX: traced, differentiated, mapped, and nothing kept for the backward pass."""

import numpy as np
import pytest
from random_layouts import perturbed
from subjects import available

import anydrop
from anydrop import Mask
from anydrop.testing.reference import keep

if not available("jax"):
    pytest.skip("jax is not installed here; nox -s tests-jax runs this", allow_module_level=True)

import jax
import jax.numpy as jnp
from jax.test_util import check_grads

from anydrop.backends.jax import programs

RNG = np.random.default_rng(0)
MAPS = jnp.asarray(RNG.standard_normal((2, 3, 6, 5)), jnp.float32)
X = jnp.asarray(RNG.standard_normal((8, 12)), jnp.float32)

# Of an array, a seed and a step.
DRAWN = {
    "drop_block2d": (lambda x, t: anydrop.drop_block2d(x, 0.3, (3, 2), seed=1, step=t), MAPS),
    "alpha_dropout": (lambda x, t: anydrop.alpha_dropout(x, 0.3, seed=1, step=t), X),
    "zoneout": (lambda x, t: anydrop.zoneout(x, 2 * x, 0.3, seed=1, step=t), X),
    "dropout_add": (
        lambda x, t: anydrop.dropout_add(x, 2 * x, 0.3, bias=3 * x[0], seed=1, step=t),
        X,
    ),
    "drop_connect": (lambda x, t: anydrop.drop_connect(x, 0.3, examples=3, seed=1, step=t), X),
    "gaussian_dropout": (lambda x, t: anydrop.gaussian_dropout(x, 0.3, seed=1, step=t), X),
    "gaussian_noise": (lambda x, t: anydrop.gaussian_noise(x, 0.3, seed=1, step=t), X),
}


@pytest.mark.parametrize("name", DRAWN)
def test_under_jit_a_step_is_any_number(name):
    """And no compiler rounds a product and a sum at once."""
    function, x = DRAWN[name]
    traced = jax.jit(function)
    for step in (0, 3):
        y = function(x, step)
        assert np.array_equal(traced(x, step), y)
        assert np.array_equal(function(np.asarray(x), step), y)
    assert traced._cache_size() == 1


@pytest.mark.parametrize("name", DRAWN)
def test_a_sum_that_follows_is_rounded_by_itself(name):
    """In the user's own program, with which all is compiled."""
    function, x = DRAWN[name]
    y = jax.jit(lambda x, step: function(x, step) + x)(x, 3)
    assert np.array_equal(y, np.asarray(function(x, 3)) + np.asarray(x))


@pytest.mark.parametrize("name", DRAWN)
def test_derivatives_agree_with_differences(name):
    """Forward and backward, to the second order. All are affine, so that steps may be long."""
    function, x = DRAWN[name]
    check_grads(lambda x: function(x, 3), (x,), order=2, eps=1.0, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_of_the_arrays_size_is_kept(name):
    function, x = DRAWN[name]
    for step in (3, jnp.uint32(3)):
        _, backward = jax.vjp(lambda x, step=step: function(x, step), x)
        assert sum(np.asarray(kept).nbytes for kept in jax.tree.leaves(backward)) <= 64
    _, backward = jax.vjp(jax.jit(lambda x: function(x, 3)), x)
    assert sum(np.asarray(kept).nbytes for kept in jax.tree.leaves(backward)) <= 64
    _, backward = jax.vjp(lambda x: x * jnp.sin(x), x)  # which the check sees
    assert sum(np.asarray(kept).nbytes for kept in jax.tree.leaves(backward)) >= x.nbytes


@pytest.mark.parametrize("name", DRAWN)
def test_what_vmap_maps(name):
    function, x = DRAWN[name]
    batch = jnp.stack([x, 2 * x])
    one = jax.vmap(lambda x: function(x, 3))(batch)
    assert np.array_equal(one[1], function(2 * x, 3))
    steps = jax.vmap(lambda t: function(x, t))(jnp.arange(3))
    for step in range(3):
        assert np.array_equal(steps[step], function(x, step))
    slopes = jax.vmap(jax.grad(lambda x: function(x, 3).sum()))(batch)
    assert np.array_equal(slopes[0], slopes[1])


def test_states_of_which_one_is_traced():
    new, previous = X, 2 * X
    expected = np.where(keep(X.shape, 0.3, seed=1, step=3), X, 2 * X)
    traced = jax.jit(lambda new: anydrop.zoneout(new, previous, 0.3, seed=1, step=3))(new)
    assert np.array_equal(traced, expected)
    traced = jax.jit(lambda previous: anydrop.zoneout(new, previous, 0.3, seed=1, step=3))(previous)
    assert np.array_equal(traced, expected)


def test_no_program_is_compiled_for_a_new_step_or_seed_or_p():
    def draw(p, **place):
        anydrop.gaussian_dropout(X, p, **place)
        anydrop.gaussian_noise(X, p, **place)
        anydrop.zoneout(X, X, p, **place)
        anydrop.drop_block2d(MAPS, p, 2, **place)

    used = programs.perturb, programs.choose_drawn, programs.select_blocks
    draw(0.3, seed=0)
    compiled = [program._cache_size() for program in used]
    assert all(compiled)
    for step in range(3):
        draw(0.1 + 0.1 * step, seed=step, step=2**40 + step)
    assert [program._cache_size() for program in used] == compiled


@pytest.mark.parametrize("name", ["gaussian_dropout", "gaussian_noise", "zoneout", "drop_block2d"])
def test_a_loop_stores_nothing_that_it_could_draw(name):
    """Neither the noise, nor the indices and words, which the loop does not change."""
    function = DRAWN[name][0]
    x = jnp.ones((3, 5, 255, 250))

    def body(x, step):
        return function(x, step), None

    loop = jax.jit(lambda x: jax.lax.scan(body, x, jnp.arange(5))[0])
    stored = loop.lower(x).compile().memory_analysis().temp_size_in_bytes
    # Blocks have a mask of a byte an element, before and after an axis's turn.
    assert stored < (4 if name == "drop_block2d" else 0.1) * x.size


@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["at once", "jit"])
@pytest.mark.parametrize("relative", [True, False])
def test_derivatives_of_noise_are_those_of_its_mask(relative, jit):
    def add(x):
        function = anydrop.gaussian_dropout if relative else anydrop.gaussian_noise
        return function(x, 0.3, seed=1, return_mask=True)

    y, mask = add(X)
    g = jnp.cos(X)
    got, backward = jax.vjp(jit(lambda x: add(x)[0]), X)
    assert np.array_equal(got, y)
    (dx,) = jit(backward)(g)
    assert np.array_equal(dx, mask.apply(np.asarray(g)))
    again, slope = jax.jvp(jit(lambda x: add(x)[0]), (X,), (g,))
    assert np.array_equal(again, y)
    assert np.array_equal(slope, dx)


def test_a_loop_of_steps():
    def body(total, step):
        y = anydrop.gaussian_dropout(X, 0.2, seed=1, step=step)
        kept = anydrop.drop_block1d(X[None], 0.3, 1, seed=1, step=step)[0] != 0
        return total + y, kept

    total, kept = jax.jit(lambda: jax.lax.scan(body, jnp.zeros_like(X), jnp.arange(3)))()
    expected = np.zeros_like(X)
    for step in range(3):
        expected += perturbed(np.asarray(X), Mask.from_seed(X.shape, 0.2, seed=1, step=step), 0.5)
    assert np.array_equal(total, expected)
    for step in range(3):
        expected = keep((1, *X.shape), 0.3, seed=1, step=step)[0]
        assert np.array_equal(kept[step], expected)


RETURNED = {
    "blocks": lambda x: anydrop.drop_block2d(x, 0.3, 2, seed=0, return_mask=True),
    "noise": lambda x: anydrop.gaussian_dropout(x, 0.3, seed=0, return_mask=True),
    "zones": lambda x: anydrop.zoneout(x, -x, 0.3, seed=0, return_mask=True),
    "sums": lambda x: anydrop.dropout_add(x, -x, 0.3, bias=x[0], seed=0, return_mask=True),
    "copies": lambda x: anydrop.drop_connect(x, 0.3, examples=2, seed=0, return_mask=True),
    "stored": lambda x: anydrop.dropout(x, 0.3, rng=jax.random.key(0), return_mask=True),
}


@pytest.mark.parametrize("name", RETURNED)
def test_masks_go_out_of_jit_and_into_it(name):
    """All their numbers stay Python's, such as a scale of 64 bits, and NumPy takes them too."""
    function = RETURNED[name]
    x = jnp.ones((2, 3, 6, 5))
    y, mask = function(x)
    _, out = jax.jit(function)(x)
    gradient = np.linspace(1, 2, y.size).reshape(y.shape)
    within = jax.jit(lambda mask, g: mask.apply(g))(mask, jnp.asarray(gradient, "float32"))
    for got, expected in (
        (out.apply(gradient), mask.apply(gradient)),
        (within, mask.apply(gradient.astype("float32"))),
    ):
        for a, b in zip(
            got if isinstance(got, tuple) else (got,),
            expected if isinstance(expected, tuple) else (expected,),
            strict=True,
        ):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("source", ["seed", "rng"])
@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
def test_gradients_of_sums_are_those_of_their_mask(name, source):
    """With a float32 residual; that of the bias up to the order of its additions."""
    x, residual, g = (jnp.asarray(a, "float32") for a in RNG.standard_normal((3, 50, 12)))
    x, bias = x.astype(name), jnp.asarray(RNG.standard_normal(12), "float32").astype(name)
    draw = {"seed": 1} if source == "seed" else {"rng": jax.random.key(0)}

    def add(*arrays):
        x, residual, bias = arrays
        return anydrop.dropout_add(x, residual, 0.3, bias=bias, **draw)

    y, mask = anydrop.dropout_add(x, residual, 0.3, bias=bias, **draw, return_mask=True)
    for run in (add, jax.jit(add)):
        got, backward = jax.vjp(run, x, residual, bias)
        assert got.dtype == "float32"
        assert np.array_equal(got, y)
        dx, dresidual, dbias = backward(g)
        assert np.array_equal(dresidual, g)
        assert np.array_equal(dx, mask.apply(g)[0])
        assert dx.dtype == dbias.dtype == x.dtype
        exact = np.asarray(mask.apply(g)[2], "float64")
        assert np.allclose(np.asarray(dbias, "float64"), exact, rtol=0.02, atol=0.05)
        tangents = x, residual, bias
        assert np.array_equal(jax.jvp(run, tangents, tangents)[1], y)  # all is linear


def test_nothing_of_a_sums_size_is_kept_by_jit_and_scan():
    """Nor the numbers that a loop around it does not change."""
    x, bias = jnp.ones((255, 250)), jnp.ones(250)

    def body(x, step):
        return anydrop.dropout_add(x, x, 0.5, bias=bias, seed=0, step=step), None

    loop = jax.jit(lambda x: jax.lax.scan(body, x, jnp.arange(5))[0])
    assert loop.lower(x).compile().memory_analysis().temp_size_in_bytes < 0.1 * x.size
    add = jax.jit(lambda x, r, b: anydrop.dropout_add(x, r, 0.5, bias=b, seed=0))
    _, backward = jax.vjp(add, x, x, bias)
    assert sum(np.asarray(kept).nbytes for kept in jax.tree.leaves(backward)) <= 64


def test_tokens_beyond_a_plain_int():
    """JAX without x64 takes no Python int of more than 31 bits beside an array."""
    ids = jnp.asarray([0, 1, 2**32 - 1] * 20, "uint32")
    y = anydrop.token_dropout(ids, 0.5, token=7, protected=(2**32 - 1,), seed=0)
    expected = anydrop.token_dropout(np.asarray(ids), 0.5, token=7, protected=(2**32 - 1,), seed=0)
    assert y.dtype == "uint32"
    assert np.array_equal(y, expected)
    assert 7 in expected
