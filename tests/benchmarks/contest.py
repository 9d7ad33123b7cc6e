"""Contests: calls that do the same in different ways take turns, and every sample is checked."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

# The shortest time of a sample, in seconds. A sample repeats shorter calls.
SAMPLE = 5e-4
# The largest relative error of an element that is kept.
TOLERANCE = {"float16": 2e-3, "float32": 1e-6, "float64": 1e-13}
# How many standard deviations the dropped share may be off: one false alarm in 500 million.
SIGMAS = 6.0
# The fewest draws for which the dropped share is checked.
FATES = 1000
# How many elements to draw and to check at a time. Those that are checked fit in the cache.
BLOCK, CHECKED = 2**20, 2**16


class Key(NamedTuple):
    """The key of a contest in the results."""

    group: str
    what: str
    elements: int
    dtype: str = "float32"
    p: float = 0.1


@dataclass
class Contestant:
    """A call, and the properties of its result to check.

    Parameters
    ----------
    call : callable
        Takes no arguments and returns the result.
    array : callable
        Converts the result to a NumPy array, after the clock has stopped. For a sum, it returns
        only the summand that dropout may drop.
    out : array, optional
        The array that the call writes its result to. The contest poisons it before each sample.
    p : float, optional
        The drop probability if it is not the contest's, such as 0 for a multiply.
    scale : float, optional
        The factor of elements that are kept, if it is not 1 / (1 - p).
    fresh : bool
        Whether each call must draw another mask than the call before.
    shared : tuple of int
        The axes along which elements are dropped together.
    dtype : str, optional
        The dtype of the result, if it is not the contest's.
    together : int
        The most elements that one draw drops. It raises the variance of the dropped share by this
        factor.
    exact : callable, optional
        Returns the bits that the last call must have returned.
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
        The key in the results.
    x : array
        Its elements are far from 0, so that 0 in a result means dropped.
    contestants : dict of str to Contestant
        The contestants by name.
    """

    key: Key
    x: np.ndarray
    contestants: dict[str, Contestant]
    last: dict[str, bytes] = field(default_factory=dict, repr=False)

    def array_of(self, name: str, result: Any) -> np.ndarray:
        """Return a result as a NumPy array; raise AssertionError if its shape or dtype is wrong."""
        contestant = self.contestants[name]
        y = contestant.array(result if contestant.out is None else contestant.out)
        expect(y.shape == self.x.shape, f"{name}: a result of shape {y.shape}")
        expect(y.dtype == (contestant.dtype or self.key.dtype), f"{name}: a result in {y.dtype}")
        return y

    def fates(self, name: str, result: Any) -> np.ndarray:
        """Return which elements a result drops, and raise AssertionError if others aren't scaled.

        Elements that are dropped together appear once.
        """
        contestant, y = self.contestants[name], self.array_of(name, result)
        scale = contestant.scale or 1.0 / (1.0 - self.key.p)
        dropped = y == 0
        flat = [array.reshape(-1) for array in (self.x, y, dropped)]  # copies strided arrays
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
        """Raise AssertionError if calls drop too many or too few elements, or repeat a mask."""
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
        """Raise AssertionError if all calls drew the same mask, or that of the call before them."""
        # With few elements, two calls may draw the same mask by chance, but not all calls.
        masks = set(drawn)
        expect(masks != {self.last.get(name)}, f"{name}: the same fates as in the call before")
        expect(len(masks) > 1 or len(drawn) == 1, f"{name}: the same fates in every call")
        self.last[name] = masks.pop()

    def call(self, name: str, times: int) -> tuple[float, np.ndarray]:
        """Return the seconds of a number of calls, and the elements that the last one dropped."""
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
        """Check enough calls of a contestant to judge the share that it drops.

        Returns the seconds of the last call.
        """
        drawn: list[np.ndarray] = []
        while sum(one.size for one in drawn) < FATES:
            elapsed, fates = self.call(name, 1)
            drawn.append(fates)
        self.judge(name, drawn)
        return elapsed

    def sample(self, name: str, times: int) -> float:
        """Return the mean seconds of a number of calls, and check the last one.

        An extra call before them is not timed. Other contestants ran in the meantime, and the
        system may have taken away the memory pages that results of this size reuse.
        """
        self.contestants[name].call()
        elapsed, fates = self.call(name, times)
        self.judge(name, [fates])
        return elapsed / times

    def times_of(self, name: str) -> int:
        """Warm up, and return how many calls a sample needs."""
        elapsed, times = self.prove(name), 1
        while elapsed < SAMPLE:
            times *= 2
            elapsed = self.sample(name, times) * times
        return times

    def run(self, rounds: int) -> Times:
        """Let the contestants take turns, and return their times."""
        times = {name: self.times_of(name) for name in self.contestants}
        seconds: dict[str, list[float]] = {name: [] for name in self.contestants}
        for _ in range(rounds):
            for name, samples in seconds.items():
                samples.append(self.sample(name, times[name]))
        return Times(self.key, {n: quartiles(samples) for n, samples in seconds.items()})


def expect(holds: bool, message: str) -> None:
    """Raise AssertionError with a message unless a condition is true."""
    if not holds:
        raise AssertionError(message)


class Quartiles(NamedTuple):
    """The quartiles of the seconds of a call."""

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
    """The result of a contest."""

    key: Key
    seconds: dict[str, Quartiles]


def times_of(found: dict[str, Any]) -> list[Times]:
    """Return the results of a run's contests, from its JSON file."""
    return [
        Times(
            Key(**{name: one[name] for name in Key._fields}),
            {name: Quartiles(*seconds) for name, seconds in one["seconds"].items()},
        )
        for one in found["contests"]
    ]


def numbers(n: int, dtype: str) -> np.ndarray:
    """Return random numbers of either sign, with magnitudes of at least 0.5."""
    rng = np.random.default_rng(0)
    x = np.empty(n, dtype)
    for a in range(0, n, BLOCK):
        part = rng.uniform(0.5, 2.0, min(BLOCK, n - a))
        x[a : a + BLOCK] = np.where(rng.random(part.size) < 0.5, part, -part)
    return x
