"""Contests of Gaussian dropout in NumPy, PyTorch and JAX with the libraries' own normal numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from contest import CHECKED, FATES, SIGMAS, Contest, Contestant, Key, expect, numbers
from contests_numpy import with_threads
from names import (
    INTO,
    INTO_ONE,
    JAX_NORMAL,
    NORMALS,
    NORMALS_ONE,
    OURS,
    PLAIN,
    RANDN_LIKE,
    P,
)

import anydrop
from anydrop.backends.numpy.backend import NumpyBackend

# The backend whose bits all anydrop contestants must have. Tests compare it with the definition.
WITHOUT_NUMBA = NumpyBackend(use_numba=False)


def deviation(p: float) -> float:
    """Return the standard deviation of the noise for a drop probability."""
    return math.sqrt(p / (1 - p))


class NoiseContest(Contest):
    """Contestants that multiply by normal noise of mean 1."""

    def fates(self, name: str, result: Any) -> np.ndarray:
        """Return the normal numbers of a result; raise AssertionError if its bits are wrong."""
        y, exact = self.array_of(name, result), self.contestants[name].exact
        expect(
            exact is None or np.array_equal(y, exact()), f"{name}: other bits, or still poisoned"
        )
        z, std = np.empty(y.size), deviation(self.key.p)
        for a in range(0, y.size, CHECKED):
            b = a + CHECKED
            z[a:b] = (y[a:b].astype(np.float64) / self.x[a:b] - 1.0) / std
        return z

    def judge(self, name: str, drawn: Sequence[np.ndarray]) -> None:
        """Raise AssertionError if the numbers have a wrong mean or variance, or repeat."""
        n = sum(one.size for one in drawn)
        if n < FATES:
            return
        mean = sum(one.sum() for one in drawn) / n
        variance = sum((one**2).sum() for one in drawn) / n
        near = abs(mean) <= SIGMAS / math.sqrt(n)
        expect(near and abs(variance - 1) <= SIGMAS * math.sqrt(2 / n), f"{name}: no such noise")
        self.renewed(name, [one[:FATES].tobytes() for one in drawn])


def ours(call: Callable[[int], Any], x: np.ndarray, p: float, **options: Any) -> Contestant:
    """Return a contestant that takes a new step in each call, and knows the bits of its result."""
    steps, mask, std = itertools.count(), anydrop.Mask.from_seed(x.shape, p, seed=0), deviation(p)
    last = 0

    def stepping() -> Any:
        nonlocal last
        last = next(steps)
        return call(last)

    def exact() -> np.ndarray:
        z = WITHOUT_NUMBA.normals(mask._replace(step=last), x)
        return x * (1 + x.dtype.type(std) * z)

    return Contestant(stepping, exact=exact, **options)


def contests(n: int) -> Iterator[Contest]:
    """Yield the contests of all libraries."""
    for p, contest in itertools.product(P, (of_numpy, of_torch, of_jax)):
        yield contest(n, p)


def normals(x: np.ndarray, p: float, out: np.ndarray, threads: int) -> Contestant:
    """Return NumPy's expression on several threads, each with its own generator.

    Each thread works on pieces that stay in the cache, so that its passes are as fast as possible.
    """
    pool, std = ThreadPoolExecutor(threads), x.dtype.type(deviation(p))
    rngs = [np.random.default_rng(seed) for seed in range(threads)]
    share = -(-x.size // threads)

    def work(thread: int) -> None:
        end = min((thread + 1) * share, x.size)
        for a in range(thread * share, end, CHECKED):
            part = slice(a, min(a + CHECKED, end))
            y = out[part]
            rngs[thread].standard_normal(out=y, dtype=x.dtype)
            y *= std
            y += 1
            y *= x[part]

    return Contestant(lambda: list(pool.map(work, range(threads))), out=out)


def of_numpy(n: int, p: float) -> Contest:
    """Return the contest of NumPy arrays, with and without a given output array."""
    x = numbers(n, "float32")
    out, std = np.empty_like(x), deviation(p)
    mask = anydrop.Mask.from_seed(x.shape, p, seed=0)

    def into(step: int) -> Any:
        return anydrop.gaussian_dropout(x, p, seed=0, step=step, out=out)

    def plain(step: int) -> Any:
        return WITHOUT_NUMBA.perturb(x, mask._replace(step=step), std, True, out)

    one = ours(into, x, p, out=out)
    one.call = with_threads(1, one.call)
    contestants = {
        NORMALS: normals(x, p, out, anydrop.get_num_threads()),
        NORMALS_ONE: normals(x, p, out, 1),
        INTO: ours(into, x, p, out=out),
        INTO_ONE: one,
        OURS: ours(lambda step: anydrop.gaussian_dropout(x, p, seed=0, step=step), x, p),
        PLAIN: ours(plain, x, p, out=out),
    }
    return NoiseContest(Key("noise", "NumPy", n, "float32", p), x, contestants)


def of_torch(n: int, p: float) -> Contest:
    """Return the contest of PyTorch tensors on the CPU."""
    x = numbers(n, "float32")
    t, std = torch.from_numpy(x), deviation(p)
    contestants = {
        OURS: ours(lambda step: anydrop.gaussian_dropout(t, p, seed=0, step=step), x, p),
        RANDN_LIKE: Contestant(lambda: (torch.randn_like(t) * std + 1) * t),
    }
    return NoiseContest(Key("noise", "PyTorch", n, "float32", p), x, contestants)


def of_jax(n: int, p: float) -> Contest:
    """Return the contest of JAX arrays under `jax.jit`."""
    x = numbers(n, "float32")
    array, std = jnp.asarray(x), deviation(p)
    keys = itertools.cycle(list(jax.random.split(jax.random.key(0), 8)))

    @jax.jit
    def theirs(x: Any, key: Any) -> Any:
        return (jax.random.normal(key, x.shape) * std + 1) * x

    @jax.jit
    def program(x: Any, step: Any) -> Any:
        return anydrop.gaussian_dropout(x, p, seed=0, step=step)

    contestants = {
        OURS: ours(lambda step: jax.block_until_ready(program(array, step)), x, p),
        JAX_NORMAL: Contestant(lambda: jax.block_until_ready(theirs(array, next(keys)))),
    }
    return NoiseContest(Key("noise", "JAX", n, "float32", p), x, contestants)
