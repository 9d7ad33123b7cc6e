"""JAX: programs that are traced, differentiated and mapped; what they store and recompile."""

import logging

import numpy as np
import pytest

import anydrop
from anydrop import Mask, Window
from anydrop.testing import DTYPES
from anydrop.testing.reference import bits, keep, select
from anydrop.testing.subject import dtype_of

jax = pytest.importorskip("jax", reason="jax is not installed here; nox -s tests-jax runs this")
import jax.numpy as jnp  # noqa: E402

X = np.arange(1, 25, dtype="f4").reshape(4, 6)
STEP = 2**63 + 12345
WORDS = (STEP & 0xFFFFFFFF, STEP >> 32)
# More than 2**40 elements, the last of which are past 2**63.
WIDE = Window((2**39 - 9, 2**24 - 7), (2**39, 2**24))
BACKEND = anydrop.resolve(jnp.ones(1))


def drop(x):
    return anydrop.dropout(x, 0.5, seed=1, step=STEP, window=WIDE)


KEPT = keep(X.shape, 0.5, seed=1, step=STEP, window=WIDE)
DROPPED = np.where(KEPT, 2 * X, 0)


def moved(x, step, row, column):
    """Dropout at a place that a compiler may trace."""
    return anydrop.dropout(x, 0.5, seed=1, step=step, window=Window((row, column), (2**32, 2**31)))


def kept_at(step, row, column):
    return keep(X.shape, 0.5, seed=1, step=step, window=Window((row, column), (2**32, 2**31)))


# Traced numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["i4", "u4", "i2", "u1"])
def test_a_traced_step(dtype):
    program = jax.jit(lambda x, step: anydrop.dropout(x, 0.5, seed=1, step=step))
    for step in (0, 1, 77):
        expected = 2 * X * keep(X.shape, 0.5, seed=1, step=step)
        assert np.array_equal(program(X, np.dtype(dtype).type(step)), expected)
        array = jnp.asarray(step, dtype)
        assert np.array_equal(anydrop.dropout(jnp.asarray(X), 0.5, seed=1, step=array), expected)


def test_a_step_past_32_bits():
    """As the low and high words of one, traced or not."""
    expected = 2 * X * keep(X.shape, 0.5, seed=1, step=STEP)
    program = jax.jit(lambda x, step: anydrop.dropout(x, 0.5, seed=1, step=step))
    words = jnp.asarray(WORDS, jnp.uint32)
    assert np.array_equal(program(X, words), expected)
    assert np.array_equal(anydrop.dropout(jnp.asarray(X), 0.5, seed=1, step=words), expected)
    assert np.array_equal(anydrop.dropout(jnp.asarray(X), 0.5, seed=1, step=STEP), expected)


@pytest.mark.parametrize("place", [(0, 0), (2**31 - 1, 5), (2**32 - 4, 2**31 - 6)])
@pytest.mark.parametrize("dtype", ["u4", "i4"])
def test_a_traced_offset(place, dtype):
    """The global array has 2**63 elements, so that products of 32 bits would not do."""
    if max(place) > np.iinfo(dtype).max:
        dtype = "u4"
    row, column = np.asarray(place, dtype)
    expected = 2 * X * kept_at(STEP, *place)
    program = jax.jit(moved)
    words = jnp.asarray(WORDS, jnp.uint32)
    assert np.array_equal(program(X, words, row, column), expected)
    assert np.array_equal(moved(jnp.asarray(X), STEP, jnp.asarray(row), place[1]), expected)


def test_a_traced_offset_beside_a_fixed_one_and_a_shared_axis():
    window = Window((3, 2**40), (9, 2**41))
    expected = keep(X.shape, 0.5, seed=1, shared_axes=(0,), window=window)

    @jax.jit
    def program(x, row):
        window = Window((row, 2**40), (9, 2**41))
        return anydrop.dropout(x, 0.5, seed=1, shared_axes=0, window=window)

    assert np.array_equal(program(X, 3), 2 * X * expected)
    row = jnp.uint32(9)  # an array, but none that is traced
    program = jax.jit(lambda x, column: moved(x, 5, row, column))
    assert np.array_equal(program(X, 3), 2 * X * kept_at(5, 9, 3))


