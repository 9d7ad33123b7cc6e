"""Contests of NumPy arrays with NumPy's expression and with a multiply, the least possible work."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from contest import Contest, Contestant, Key, numbers
from names import (
    ADD,
    ADD_ONE,
    ADD_STATES,
    ADD_STATES_ONE,
    ALL,
    CAREFUL,
    COPY,
    EXPRESSION,
    F_DROPOUT,
    INTO,
    INTO_ONE,
    INTO_TWO,
    KEEP,
    MULTIPLY,
    MULTIPLY_ONE,
    ONE,
    OURS,
    PLAIN,
    RANDOM,
    STORED,
    SUM_EXPRESSION,
    P,
)
from torch.nn import functional

import anydrop
from anydrop.backends.common.threads import Pool
from anydrop.backends.numpy import compiled
from anydrop.backends.numpy.backend import NumpyBackend

# The length of the rows that a bias is added to.
WIDTH = 1024
# The side of DropBlock's blocks.
SIDE = 7


def multiplied(x: np.ndarray, out: np.ndarray, threads: int | None = None) -> Contestant:
    """Return a multiply on as many threads as dropout uses."""
    factor = x.dtype.type(3.0)
    call = shared_among(threads, lambda a, b: np.multiply(a, factor, out=b), x, out)
    return Contestant(call, out=out, p=0.0, scale=3.0, fresh=False)


def shared_among(
    threads: int | None, operation: Callable[..., Any], *arrays: np.ndarray
) -> Callable[[], None]:
    """Return a call that splits an operation on arrays among as many threads as dropout uses."""
    pool, flat = Pool(threads), [array.reshape(-1) for array in arrays]

    def work(a: int, b: int) -> None:
        operation(*(array[a:b] for array in flat))

    return lambda: pool.run(work, flat[0].size, compiled.CROSSOVER)


def stepping(function: Callable[..., Any], x: Any, p: float, **options: Any) -> Callable[[], Any]:
    """Return a call of a dropout function that takes a new step each time.

    For a function of several arrays, x is a tuple.
    """
    steps, arrays = itertools.count(), x if isinstance(x, tuple) else (x,)
    return lambda: function(*arrays, p, seed=0, step=next(steps), **options)


def with_threads(threads: int, call: Callable[[], Any]) -> Callable[[], Any]:
    """Return the call on a number of threads."""

    def set_before() -> Any:
        anydrop.set_num_threads(threads)
        try:
            return call()
        finally:
            anydrop.set_num_threads(None)

    return set_before


def by(backend: NumpyBackend, x: np.ndarray, p: float, **options: Any) -> Callable[[], Any]:
    """Return a call of a backend's `select` that takes a new step each time."""
    mask, steps = anydrop.Mask.from_seed(x.shape, p, seed=0), itertools.count()
    return lambda: backend.select(x, mask._replace(step=next(steps)), mask.scale, **options)


def forward(n: int, dtype: str, p: float) -> Contest:
    """Return the contest of forward passes."""
    x = numbers(n, dtype)
    out, rng, drop = np.empty_like(x), np.random.default_rng(0), anydrop.Dropout(p, seed=0)
    keep, tensor = 1 - p, torch.from_numpy(x)
    into = stepping(anydrop.dropout, x, p, out=out)
    contestants = {
        MULTIPLY: multiplied(x, out),
        MULTIPLY_ONE: multiplied(x, out, 1),
        INTO: Contestant(into, out=out),
        INTO_ONE: Contestant(with_threads(1, into), out=out),
        INTO_TWO: Contestant(with_threads(2, into), out=out),
        OURS: Contestant(lambda: drop(x)),
        PLAIN: Contestant(by(NumpyBackend(use_numba=False), x, p)),
        EXPRESSION: Contestant(lambda: x * ((rng.random(x.shape) < keep) / keep), dtype="float64"),
        CAREFUL: Contestant(
            lambda: x * ((rng.random(x.shape, np.float32) < keep) / x.dtype.type(keep))
        ),
        F_DROPOUT: Contestant(lambda: functional.dropout(tensor, p).numpy()),
    }
    return Contest(Key("numpy", "forward", n, dtype, p), x, contestants)


