"""The goals: ratios of the medians of two contestants in one contest."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple

import names
from contest import Key, Quartiles, Times
from names import FIRST_CALL, KEPT, PEAK

LARGE, LARGEST = 2**24, 2**27


class Ratio(NamedTuple):
    """A goal: a bound on the ratio of two contestants' times, for every p.

    `text` is "what: time beside another's" or "what: times as fast as another". If it is
    "... what", the rest is the same as in the goal before.
    """

    text: str
    group: str
    what: str
    elements: int
    above: str
    below: str
    bound: float
    most: bool = True  # whether the bound is an upper one
    # The two contestants without dropout. If given, the goal compares the times that dropout adds.
    without: tuple[str, str] | None = None
    dtype: str = "float32"

    def key(self, p: float) -> Key:
        return Key(self.group, self.what, self.elements, self.dtype, p)

    def seen(self, seconds: dict[str, Quartiles]) -> float:
        """Return the ratio of medians."""
        above, below = (seconds[name].median for name in (self.above, self.below))
        if self.without is None:
            return above / below
        bare_above, bare_below = (seconds[name].median for name in self.without)
        return (above - bare_above) / (below - bare_below)


def at_most(text: str, *ratio: object) -> Ratio:
    """Return a goal with an upper bound on a contestant's time relative to another's."""
    return Ratio(text, *ratio)  # type: ignore[arg-type]


def faster(text: str, *ratio: object, dtype: str = "float32") -> Ratio:
    """Return a goal with a lower bound on a contestant's speed relative to another's."""
    group, what, n, ours, theirs, bound = ratio
    goal = group, what, n, theirs, ours, bound
    return Ratio(text, *goal, most=False, dtype=dtype)  # type: ignore[arg-type]


GOALS = (
    at_most(
        "NumPy, into a given array: time beside a multiply's",
        *("numpy", "forward", LARGE, names.INTO, names.MULTIPLY, 1.2),
    ),
    at_most(
        "NumPy, into a given array, one thread: time beside a multiply's",
        *("numpy", "forward", LARGE, names.INTO_ONE, names.MULTIPLY_ONE, 1.35),
    ),
    faster(
        "NumPy: times as fast as NumPy's expression",
        *("numpy", "forward", LARGE, names.OURS, names.EXPRESSION, 6.5),
    ),
    faster(
        "... into a given array",
        *("numpy", "forward", LARGE, names.INTO, names.EXPRESSION, 10.0),
    ),
    faster(
        "NumPy: times as fast as F.dropout",
        *("numpy", "forward", LARGE, names.OURS, names.F_DROPOUT, 5.0),
    ),
    faster(
        "NumPy, into a given array: times as fast as F.dropout",
        *("numpy", "forward", LARGE, names.INTO, names.F_DROPOUT, 18.0),
    ),
    faster(
        "NumPy, float16, into a given array: times as fast as F.dropout",
        *("numpy", "forward", LARGE, names.INTO, names.F_DROPOUT, 8.0),
        dtype="float16",
    ),
    faster(
        "NumPy, a keep mask: times as fast as rng.random(x.shape) < p",
        *("mask", "forward", LARGE, names.KEEP, names.RANDOM, 8.0),
    ),
    at_most(
        "NumPy, dropout_add with a bias, into a given array: time beside a sum's",
        *("sum", "forward", LARGE, names.INTO, names.ADD, 1.25),
    ),
    faster(
        "NumPy, Gaussian dropout, into a given array: times as fast as NumPy's normals",
        *("noise", "NumPy", LARGE, names.INTO, names.NORMALS, 2.5),
    ),
    faster(
        "NumPy without numba, Gaussian dropout: times as fast as NumPy's normals",
        *("noise", "NumPy", LARGE, names.PLAIN, names.NORMALS, 0.7),
    ),
    at_most(
        "NumPy, zoneout, into a given array: time beside a sum's",
        *("zoneout", "forward", LARGE, names.INTO, names.ADD_STATES, 1.3),
    ),
    at_most(
        "NumPy, DropBlock2d, blocks of 7 x 7, into a given array: time beside a multiply's",
        *("blocks", "forward", LARGE, names.INTO, names.MULTIPLY, 3.0),
    ),
    at_most(
        "NumPy without numba: time beside NumPy's expression's",
        *("numpy", "forward", LARGE, names.PLAIN, names.EXPRESSION, 1.0),
    ),
    faster(
        "NumPy, into a given array, two threads: times as fast as one thread",
        *("numpy", "forward", LARGE, names.INTO_TWO, names.INTO_ONE, 1.8),
    ),
    faster(
        "PyTorch, forward: times as fast as F.dropout",
        *("torch", "forward", LARGE, names.OURS, names.F_DROPOUT, 6.0),
    ),
    faster(
        "PyTorch, forward and backward: times as fast as F.dropout",
        *("torch", "forward and backward", LARGE, names.OURS, names.F_DROPOUT, 3.0),
    ),
    faster(
        "PyTorch, dropout_add with a bias, forward: times as fast as three operations",
        *("torch", "sum", LARGE, names.OURS, names.EAGER, 4.0),
    ),
    faster(
        "PyTorch, dropout_add with a bias, forward: times as fast as torch.compile of the three",
        *("torch", "sum", LARGE, names.OURS, names.COMPILED, 1.0),
    ),
    faster(
        "PyTorch, dropout_add with a bias, forward and backward: times as fast as three operations",
        *("torch", "sum, forward and backward", LARGE, names.OURS, names.EAGER, 2.5),
    ),
    faster(
        "PyTorch, dropout_add with a bias, forward and backward: "
        "times as fast as torch.compile of the three",
        *("torch", "sum, forward and backward", LARGE, names.OURS, names.COMPILED, 1.0),
    ),
    faster(
        "PyTorch, Gaussian dropout: times as fast as PyTorch's normals",
        *("noise", "PyTorch", LARGE, names.OURS, names.RANDN_LIKE, 3.0),
    ),
    faster(
        "JAX under jit, Gaussian dropout: times as fast as JAX's normals",
        *("noise", "JAX", LARGE, names.OURS, names.JAX_NORMAL, 1.8),
    ),
    faster(
        "JAX under jit: times as fast as jax.random.bernoulli, threefry",
        *("jax", "forward", LARGE, names.OURS, names.THREEFRY, 3.5),
    ),
    faster(
        "JAX under jit: times as fast as jax.random.bernoulli, rbg",
        *("jax", "forward", LARGE, names.OURS, names.RBG, 2.5),
    ),
    at_most(
        "NumPy, a layer, 8 elements: time beside F.dropout's",
        *("small", "forward", 8, names.LAYER, names.F_DROPOUT, 0.7),
    ),
    at_most(
        "PyTorch, a layer, 8 elements: time beside F.dropout's",
        *("small", "forward", 8, names.TENSOR, names.F_DROPOUT, 1.0),
    ),
    at_most(
        "PyTorch, a layer, 8 elements, requires grad: time beside F.dropout's",
        *("small", "forward", 8, names.FOLLOWED, names.F_FOLLOWED, 1.0),
    ),
    at_most(
        "NumPy, a layer, 64 x 256 elements: time beside NumPy's expression's",
        *("small", "forward", 2**14, names.LAYER, names.EXPRESSION, 0.5),
    ),
    *(
        at_most(
            f"{ours}, {what}, {n:,} elements: time beside nn.Dropout's",
            *("modules", what, n, ours, names.MODULE, 1.0),
        )
        for n in (2**12, 2**20)
        for what in ("forward", "forward and backward")
        for ours in (names.UNSEEDED, names.SEEDED)
    ),
    at_most(
        "what dropout adds to a converted transformer's training step: time beside nn.Dropout's",
        *("transformer", "training step", 8 * 128 * 256, names.CONVERTED, names.STOCK, 0.6),
        *(True, (names.CONVERTED_WITHOUT, names.STOCK_WITHOUT)),
    ),
    *(
        at_most(
            f"NumPy, {name}, into a given array: time beside a multiply's",
            *("shared", what, LARGE, names.INTO, names.MULTIPLY, 1.3),
        )
        for what, name in {
            "spatial": "Dropout2d",
            "locked": "LockedDropout",
            "drop path": "DropPath",
        }.items()
    ),
    *(
        at_most(
            f"Dask, {n / 1e6:.1f} million elements in 16 chunks: time beside NumPy's",
            *("dask", "forward", n, names.CHUNKS, names.WHOLE, 1.3),
        )
        for n in (LARGE, LARGEST)
    ),
)

# Upper bounds of measures that are not ratios, by their names in the results.
BOUNDS = {
    KEPT.format("a layer with a seed (some hundred in all)"): 0.0005,
    KEPT.format("autograd, of a tensor (some kB in all)"): 0.005,
    KEPT.format("a layer with a generator"): 0.126,
    PEAK.format("with numba"): 4.0,
    PEAK.format("without"): 4.0,
    FIRST_CALL: 0.5,
}


class Outcome(NamedTuple):
    """The worst result for a goal, and whether it meets the goal."""

    text: str
    bound: str
    seen: str
    met: bool


def outcomes(
    times: list[Times], measures: dict[str, float], goals: Sequence[Ratio] = GOALS
) -> list[Outcome]:
    """Return the outcome of each goal for which there are contests or measures."""
    seconds = {one.key: one.seconds for one in times}
    found = []
    for goal in goals:
        keys = map(goal.key, names.P)
        ratios = [goal.seen(seconds[key]) for key in keys if key in seconds]
        if ratios:
            sign, holds, worst = limits(goal)
            seen = worst(ratios)
            met = holds(seen, goal.bound)
            found.append(Outcome(goal.text, f"{sign} {goal.bound:g}", f"{seen:.2f}", met))
    for name, bound in BOUNDS.items():
        if name in measures:
            seen = measures[name]
            found.append(Outcome(name, f"<= {bound:g}", f"{seen:.3g}", seen <= bound))
    return found


def limits(goal: Ratio) -> tuple[str, Callable[..., bool], Callable[..., float]]:
    """Return the sign of a goal, its comparison, and the function that picks the worst ratio."""
    return ("<=", operator.le, max) if goal.most else (">=", operator.ge, min)