def test_mapped_steps_and_offsets():
    steps, rows = [5, 6, 2**31], [0, 2**20, 2**32 - 4]
    expected = np.stack([2 * X * kept_at(s, r, 9) for s, r in zip(steps, rows, strict=True)])
    for wrap in (as_it_is, jax.jit):
        program = wrap(jax.vmap(wrap(moved), (None, 0, 0, None)))
        y = program(
            jnp.asarray(X),
            jnp.asarray(steps, jnp.uint32),
            jnp.asarray(rows, jnp.uint32),
            np.int32(9),
        )
        assert np.array_equal(y, expected)
    same = jax.vmap(lambda x: moved(x, 5, 0, 9))(np.stack([X, X]))
    assert np.array_equal(same, np.stack([expected[0]] * 2))


# Transformations --------------------------------------------------------------------------------


def as_it_is(f):
    return f


@pytest.mark.parametrize(
    ("f", "wrap"),
    [
        (drop, as_it_is),
        (drop, jax.jit),
        (jax.jit(drop), as_it_is),
        (jax.jit(jax.checkpoint(drop)), jax.jit),
    ],
    ids=["eager", "jit outside", "jit inside", "jit, checkpoint"],
)
def test_transformations(f, wrap):
    """Each against its formula: y = D x and the loss sum(y**3) / 3, with D of zeros and twos."""
    two, mask = np.stack([X, 2 * X]), 2.0 * KEPT

    def loss(x):
        return (f(x) ** 3).sum() / 3

    def tangent(x):
        return jax.jvp(f, (x,), (x,))[1]

    def scanned(x):
        return jax.lax.scan(lambda c, _: (f(c), None), x, None, length=3)[0].sum()

    for program, x, expected in (
        (f, X, mask * X),
        (jax.grad(loss), X, mask * (mask * X) ** 2),
        (tangent, X, mask * X),
        (jax.grad(lambda x: (jax.grad(loss)(x) * X).sum()), X, 2 * mask**3 * X * X),
        (lambda x: jax.jvp(jax.grad(loss), (x,), (x,))[1], X, 2 * mask**3 * X * X),
        (jax.vmap(f), two, mask * two),
        (jax.vmap(jax.grad(loss)), two, mask * (mask * two) ** 2),
        (lambda x: jax.linearize(f, x)[1](x), X, mask * X),
        (lambda x: jax.linear_transpose(f, x)(x)[0], X, mask * X),
        (jax.grad(scanned), X, mask**3),
    ):
        assert np.array_equal(wrap(program)(x), expected.astype("f4"))
    hessian = np.asarray(wrap(jax.hessian(loss))(X)).reshape(24, 24)
    assert np.array_equal(hessian, np.diag((2 * mask**3 * X).ravel()))


