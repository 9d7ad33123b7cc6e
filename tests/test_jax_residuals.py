"""JAX: what a program stores of a mask, and when it compiles."""

import logging

import numpy as np
import pytest

import anydrop
from anydrop import Window

jax = pytest.importorskip("jax", reason="jax is not installed here; nox -s tests-jax runs this")
import jax.numpy as jnp  # noqa: E402


def in_a_window(x):
    window = Window((2**39 - 9, 2**24 - 7), (2**39, 2**24))
    return anydrop.dropout(x, 0.5, seed=1, step=2**63, window=window)


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
    assert max(left_for_backward(lambda x: in_a_window(x.reshape(4, 6)), x[:24])) < 10
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
    anydrop.dropout(x[0], 0.5, seed=0)  # which loads the backend

    def call(p=0.5, seed=0, step=0, window=window, x=x):
        y, mask = anydrop.dropout(x, p, seed=seed, step=step, window=window, return_mask=True)
        mask.keep(like=y)

    assert len(compilations(caplog, call)) == 2
    assert not compilations(caplog, lambda: call(p=0.1))
    assert not compilations(caplog, lambda: call(p=0.0))
    assert not compilations(caplog, lambda: call(seed=(1, 2)))
    assert not compilations(caplog, lambda: call(step=2**64 - 1))
    assert not compilations(caplog, lambda: call(window=((45, 29), (50, 40))))
    assert len(compilations(caplog, lambda: call(x=jnp.ones((5, 12))))) >= 2


def test_new_traced_numbers_do_not_recompile():
    @jax.jit
    def program(x, step, row, column):
        window = Window((row, column), (2**32, 2**31))
        return anydrop.dropout(x, 0.5, seed=1, step=step, window=window)

    for place in ((0, 0, 0), (1, 2, 3), (2**31 - 1, 2**31 - 4, 7)):
        program(jnp.ones((4, 6)), *map(np.uint32, place))
    assert program._cache_size() == 1
