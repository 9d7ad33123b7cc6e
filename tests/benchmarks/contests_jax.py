"""Contests of JAX arrays under `jax.jit` with the expression that JAX users write."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from contest import Contest, Contestant, Key, numbers
from names import MULTIPLIED, OURS, RBG, THREEFRY, P

import anydrop


def arrays(sizes: list[int], dtypes: list[str]) -> Iterator[Contest]:
    """Yield the contests of arrays of these sizes, for the function and its gradient."""
    for n, dtype, p, what in itertools.product(sizes, dtypes, P, ("forward", "gradient")):
        yield compiled(n, dtype, p, what)


def compiled(n: int, dtype: str, p: float, what: str) -> Contest:
    """Return the contest of compiled programs."""
    x, keep = numbers(n, dtype), 1 - p
    array = jnp.asarray(x)

    def theirs(x: Any, key: Any) -> Any:
        return jnp.where(jax.random.bernoulli(key, keep, x.shape), x / keep, 0)

    def entrant(
        function: Callable[[Any, Any], Any], sources: Iterator[Any], **checked: Any
    ) -> Contestant:
        def of_gradient(x: Any, source: Any) -> Any:
            # The weight x gives the gradient the values of the function.
            return jax.grad(lambda v: (function(v, source) * x).sum())(x)

        program = jax.jit(function if what == "forward" else of_gradient)
        return Contestant(lambda: jax.block_until_ready(program(array, next(sources))), **checked)

    def keys(key: Any) -> Iterator[Any]:
        return itertools.cycle(list(jax.random.split(key, 8)))

    contestants = {
        MULTIPLIED: entrant(
            lambda x, _: x * 3.0, itertools.repeat(0), p=0.0, scale=3.0, fresh=False
        ),
        OURS: entrant(lambda x, step: anydrop.dropout(x, p, seed=0, step=step), itertools.count()),
        THREEFRY: entrant(theirs, keys(jax.random.key(0))),
        RBG: entrant(theirs, keys(jax.random.key(0, impl="rbg"))),
    }
    return Contest(Key("jax", what, n, dtype, p), x, contestants)
