"""A contest: calls that do one thing in different ways, timed in turns, each sample checked."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

# The least that a sample takes: calls that are shorter are made several times.
SAMPLE = 5e-4
# By how much a survivor may be off, as a share of it.
TOLERANCE = {"float16": 2e-3, "float32": 1e-6, "float64": 1e-13}
# Of a binomial share: one false alarm in 500 million.
SIGMAS = 6.0
# The fewest fates that tell something of their rate.
FATES = 1000
# Elements at a time: drawn, and checked within the cache.
BLOCK, CHECKED = 2**20, 2**16


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
        Makes a NumPy array of the result, once the clock has stopped: of a sum, of its part that
        dropout may drop.
    out : array, optional
        Where the call writes to: poisoned before each sample, and then the result.
    p : float, optional
        Another drop probability than the contest's: 0 of a multiply.
    scale : float, optional
        What survivors are multiplied by, if not 1 / (1 - p).
    fresh : bool
        Whether each call must drop others than the one before.
    shared : tuple of int
        The axes along which elements share their fate.
    dtype : str, optional
        The result's, if not the contest's.
    together : int
        Of how many elements, at most, one draw decides. The share of what is dropped varies by so
        much more.
    exact : callable, optional
        Returns what the last call must have returned, bit for bit.
    """

    call: Callable[[], Any]
    array: Callable[[Any], np.ndarray] = np.asarray
    out: np.ndarray | None = None
    p: float | None = None
    scale: float | None = None
    fresh: bool = True
    shared: tuple[int, ...] = ()
    dtype: str | None = None
    together: int = 1
    exact: Callable[[], np.ndarray] | None = None


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
    """

    key: Key
    x: np.ndarray
    contestants: dict[str, Contestant]
    last: dict[str, bytes] = field(default_factory=dict, repr=False)

    def array_of(self, name: str, result: Any) -> np.ndarray:
        """Return a result as a NumPy array; raise AssertionError if shape or dtype are wrong."""
        contestant = self.contestants[name]
        y = contestant.array(result if contestant.out is None else contestant.out)
        expect(y.shape == self.x.shape, f"{name}: a result of shape {y.shape}")
        expect(y.dtype == (contestant.dtype or self.key.dtype), f"{name}: a result in {y.dtype}")
        return y

    def fates(self, name: str, result: Any) -> np.ndarray:
        """Return which elements a result drops, and raise AssertionError if others aren't scaled.

        Of elements that share their fate it tells one.
        """
        contestant, y = self.contestants[name], self.array_of(name, result)
        scale = contestant.scale or 1.0 / (1.0 - self.key.p)
        dropped = y == 0
        flat = [array.reshape(-1) for array in (self.x, y, dropped)]  # copies, if they are strided
        for a in range(0, y.size, CHECKED):
            x, part, zeros = (array[a : a + CHECKED] for array in flat)
            ours = x.astype(np.float64) * scale
            near = np.abs(part - ours) <= TOLERANCE[self.key.dtype] * np.abs(ours)
            expect((zeros | near).all(), f"{name}: neither dropped nor scaled, or still poisoned")
        if not contestant.shared:
            return dropped
        one = dropped[tuple(slice(1 if a in contestant.shared else None) for a in range(y.ndim))]
        expect((dropped == one).all(), f"{name}: different fates where one is shared")
        return one

    def judge(self, name: str, drawn: Sequence[np.ndarray]) -> None:
        """Raise AssertionError if calls drop too many or too few, or one mask again and again."""
        contestant = self.contestants[name]
        n, dropped = sum(one.size for one in drawn), sum(int(one.sum()) for one in drawn)
        if n < FATES:
            return
        p = self.key.p if contestant.p is None else contestant.p
        off = abs(dropped - p * n) - SIGMAS * math.sqrt(p * (1 - p) * n * contestant.together)
        expect(off <= 0.5, f"{name}: dropped {dropped} of {n}")
        if contestant.fresh and p:
            self.renewed(name, [np.packbits(one).tobytes() for one in drawn])

    def renewed(self, name: str, drawn: list[bytes]) -> None:
        """Raise AssertionError if all calls drew the same, or what the call before them drew."""
        # Two calls may draw the same few fates by chance, but not all of them.
        masks = set(drawn)
        expect(masks != {self.last.get(name)}, f"{name}: the same fates as in the call before")
        expect(len(masks) > 1 or len(drawn) == 1, f"{name}: the same fates in every call")
        self.last[name] = masks.pop()

    def call(self, name: str, times: int) -> tuple[float, np.ndarray]:
        """Return the seconds that so many calls take, and what the last one dropped."""
        contestant = self.contestants[name]
        if contestant.out is not None:
            contestant.out.fill(np.nan)
        call = contestant.call
        start = time.perf_counter()
        for _ in range(times - 1):
            call()
        result = call()
        elapsed = time.perf_counter() - start
        return elapsed, self.fates(name, result)

    def prove(self, name: str) -> float:
        """Check as many calls of a contestant as it takes to tell how much it drops.

        Returns the seconds of the last one.
        """
        drawn: list[np.ndarray] = []
        while sum(one.size for one in drawn) < FATES:
            elapsed, fates = self.call(name, 1)
            drawn.append(fates)
        self.judge(name, drawn)
        return elapsed

    def sample(self, name: str, times: int) -> float:
        """Return the seconds of a call, of which so many are made, and check the last one.

        One more goes before, for its memory: after what others did meanwhile, the system may have
        given away the pages that a result of this size takes again and again.
        """
        self.contestants[name].call()
        elapsed, fates = self.call(name, times)
        self.judge(name, [fates])
        return elapsed / times

    def times_of(self, name: str) -> int:
        """Return how many calls make a sample, and warm up on the way."""
        elapsed, times = self.prove(name), 1
        while elapsed < SAMPLE:
            times *= 2
            elapsed = self.sample(name, times) * times
        return times

    def run(self, rounds: int) -> Times:
        """Let the contestants take turns, and return the seconds of each."""
        times = {name: self.times_of(name) for name in self.contestants}
        seconds: dict[str, list[float]] = {name: [] for name in self.contestants}
        for _ in range(rounds):
            for name, samples in seconds.items():
                samples.append(self.sample(name, times[name]))
        return Times(self.key, {n: quartiles(samples) for n, samples in seconds.items()})


def expect(holds: bool, message: str) -> None:
    """Raise AssertionError with a message unless something holds."""
    if not holds:
        raise AssertionError(message)


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