def backward(n: int, dtype: str, p: float) -> Contest:
    """Return the contest of backward passes, with the mask of an earlier forward pass."""
    g = numbers(n, dtype)
    out, drop = np.empty_like(g), anydrop.Dropout(p, seed=0)
    drop(g)
    drop(g)  # the second call makes the plan
    factor = (np.random.default_rng(0).random(g.shape) < 1 - p) / (1 - p)
    contestants = {
        MULTIPLY: multiplied(g, out),
        OURS: Contestant(lambda: drop.backward(g), fresh=False),
        STORED: Contestant(lambda: g * factor, fresh=False, dtype="float64"),
    }
    return Contest(Key("numpy", "backward", n, dtype, p), g, contestants)


def passes(sizes: list[int], dtypes: list[str]) -> Iterator[Contest]:
    """Yield the contests of plain dropout."""
    for n, dtype, p in itertools.product(sizes, dtypes, P):
        yield forward(n, dtype, p)
        yield backward(n, dtype, p)


def shared(n: int) -> Iterator[Contest]:
    """Yield the contests of variants in which many elements are dropped together."""
    side = round(n ** (1 / 4))
    images, sequences = (side,) * 4, (side, side * side // 16, side * 16)
    variants = {
        "spatial": (anydrop.dropout2d, images, (2, 3), {}),
        "locked": (anydrop.locked_dropout, sequences, (1,), {"time_axis": 1}),
        "drop path": (anydrop.drop_path, images, (1, 2, 3), {}),
    }
    for (what, (function, shape, axes, options)), p in itertools.product(variants.items(), P):
        x = numbers(n, "float32").reshape(shape)
        out = np.empty_like(x)
        into = stepping(function, x, p, out=out, **options)
        contestants = {
            MULTIPLY: multiplied(x, out),
            INTO: Contestant(into, out=out, shared=axes),
        }
        yield Contest(Key("shared", what, n, "float32", p), x, contestants)


def keep_mask(n: int, p: float) -> Contest:
    """Return the contest of keep masks as arrays."""
    x, steps, rng = np.ones(n, "f4"), itertools.count(), np.random.default_rng(0)
    mask = anydrop.Mask.from_seed(x.shape, p, seed=0)
    calls = {
        KEEP: lambda: mask._replace(step=next(steps)).keep(like=x),
        RANDOM: lambda: rng.random(n) < 1 - p,
    }
    contestants = {name: Contestant(call, scale=1.0, dtype="bool") for name, call in calls.items()}
    return Contest(Key("mask", "forward", n, "float32", p), x, contestants)


def addends(n: int, dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, a bias and a residual.

    The bias and the residual are so small that x keeps its digits in the sum.
    """
    x, rng = numbers(n, dtype).reshape(-1, WIDTH), np.random.default_rng(1)
    bias = rng.uniform(-0.1, 0.1, WIDTH).astype(dtype)
    return x, bias, rng.uniform(-0.2, 0.2, x.shape).astype(dtype)


def sum_with_a_residual(n: int, p: float) -> Contest:
    """Return the contest of dropout with a bias and a residual, and a plain sum."""
    x, bias, residual = addends(n, "float32")
    out, rng, keep = np.empty_like(x), np.random.default_rng(0), 1 - p

    def dropped(y: np.ndarray) -> np.ndarray:
        return y - residual

    def added(threads: int | None) -> Contestant:
        call = shared_among(threads, lambda a, b, y: np.add(a, b, out=y), x, residual, out)
        bare = {"p": 0.0, "scale": 1.0, "fresh": False}
        return Contestant(call, lambda y: dropped(y) + bias, out=out, **bare)

    into = stepping(anydrop.dropout_add, (x, residual), p, bias=bias, out=out)
    contestants = {
        ADD: added(None),
        ADD_ONE: added(1),
        INTO: Contestant(into, dropped, out=out),
        INTO_ONE: Contestant(with_threads(1, into), dropped, out=out),
        OURS: Contestant(stepping(anydrop.dropout_add, (x, residual), p, bias=bias), dropped),
        SUM_EXPRESSION: Contestant(
            lambda: residual + (x + bias) * ((rng.random(x.shape) < keep) / keep),
            dropped,
            dtype="float64",
        ),
    }
    return Contest(Key("sum", "forward", n, "float32", p), x + bias, contestants)


def zoneout(n: int, p: float) -> Contest:
    """Return the contest of zoneout and a sum of the two states."""
    new = numbers(n, "float32")
    previous, out = 2 * new, np.empty_like(new)

    def zoned(y: np.ndarray) -> np.ndarray:
        return np.where(y == previous, 0, y)

    def added(threads: int | None) -> Contestant:
        call = shared_among(threads, lambda a, b, y: np.add(a, b, out=y), new, previous, out)
        return Contestant(call, out=out, p=0.0, scale=3.0, fresh=False)

    into = stepping(anydrop.zoneout, (new, previous), p, out=out)
    ours = {"array": zoned, "scale": 1.0}
    contestants = {
        ADD_STATES: added(None),
        ADD_STATES_ONE: added(1),
        INTO: Contestant(into, out=out, **ours),
        INTO_ONE: Contestant(with_threads(1, into), out=out, **ours),
        OURS: Contestant(stepping(anydrop.zoneout, (new, previous), p), **ours),
    }
    return Contest(Key("zoneout", "forward", n, "float32", p), new, contestants)


def blocks(n: int, p: float) -> Contest:
    """Return the contest of DropBlock and a multiply."""
    x = numbers(n, "float32").reshape((round(n ** (1 / 4)),) * 4)
    out = np.empty_like(x)
    into = stepping(anydrop.drop_block2d, x, p, block_size=SIDE, out=out)
    fresh = stepping(anydrop.drop_block2d, x, p, block_size=SIDE)
    contestants = {
        MULTIPLY: multiplied(x, out),
        MULTIPLY_ONE: multiplied(x, out, 1),
        INTO: Contestant(into, out=out, together=SIDE**2),
        INTO_ONE: Contestant(with_threads(1, into), out=out, together=SIDE**2),
        OURS: Contestant(fresh, together=SIDE**2),
    }
    return Contest(Key("blocks", "forward", n, "float32", p), x, contestants)


def others(n: int) -> Iterator[Contest]:
    """Yield the contests of keep masks, dropout with a residual, zoneout and DropBlock."""
    for p, contest in itertools.product(P, (keep_mask, sum_with_a_residual, zoneout, blocks)):
        yield contest(n, p)


def layouts(n: int) -> Iterator[Contest]:
    """Yield the contests of square matrices that are transposed in memory."""
    side = round(n**0.5)
    for order, p in itertools.product("FC", P):
        x = numbers(n, "float32").reshape(side, side).T
        out = np.empty(x.shape, x.dtype, order=order)
        into = stepping(anydrop.dropout, x, p, out=out)
        contestants = {
            COPY: Contestant(partial(np.copyto, out, x), out=out, p=0.0, scale=1.0, fresh=False),
            INTO: Contestant(into, out=out),
        }
        yield Contest(Key("layouts", f"F to {order}", n, "float32", p), x, contestants)


def crossovers(dtypes: list[str]) -> Iterator[Contest]:
    """Yield contests of one thread with all threads, for arrays of many sizes and both kernels."""
    kernels = {"numba": True, "NumPy": False}
    for (kernel, fast), dtype, power in itertools.product(kernels.items(), dtypes, range(17, 25)):
        x = numbers(2**power, dtype)
        out = np.empty_like(x)
        contestants = {
            name: Contestant(
                by(NumpyBackend(use_numba=fast, pool=Pool(threads, crossover=0)), x, 0.1, out=out),
                out=out,
            )
            for name, threads in ((ONE, 1), (ALL, None))
        }
        yield Contest(Key("crossover", kernel, x.size, dtype), x, contestants)
