"""The benchmark catches contestants that cheat, and compares goals correctly."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from contest import Contest, Contestant, Key, Quartiles, Times, numbers
from goals import BOUNDS, GOALS, outcomes
from names import (
    ALL,
    CONVERTED,
    CONVERTED_WITHOUT,
    EXPRESSION,
    FIRST_CALL,
    INTO,
    MULTIPLY,
    ONE,
    OURS,
    PLAIN,
    STOCK,
    STOCK_WITHOUT,
)
from names import P as PROBABILITIES
from subjects import available

import anydrop

N, P = 20_000, 0.25
X = numbers(N, "float32")


def entrant(call, x=X, **checked):
    key = Key("test", "forward", x.size, "float32", P)
    return Contest(key, x, {"it": Contestant(call, **checked)})


def honest():
    steps = itertools.count()
    return lambda: anydrop.dropout(X, P, seed=0, step=next(steps))


def test_numbers_are_far_from_zero():
    assert np.abs(X).min() >= 0.5
    assert 0.4 < (X < 0).mean() < 0.6
    assert len(np.unique(X)) > N / 2


def test_an_honest_contestant():
    times = entrant(honest()).run(rounds=3)
    low, median, high = times.seconds["it"]
    assert 0 < low <= median <= high < 1
    out = np.empty_like(X)
    steps = itertools.count()
    into = entrant(lambda: anydrop.dropout(X, P, seed=0, step=next(steps), out=out), out=out)
    into.run(rounds=2)
    entrant(lambda: X * np.float32(3), p=0.0, scale=3.0, fresh=False).run(rounds=2)


def first_half():
    y = anydrop.dropout(X, P, seed=0)
    y[N // 2 :] = np.nan
    return y


CHEATS = {
    "zeros": (lambda: np.zeros_like(X), "dropped 20000 of 20000"),
    "nothing dropped": (lambda: X * np.float32(1 / (1 - P)), "dropped 0 of 20000"),
    "another rate": (
        lambda: anydrop.dropout(X, 0.3, seed=0) * np.float32(0.7 / 0.75),
        "dropped 6[0-9]* of 20000",
    ),
    "roughly scaled": (
        lambda: anydrop.dropout(X, P, seed=0) * np.float32(1 + 1e-5),
        "nor scaled",
    ),
    "unscaled": (lambda: anydrop.dropout(X, P, seed=0, scaling="inference"), "nor scaled"),
    "half of it": (first_half, "still poisoned"),
    "half of the elements": (lambda: anydrop.dropout(X, P, seed=0)[::2], r"shape \(10000,\)"),
    "one mask again and again": (lambda: anydrop.dropout(X, P, seed=0), "the same fates"),
    "the input": (lambda: X, "nor scaled"),
    "another dtype": (lambda: anydrop.dropout(X.astype("f8"), P, seed=0), "in float64"),
}


@pytest.mark.parametrize(("call", "named"), CHEATS.values(), ids=CHEATS)
def test_a_cheat_is_named(call, named):
    with pytest.raises(AssertionError, match=f"it: .*{named}"):
        entrant(call).run(rounds=2)


EIGHT = X[:8]
FEW_FATES = {
    "zeros": (lambda: np.zeros_like(EIGHT), "dropped 1000 of 1000"),
    "nothing dropped": (lambda: EIGHT * np.float32(1 / (1 - P)), "dropped 0 of 1000"),
    "two at a time": (
        lambda: np.where([1, 0, 1, 1, 1, 0, 1, 1], EIGHT * np.float32(1 / (1 - P)), 0),
        "the same fates in every call",
    ),
}


@pytest.mark.parametrize(("call", "named"), FEW_FATES.values(), ids=FEW_FATES)
def test_cheats_with_few_elements(call, named):
    with pytest.raises(AssertionError, match=f"it: .*{named}"):
        entrant(call, EIGHT).run(rounds=2)


def test_few_elements():
    layer = anydrop.Dropout(P, seed=0)
    entrant(lambda: layer(EIGHT), EIGHT).run(rounds=2)


def test_fates_that_are_shared():
    x = X.reshape(20, 10, 100)
    maps, elements = anydrop.Dropout1d(P, seed=0), anydrop.Dropout(P, seed=0)
    entrant(lambda: maps(x), x, shared=(2,)).run(rounds=2)
    with pytest.raises(AssertionError, match="different fates where one is shared"):
        entrant(lambda: elements(x), x, shared=(2,)).run(rounds=2)
    with pytest.raises(AssertionError, match=r"dropped 0 of 1000"):
        entrant(lambda: x * np.float32(1 / (1 - P)), x, shared=(2,)).run(rounds=2)
    with pytest.raises(AssertionError, match=r"dropped 1000 of 1000"):
        entrant(lambda: x * 0, x, shared=(2,)).run(rounds=2)
    with pytest.raises(AssertionError, match="the same fates"):
        entrant(lambda: anydrop.dropout1d(x, P, seed=0), x, shared=(2,)).run(rounds=2)


@pytest.mark.parametrize("written", [0, N // 2, N - 1])
def test_an_output_that_is_not_written(written):
    out = anydrop.dropout(X, P, seed=1)  # what an earlier call may have left
    y = anydrop.dropout(X, P, seed=0)

    def call():
        out[:written] = y[:written]

    with pytest.raises(AssertionError, match="still poisoned"):
        entrant(call, out=out).run(rounds=2)


def seen(**seconds):
    """Return the outcomes of the goals about these contestants; INTO takes longer at p = 0.5."""
    names = {"multiply": MULTIPLY, "into": INTO, "ours": OURS, "expression": EXPRESSION}
    found = {names[name]: Quartiles(s, s, s) for name, s in seconds.items()}
    n = GOALS[0].elements
    times = [Times(Key("numpy", "forward", n, "float32", 0.1), found)]
    worse = {name: Quartiles(*(1.5 * s for s in q)) for name, q in found.items() if name == INTO}
    times.append(Times(Key("numpy", "forward", n, "float32", 0.5), found | worse))
    goals = [goal for goal in GOALS if {goal.above, goal.below} <= found.keys()]
    outcome = outcomes(times, {}, goals)
    return {one.text: (one.seen, one.met) for one in outcome}


def test_goals_are_seen_at_the_worse_p():
    found = seen(multiply=1.0, into=0.75, ours=2.0, expression=13.0)
    assert found["NumPy, into a given array: time beside a multiply's"] == ("1.12", True)
    assert found["NumPy: times as fast as NumPy's expression"] == ("6.50", True)
    assert found["... into a given array"] == ("11.56", True)
    found = seen(multiply=1.0, into=0.9, ours=2.1, expression=13.0)
    assert found["NumPy, into a given array: time beside a multiply's"] == ("1.35", False)
    assert found["NumPy: times as fast as NumPy's expression"] == ("6.19", False)
    assert found["... into a given array"] == ("9.63", False)


def test_what_counts_are_medians():
    key = Key("numpy", "forward", GOALS[0].elements, "float32", 0.1)
    times = Times(key, {INTO: Quartiles(1.0, 3.0, 9.0), MULTIPLY: Quartiles(1.0, 2.0, 4.0)})
    (found,) = outcomes([times], {}, GOALS[:1])
    assert found.seen == "1.50"


@pytest.mark.parametrize(
    ("converted", "cost", "met"), [(16.0, "0.60", True), (18.0, "0.80", False)]
)
def test_a_cost_is_what_dropout_adds(converted, cost, met):
    (goal,) = (goal for goal in GOALS if goal.group == "transformer")
    medians = {STOCK: 22.0, STOCK_WITHOUT: 12.0, CONVERTED: converted, CONVERTED_WITHOUT: 10.0}
    seconds = {name: Quartiles(1.0, median, 99.0) for name, median in medians.items()}
    (found,) = outcomes([Times(goal.key(0.1), seconds)], {}, [goal])
    assert (found.seen, found.met) == (cost, met)


def test_measures_have_bounds():
    (first,) = outcomes([], {FIRST_CALL: 0.6})
    assert first == (FIRST_CALL, "<= 0.5", "0.6", False)
    (first,) = outcomes([], {FIRST_CALL: 0.5})
    assert first.met


def pictures_of(tmp_path, *keys):
    """Draw the plots of a run of these contests, and return their names."""
    import plots

    names = (MULTIPLY, INTO, OURS, PLAIN, EXPRESSION, ONE, ALL)
    found = {
        "machine": {"threads": "2 of 2 cores"},
        "crossover": 2**20,
        "processors": {"native": {"float16": 1.0, "float32": 0.5, "float64": 0.6}},
        "contests": [
            {**Key(*key)._asdict(), "seconds": {name: [1e-2] * 3 for name in names}} for key in keys
        ],
    }
    plots.draw(found, tmp_path)
    drawn = {file.stem for file in tmp_path.glob("*.png")}
    light = {name for name in drawn if not name.endswith("-dark")}
    assert drawn == light | {f"{name}-dark" for name in light}
    return sorted(light)


@pytest.mark.skipif(not available("matplotlib"), reason="matplotlib is not installed here")
def test_pictures_of_a_part_of_a_run(tmp_path):
    # The crossover always has contests of every size, even if a run asks for others.
    crossover = [("crossover", kernel, 2**24) for kernel in ("numba", "NumPy")]
    always = ["bench-crossover", "bench-sizes"]
    half = ("numpy", "forward", 2**24, "float16")
    assert pictures_of(tmp_path, *crossover, half) == always
    assert pictures_of(tmp_path, *crossover, half, ("numpy", "forward", 2**14)) == always
    whole = ("numpy", "forward", 2**24)
    assert pictures_of(tmp_path, *crossover, whole) == [*always[:1], "bench-roofline", *always[1:]]


everything = pytest.mark.skipif(
    not all(map(available, ("numba", "torch", "jax", "dask", "rich", "matplotlib"))),
    reason="the bench needs every library; nox -s tests-all has them",
)


@everything
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own calls
def test_goals_are_about_contestants_and_measures_that_there_are():
    import contests_dask
    import contests_jax
    import contests_noise
    import contests_numpy
    import contests_small
    import contests_torch
    import measures

    n, large = 2**14, 2**16
    contests = itertools.chain(
        contests_small.calls(),
        contests_numpy.passes([n], ["float32"]),
        contests_numpy.shared(large),
        contests_numpy.others(large),
        contests_torch.arrays([n], ["float32"]),
        contests_torch.modules(),
        contests_torch.models(),
        contests_torch.sums(large),
        contests_noise.contests(large),
        contests_jax.arrays([n], ["float32"]),
        contests_dask.arrays([n]),
    )
    found = {}
    for contest in contests:
        assert contest.key.p in PROBABILITIES
        found.setdefault(contest.key[:2], set()).update(contest.contestants)
    for goal in GOALS:
        named = {goal.above, goal.below, *(goal.without or ())}
        assert named <= found[goal.group, goal.what], goal.text
    assert len({goal.text for goal in GOALS}) == len(GOALS)
    assert set(measures.memory(large) | measures.first_calls(1)) >= set(BOUNDS)


@everything
def test_a_training_step_shows_what_its_last_dropout_drops():
    from contests_torch import training_step

    x = numbers(2 * 20 * 32, "float32").reshape(2, 20, 32)
    key = Key("test", "training step", x.size, "float32", 0.1)
    for convert in (False, True):
        honest = training_step(x, 0.1, convert)
        Contest(key, x, {"it": honest}).run(rounds=2)
        with pytest.raises(AssertionError, match="it: dropped 0 of"):
            Contest(key, x, {"it": replace(training_step(x, 0.0, convert), p=0.1)}).run(rounds=1)


@everything
def test_a_sum_shows_what_it_drops():
    from contests_numpy import keep_mask, sum_with_a_residual

    keep_mask(2**14, P).run(rounds=2)
    contest = sum_with_a_residual(2**14, P)
    contest.run(rounds=2)
    into = contest.contestants[INTO]
    scaled = replace(into, call=lambda: np.multiply(into.out, 1.01, out=into.out))
    with pytest.raises(AssertionError, match="nor scaled"):
        replace(contest, contestants={"it": scaled}).run(rounds=1)


@everything
def test_zoneout_shows_what_it_chooses():
    from contests_numpy import zoneout

    contest = zoneout(2**14, P)
    contest.run(rounds=2)
    into = contest.contestants[INTO]
    for other, named in ((3 * contest.x, "nor scaled"), (2 * contest.x, "dropped 16384 of")):
        wrong = replace(into, call=lambda y=other: np.copyto(into.out, y))
        with pytest.raises(AssertionError, match=named):
            replace(contest, contestants={"it": wrong}).run(rounds=1)


@everything
def test_blocks_are_dropped_at_their_rate():
    from contests_numpy import blocks

    contest = blocks(2**16, P)
    contest.run(rounds=2)
    fresh, steps = contest.contestants[OURS], itertools.count()

    def rarer():
        y = anydrop.drop_block2d(contest.x, P / 2, seed=0, step=next(steps))
        return y * np.float32((1 - P / 2) / (1 - P))

    with pytest.raises(AssertionError, match=r"dropped \d+ of 65536"):
        replace(contest, contestants={"it": replace(fresh, call=rarer)}).run(rounds=1)


@everything
def test_noise_shows_its_bits():
    from contests_noise import of_numpy, ours

    contest, x = of_numpy(N, P), X
    contest.run(rounds=2)

    def run(**entrant):
        replace(contest, contestants={"it": entrant.get("it") or Contestant(**entrant)}).run(1)

    def noise(step, p=P):
        return anydrop.gaussian_dropout(x, p, seed=0, step=step)

    steps = itertools.count()
    run(call=lambda: noise(next(steps)))
    run(it=ours(noise, x, P))
    with pytest.raises(AssertionError, match="no such noise"):
        run(call=lambda: noise(next(steps), 1.3 * P))
    with pytest.raises(AssertionError, match="no such noise"):
        run(call=lambda: noise(next(steps)) + np.float32(0.2) * x)
    with pytest.raises(AssertionError, match="the same fates"):
        run(call=lambda: noise(0))
    with pytest.raises(AssertionError, match="no such noise"):
        run(call=lambda: None, out=np.empty_like(x))
    with pytest.raises(AssertionError, match="other bits"):
        run(it=ours(lambda step: noise(step + 1), x, P))
    with pytest.raises(AssertionError, match="other bits"):
        run(it=ours(lambda step: np.nextafter(noise(step), np.float32(9)), x, P))


@everything
def test_what_autograd_keeps():
    from measures import kept_by_autograd
    from torch import rand

    from anydrop.backends.torch.operator import recompute

    def mask_kept(t):
        keep = rand(t.shape) < P
        return recompute(lambda x: x * keep, lambda g: g * keep, t)

    def bits_kept(t):
        keep = np.packbits(rand(t.shape).numpy() < P)
        return recompute(lambda x: x * 3, lambda g: g * float(keep[0]), t)

    n = 2**21
    assert kept_by_autograd(anydrop.Dropout(P, seed=0), n) < 0.02
    assert kept_by_autograd(mask_kept, n) == pytest.approx(1, abs=0.02)
    assert kept_by_autograd(bits_kept, n) == pytest.approx(1 / 8, abs=0.02)
