"""A contest: calls that do one thing in different ways, timed in turns and checked each time."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

# The least that a sample takes: calls that are shorter are made several times.
SAMPLE = 5e-4
# By how much a survivor may be off, as a share of it.
TOLERANCE = {"float16": 2e-3, "float32": 1e-6, "float64": 1e-13}
# Of a binomial share: one false alarm in 500 million.
SIGMAS = 6.0
BLOCK = 2**20


class Key(NamedTuple):
    """What a contest is about."""

    group: str
    what: str
    elements: int
    dtype: str = "float32"
    p: float = 0.1


@dataclass
class Contestant:
    """A call, and what there is to check of it.

    Parameters
    ----------
    call : callable
        Takes nothing and returns the result.
    array : callable
        Makes a NumPy array of the result, once the clock has stopped.
    out : array, optional
        Where the call writes to: poisoned before it, and then the result.
    p : float, optional
        Another drop probability than the contest's: 0 of a multiply.
    scale : float, optional
        What survivors are multiplied by, if not the contest's.
    fresh : bool
        Whether each call must drop others than the one before.
    rate : bool
        Whether the share of what is dropped is to be checked, as it can't be of shared axes.
    """

    call: Callable[[], Any]
    array: Callable[[Any], np.ndarray] = np.asarray
    out: np.ndarray | None = None
    p: float | None = None
    scale: float | None = None
    fresh: bool = True
    rate: bool = True
    last: bytes = field(default=b"", repr=False)


@dataclass
class Contest:
    """Contestants, and the array that all of them start from.

    Parameters
    ----------
    key : Key
        What it is about.
    x : array
        Whose elements are far from 0, so that a 0 means dropped.
    contestants : dict of str to Contestant
        By name.
    scale : float, optional
        What survivors are multiplied by: 1 / (1 - p) by default.
    """

    key: Key
    x: np.ndarray
    contestants: dict[str, Contestant]
    scale: float | None = None

    def check(self, name: str, result: Any) -> None:
        """Raise AssertionError unless a result is a dropout of x, and not the one before."""
        contestant = self.contestants[name]
        y = contestant.out if contestant.out is not None else contestant.array(result)
        assert y is not None
        assert y.size == self.x.size, f"{name}: a result of {y.size} elements"
        p = self.key.p if contestant.p is None else contestant.p
        scale = contestant.scale or self.scale or 1.0 / (1.0 - self.key.p)
        x, y = self.x.reshape(-1), y.reshape(-1)
        dropped = 0
        for a in range(0, x.size, BLOCK):
            part, ours = y[a : a + BLOCK], x[a : a + BLOCK].astype(np.float64) * scale
            zeros = part == 0
            near = np.abs(part - ours) <= TOLERANCE[self.key.dtype] * np.abs(ours)
            assert (zeros | near).all(), f"{name}: neither dropped nor scaled, or still poisoned"
            dropped += int(zeros.sum())
        if contestant.rate:
            expected, sigma = p * x.size, math.sqrt(p * (1 - p) * x.size)
            assert abs(dropped - expected) <= SIGMAS * sigma + 0.5, f"{name}: dropped {dropped}"
        if contestant.fresh and p and x.size > 1000:
            fates = np.packbits(y[:BLOCK] == 0).tobytes()
            assert fates != contestant.last, f"{name}: the same fates as in the call before"
            contestant.last = fates

    def sample(self, name: str, times: int) -> float:
        """Return the seconds of a call, of which so many are made, and check the last one."""
        contestant = self.contestants[name]
        if contestant.out is not None:
            contestant.out.fill(np.nan)
        call = contestant.call
        start = time.perf_counter()
        for _ in range(times - 1):
            call()
        result = call()
        elapsed = time.perf_counter() - start
        self.check(name, result)
        return elapsed / times

    def times_of(self, name: str) -> int:
        """Return how many calls make a sample, and warm up on the way."""
        self.sample(name, 1)
        times = 1
        while self.sample(name, times) * times < SAMPLE:
            times *= 2
        return times

    def run(self, rounds: int) -> Times:
        """Let the contestants take turns, and return the seconds of each."""
        times = {name: self.times_of(name) for name in self.contestants}
        seconds: dict[str, list[float]] = {name: [] for name in self.contestants}
        for _ in range(rounds):
            for name, samples in seconds.items():
                samples.append(self.sample(name, times[name]))
        return Times(self.key, {n: quartiles(samples) for n, samples in seconds.items()})


class Quartiles(NamedTuple):
    """Of the seconds of a call."""

    low: float
    median: float
    high: float


def quartiles(samples: list[float]) -> Quartiles:
    """Return the quartiles of samples."""
    if len(samples) == 1:
        return Quartiles(*samples * 3)
    three = statistics.quantiles(samples, n=4, method="inclusive")
    return Quartiles(*(float(f"{seconds:.4g}") for seconds in three))


class Times(NamedTuple):
    """The outcome of a contest."""

    key: Key
    seconds: dict[str, Quartiles]


def times_of(found: dict[str, Any]) -> list[Times]:
    """Return the outcomes of a run's contests, as its JSON file has them."""
    return [
        Times(
            Key(**{name: one[name] for name in Key._fields}),
            {name: Quartiles(*seconds) for name, seconds in one["seconds"].items()},
        )
        for one in found["contests"]
    ]


def numbers(n: int, dtype: str) -> np.ndarray:
    """Return random numbers of either sign, none of them nearer to 0 than 0.5."""
    rng = np.random.default_rng(0)
    x = np.empty(n, dtype)
    for a in range(0, n, BLOCK):
        part = rng.uniform(0.5, 2.0, min(BLOCK, n - a))
        x[a : a + BLOCK] = np.where(rng.random(part.size) < 0.5, part, -part)
    return x
