"""The bench can't be fooled: what cheats in a contest is named, and goals compare as they say."""

import itertools

import numpy as np
import pytest
from contest import Contest, Contestant, Key, Quartiles, Times, numbers
from goals import GOALS, outcomes
from names import ALL, EXPRESSION, FIRST_CALL, INTO, MULTIPLY, ONE, OURS, PLAIN
from subjects import available

import anydrop

N, P = 20_000, 0.25
X = numbers(N, "float32")


def entrant(call, **checked):
    return Contest(Key("test", "forward", N, "float32", P), X, {"it": Contestant(call, **checked)})


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
    "zeros": (lambda: np.zeros_like(X), "dropped 20000"),
    "nothing dropped": (lambda: X / (1 - P), "dropped 0"),
    "another rate": (lambda: anydrop.dropout(X, 0.3, seed=0) * (0.7 / 0.75), "dropped"),
    "unscaled": (lambda: anydrop.dropout(X, P, seed=0, scaling="inference"), "nor scaled"),
    "half of it": (first_half, "still poisoned"),
    "half of the elements": (lambda: anydrop.dropout(X, P, seed=0)[::2], "10000 elements"),
    "one mask again and again": (lambda: anydrop.dropout(X, P, seed=0), "the same fates"),
    "the input": (lambda: X, "nor scaled"),
}


@pytest.mark.parametrize(("call", "named"), CHEATS.values(), ids=CHEATS)
def test_a_cheat_is_named(call, named):
    with pytest.raises(AssertionError, match=f"it: .*{named}"):
        entrant(call).run(rounds=2)


@pytest.mark.parametrize("written", [0, N // 2, N - 1])
def test_an_output_that_is_not_written(written):
    out = np.empty_like(X)
    y = anydrop.dropout(X, P, seed=0)

    def call():
        out[:written] = y[:written]

    with pytest.raises(AssertionError, match="still poisoned"):
        entrant(call, out=out).run(rounds=2)


def seen(**seconds):
    """Return what came of the goals, of which a few contestants took so long for both p."""
    names = {"multiply": MULTIPLY, "into": INTO, "ours": OURS, "expression": EXPRESSION}
    found = {names[name]: Quartiles(s, s, s) for name, s in seconds.items()}
    n = GOALS[0].elements
    times = [Times(Key("numpy", "forward", n, "float32", 0.1), found)]
    worse = {name: Quartiles(*(1.5 * s for s in q)) for name, q in found.items() if name == INTO}
    times.append(Times(Key("numpy", "forward", n, "float32", 0.5), found | worse))
    goals = [goal for goal in GOALS if {goal.above, goal.below} <= found.keys()]
    outcome = outcomes(times, {}, goals)
    return {one.text: (one.seen, one.met) for one in outcome if one.text in {g.text for g in goals}}


def test_goals_are_seen_at_the_worse_p():
    found = seen(multiply=1.0, into=1.0, ours=2.0, expression=10.0)
    assert found["NumPy, into a given array: time beside a multiply's"] == ("1.50", True)
    assert found["NumPy: times as fast as NumPy's expression"] == ("5.00", True)
    assert found["... into a given array"] == ("6.67", False)
    found = seen(multiply=1.0, into=1.1, ours=2.1, expression=10.0)
    assert found["NumPy, into a given array: time beside a multiply's"] == ("1.65", False)
    assert found["NumPy: times as fast as NumPy's expression"] == ("4.76", False)


def test_measures_have_bounds():
    (first,) = outcomes([], {FIRST_CALL: 0.6})
    assert first == (FIRST_CALL, "<= 0.5", "0.6", False)
    (first,) = outcomes([], {FIRST_CALL: 0.4})
    assert first.met


def pictures_of(tmp_path, *keys):
    """Draw the pictures of a run of these contests, and return their names."""
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
    return sorted(file.stem for file in tmp_path.glob("*.png"))


@pytest.mark.skipif(not available("matplotlib"), reason="matplotlib is not installed here")
def test_pictures_of_a_part_of_a_run(tmp_path):
    # The crossover has contests of every size, whatever sizes were asked for.
    crossover = [("crossover", kernel, 2**24) for kernel in ("numba", "NumPy")]
    always = ["bench-crossover", "bench-sizes"]
    half = ("numpy", "forward", 2**24, "float16")
    assert pictures_of(tmp_path, *crossover, half) == always
    assert pictures_of(tmp_path, *crossover, half, ("numpy", "forward", 2**14)) == always
    whole = ("numpy", "forward", 2**24)
    assert pictures_of(tmp_path, *crossover, whole) == [*always[:1], "bench-roofline", *always[1:]]