@pytest.mark.parametrize("name", DTYPES)
def test_the_gradient_is_the_same_call_on_the_gradient(name):
    """Bit by bit: the cotangent is rounded as an input is."""
    dtype = dtype_of(name)
    parts = np.random.default_rng(0).standard_normal((2, 300, 2))
    numbers = parts.view(complex)[..., 0] if dtype.kind == "c" else parts[..., 0]
    x, g = (BACKEND.from_numpy(v, jnp.ones(0)) for v in numbers.astype(dtype))
    for f in (lambda x: anydrop.dropout(x, 0.1, seed=3), lambda x: BACKEND.select(x, None, 0.7)):
        expected = BACKEND.to_numpy(f(g))
        with jax.enable_x64(dtype.itemsize // (1 + (dtype.kind == "c")) == 8):
            (gradient,) = jax.vjp(f, x)[1](g)
            assert bits(BACKEND.to_numpy(gradient)) == bits(expected)
            (gradient,) = jax.jit(lambda x, g: jax.vjp(f, x)[1](g))(x, g)  # noqa: B023
            assert bits(BACKEND.to_numpy(gradient)) == bits(expected)


def test_an_infinite_gradient_of_a_dropped_element_is_zero():
    (gradient,) = jax.vjp(drop, jnp.asarray(X))[1](jnp.full(X.shape, jnp.inf))
    assert np.array_equal(gradient, np.where(KEPT, np.inf, 0))


def test_the_shift_is_differentiable():
    """The product is kept apart from the sum by an operation on bits, which has no derivative."""
    mask = Mask.from_seed(X.shape, 0.5, seed=1)
    kept = keep(X.shape, 0.5, seed=1)

    def f(x):
        return BACKEND.select(x, mask, 0.5, 0.3, -1.0)

    assert np.array_equal(jax.grad(lambda x: f(x).sum())(X), np.where(kept, 0.5, 0))
    assert np.array_equal(jax.jvp(f, (X,), (X,))[1], np.where(kept, 0.5 * X, 0))
    assert np.array_equal(jax.vmap(f)(X[None])[0], select(X, kept, 0.5, 0.3, -1.0))


# What is stored, and when it compiles ------------------------------------------------------------


def left_for_backward(f, x):
    """Return the sizes of the arrays that a backward pass holds on to."""
    _, backward = jax.vjp(f, x)
    return [leaf.size for leaf in jax.tree.leaves(backward)]


def test_nothing_of_the_masks_size_is_stored():
    x = jnp.ones(1000)

    def usual(x):
        return jnp.where(jax.random.bernoulli(jax.random.key(0), 0.5, x.shape), 2 * x, 0)

    def ours(x):
        return anydrop.dropout(x, 0.5, seed=0)

    assert max(left_for_backward(usual, x)) == 1000
    assert max(left_for_backward(ours, x)) < 10
    assert max(left_for_backward(jax.jit(ours), x)) < 10
    assert max(left_for_backward(lambda x: drop(x.reshape(4, 6)), x[:24])) < 10
    ours_and_sine = left_for_backward(lambda x: jnp.sin(ours(x)), x)
    assert sorted(ours_and_sine)[-2:] == [7, 1000]  # the sine's own, and the words


def test_nothing_of_the_masks_size_is_hoisted_out_of_a_loop(monkeypatch):
    """Without the barrier XLA stores what no step changes, the blocks' numbers, beside the loop."""

    def extra(shape):
        def body(x, step):
            return anydrop.dropout(x, 0.5, seed=0, step=step), None

        x = jnp.ones(shape)
        loop = jax.jit(lambda x: jax.lax.scan(body, x, jnp.arange(5))[0])
        return loop.lower(x).compile().memory_analysis().temp_size_in_bytes / x.size

    assert extra((255, 250)) < 0.1
    monkeypatch.setattr(jax.lax, "optimization_barrier", lambda numbers: numbers)
    assert extra((255, 251)) > 1


def compilations(caplog, call):
    caplog.clear()
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        call()
    return [r.getMessage() for r in caplog.records if r.getMessage().startswith("Compiling")]


def test_new_numbers_do_not_recompile(caplog):
    x, window = jnp.ones((5, 11)), ((0, 3), (50, 40))

    def call(p=0.5, seed=0, step=0, window=window, x=x):
        y, mask = anydrop.dropout(x, p, seed=seed, step=step, window=window, return_mask=True)
        mask.keep(like=y)

    assert len(compilations(caplog, call)) == 2
    assert not compilations(caplog, lambda: call(p=0.1))
    assert not compilations(caplog, lambda: call(p=2**-34))
    assert not compilations(caplog, lambda: call(seed=(1, 2)))
    assert not compilations(caplog, lambda: call(step=2**64 - 1))
    assert not compilations(caplog, lambda: call(window=((45, 29), (50, 40))))
    assert len(compilations(caplog, lambda: call(x=jnp.ones((5, 12))))) >= 2


def test_new_traced_numbers_do_not_recompile():
    program = jax.jit(lambda *args: moved(*args))
    for place in ((0, 0, 0), (1, 2, 3), (2**31 - 1, 2**31 - 4, 7)):
        program(X, *map(np.uint32, place))
    assert program._cache_size() == 1


# Masks that go in and out ------------------------------------------------------------------------


def test_a_mask_goes_into_and_comes_out_of_a_jitted_function():
    """Its p stays the double that it is: as an array it would be one of 32 bits."""

    @jax.jit
    def forward(x, step):
        return anydrop.dropout(x, 0.1, seed=0, step=step, return_mask=True)

    backward = jax.jit(lambda mask, g: mask.apply(g))
    ones = np.ones(1000, "f4")
    for step in (3, 4):
        y, mask = forward(ones, step)
        expected = Mask.from_seed((1000,), 0.1, seed=0, step=step)
        assert type(mask) is Mask
        assert mask.p == 0.1
        assert mask.digest() == expected.digest()
        assert np.array_equal(mask.apply(ones), y)
        assert np.array_equal(backward(expected, ones), y)
    assert backward._cache_size() == 1
    window = Window((5, 2**40), (9, 2**41))
    mask = Mask.from_seed((2, 3), 0.5, seed=0, step=2**64 - 1, window=window)
    assert jax.tree.map(lambda leaf: leaf, mask) == mask


def test_a_recipe_with_traced_places_comes_out():
    @jax.jit
    def program(row):
        window = Window((row, 0), (2**32, 2**31))
        return Mask.from_seed(X.shape, 0.5, seed=1, step=3, window=window)

    mask = program(7)
    assert np.array_equal(mask.keep(like=np.empty(0)), kept_at(3, 7, 0))
