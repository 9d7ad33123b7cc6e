"""Schedules: the probability at every step, and the masks that layers draw with it."""

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest

import anydrop
from anydrop import schedules
from anydrop.schedules import Constant, Cosine, Linear, WarmUp
from anydrop.testing.reference import keep

LAST = 2**64 - 1
HALF = math.sqrt(0.5)

# Schedule, and its values at steps, worked out by hand.
VALUES = [
    (Constant(0.3), {0: 0.3, 1: 0.3, LAST: 0.3}),
    (Constant(0), {0: 0.0, LAST: 0.0}),
    (Linear(0.0, 0.4, steps=4), {0: 0, 1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4, 5: 0.4, LAST: 0.4}),
    (Linear(0.5, 0.0, steps=2), {0: 0.5, 1: 0.25, 2: 0, 3: 0, LAST: 0}),
    (Linear(0.2, 0.6, steps=1), {0: 0.2, 1: 0.6, 2: 0.6}),
    (Linear(0.25, 0.75, steps=2**60), {0: 0.25, 2**59: 0.5, 2**60: 0.75, LAST: 0.75}),
    (Linear(0.3, 0.3, steps=7), dict.fromkeys(range(9), 0.3)),
    (
        Cosine(0.0, 0.8, steps=4),
        {0: 0, 1: 0.4 * (1 - HALF), 2: 0.4, 3: 0.4 * (1 + HALF), 4: 0.8, 5: 0.8, LAST: 0.8},
    ),
    (Cosine(0.5, 0.0, steps=2), {0: 0.5, 1: 0.25, 2: 0, LAST: 0}),
    (Cosine(0.1, 0.9, steps=1), {0: 0.1, 1: 0.9}),
    (Cosine(0.0, 0.6, steps=3), {1: 0.15, 2: 0.45}),  # cos 60 degrees is a half
    (WarmUp(4, then=0.4), {0: 0, 1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4, 5: 0.4, LAST: 0.4}),
    (WarmUp(1, then=0.4), {0: 0, 1: 0.4}),
    (
        WarmUp(2, then=Linear(0.5, 0.1, steps=4)),
        {0: 0, 1: 0.25, 2: 0.5, 3: 0.4, 4: 0.3, 5: 0.2, 6: 0.1, 7: 0.1, LAST: 0.1},
    ),
    (
        WarmUp(2, then=Cosine(0.8, 0.0, steps=2)),
        {0: 0, 1: 0.4, 2: 0.8, 3: 0.4, 4: 0, LAST: 0},
    ),
    # The inner one begins at 0, so that there is nothing to warm up to.
    (
        WarmUp(2, then=WarmUp(4, then=0.4)),
        {0: 0, 1: 0, 2: 0, 3: 0.1, 4: 0.2, 5: 0.3, 6: 0.4, 7: 0.4},
    ),
    (WarmUp(3, then=Constant(0.6)), {0: 0, 1: 0.2, 2: 0.4, 3: 0.6, LAST: 0.6}),
]
SCHEDULES = [schedule for schedule, _ in VALUES]


@pytest.mark.parametrize(("schedule", "values"), VALUES, ids=str)
def test_values(schedule, values):
    for step, p in values.items():
        assert schedule(step) == pytest.approx(p, rel=1e-15, abs=1e-16), step


@pytest.mark.parametrize(
    ("start", "stop"), [(0.0, 1 - 2**-32), (1 - 2**-32, 0.0), (0.1, 0.1), (0.9, 0.3)]
)
@pytest.mark.parametrize("ramp", [Linear, Cosine])
def test_a_ramp_stays_between_its_ends(ramp, start, stop):
    """Rounding takes no value past an end, and none past the one before it."""
    for steps in (1, 2, 3, 7, 10, 1000):
        values = [ramp(start, stop, steps)(step) for step in range(steps + 2)]
        assert values[0] == start
        assert values[-2:] == [stop, stop]
        assert min(start, stop) <= min(values) <= max(values) <= max(start, stop)
        assert values == sorted(values, reverse=stop < start)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_json(schedule):
    text = json.dumps(schedule.to_json())
    again = schedules.from_json(json.loads(text))
    assert again == schedule
    assert type(again) is type(schedule)
    assert [again(step) for step in range(9)] == [schedule(step) for step in range(9)]


def test_json_is_written_out():
    """What is in a saved state, so that a later version can read it."""
    assert WarmUp(2, then=Linear(0.5, 0.1, steps=4)).to_json() == {
        "schedule": "WarmUp",
        "steps": 2,
        "then": {"schedule": "Linear", "start": 0.5, "stop": 0.1, "steps": 4},
    }


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"schedule": "Exponential", "p": 0.5},
        {"schedule": ["Linear"], "p": 0.5},
        {"schedule": "Constant"},
        {"schedule": "Constant", "p": 0.5, "steps": 3},
        {"p": 0.5},
    ],
    ids=str,
)
def test_json_that_is_no_schedule(plain):
    with pytest.raises(
        ValueError, match=r"not a schedule: .* must name one of Constant, Cosine, Linear"
    ):
        schedules.from_json(plain)
    with pytest.raises(ValueError, match="not a schedule"):
        anydrop.Dropout(plain, seed=0)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: Constant(1.0), ValueError, "p must satisfy 0 <= p < 1, got 1.0"),
        (lambda: Linear(0.1, 1.5, 3), ValueError, "got 1.5"),
        (lambda: Linear(-0.5, 0.5, 3), ValueError, "got -0.5"),
        (lambda: Cosine(math.nan, 0.5, 3), ValueError, "got nan"),
        (lambda: Cosine(0.1, True, 3), TypeError, "bool"),
        (lambda: Linear(0.1, 0.5, 0), ValueError, "steps must be an int > 0, got 0"),
        (lambda: Linear(0.1, 0.5, 2.0), TypeError, "steps must be an int"),
        (lambda: WarmUp(-1, 0.5), ValueError, "steps must be an int > 0, got -1"),
        (lambda: WarmUp(3, then=7), ValueError, "got 7"),
        (lambda: WarmUp(3, then="half"), TypeError, "str"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_makes_no_schedule(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_a_layer_draws_with_the_probability_of_its_step(schedule):
    """The mask at each step is the reference's at that step's p, and so is the scale."""
    drop, x = anydrop.Dropout(schedule, seed=4), np.ones(50)
    for step in range(8):
        y, p = drop(x), schedule(step)
        kept = keep((50,), p, seed=4, step=step)
        assert np.array_equal(y, np.where(kept, 1 / (1 - p), 0))
        assert np.array_equal(drop.mask, kept)
        assert np.array_equal(drop.backward(x), y)  # of this step still, though it has moved on
    assert drop.p == schedule


def layers(schedule):
    yield anydrop.Dropout(schedule, seed=3), (40,)
    yield anydrop.AlphaDropout(schedule, seed=3), (40,)
    yield anydrop.GaussianDropout(schedule, seed=3), (40,)
    yield anydrop.DropBlock2d(schedule, 2, seed=3), (2, 2, 5, 5)
    yield anydrop.StochasticDepth(schedule, seed=3), (40, 2)
    yield anydrop.Dropout(schedule, seed=3, scaling="inference"), (40,)


@pytest.mark.parametrize("stopped_at", [0, 1, 3, 4, 6])
@pytest.mark.parametrize("schedule", [Linear(0.1, 0.7, 5), WarmUp(3, Cosine(0.6, 0.1, 3))], ids=str)
def test_a_run_that_was_stopped_goes_on(schedule, stopped_at):
    """Over all edges of the schedule: the resumed run draws what the unbroken one does."""
    for (unbroken, shape), (first, _), (second, _) in zip(
        layers(schedule), layers(schedule), layers(0.5), strict=True
    ):
        x = np.ones(shape)
        expected = [unbroken(x) for _ in range(8)]
        got = [first(x) for _ in range(stopped_at)]
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        got += [second(x) for _ in range(8 - stopped_at)]
        assert np.array_equal(got, expected)
        assert np.array_equal(second.eval()(x), unbroken.eval()(x))
        assert second.state_dict() == unbroken.state_dict()


def test_inference_scales_by_the_probability_of_the_step():
    """The 2014 way, with the p of the next draw."""
    drop, x = anydrop.Dropout(Linear(0.2, 0.6, 2), seed=0, scaling="inference"), np.ones(3)
    for p in (0.2, 0.4, 0.6, 0.6):
        assert drop.forward(x, training=False) == pytest.approx(1 - p)
        drop(x)


def test_skipped_and_repeated_draws():
    drop, x = anydrop.Dropout(Linear(0.0, 0.8, 4), seed=0), np.ones(30)
    drop.step = 3
    assert np.array_equal(drop(x) != 0, keep((30,), Linear(0.0, 0.8, 4)(3), seed=0, step=3))
    drop.step = 0
    assert np.array_equal(drop(x), x)  # p is 0 there


def test_a_schedule_of_ones_own_is_held_to_the_rule():
    class Wrong(schedules.Schedule):
        def __call__(self, step):
            return 1.0 if step else 0.5

    drop = anydrop.Dropout(Wrong(), seed=0)
    drop(np.ones(3))
    with pytest.raises(ValueError, match=r"p must satisfy 0 <= p < 1, got 1\.0"):
        drop(np.ones(3))
    assert drop.step == 1


@dataclass(frozen=True)
class Sawtooth(schedules.Schedule):
    """One that a user wrote."""

    period: int

    def __call__(self, step):
        return step % self.period / self.period


def test_a_schedule_of_ones_own_is_saved_and_loaded():
    drop = anydrop.Dropout(schedules.WarmUp(2, then=Sawtooth(4)), seed=0)
    other = anydrop.Dropout(seed=1)
    other.load_state_dict(json.loads(json.dumps(drop.state_dict())))
    assert other.p == drop.p
    assert other.p(5) == 0.75


def nested(depth):
    """Return the JSON of so many schedules, one within another."""
    plain = Constant(0.25).to_json()
    for _ in range(depth - 1):
        plain = {"schedule": "WarmUp", "steps": 1, "then": plain}
    return plain


def test_how_deep_schedules_may_stand():
    layer = anydrop.Dropout(schedules.rate(nested(16)), seed=0)
    layer.step = 15
    assert layer._arguments()["p"] == 0.25
    layer.load_state_dict(json.loads(json.dumps(layer.state_dict())))
    before = layer.state_dict()
    for depth in (17, 200, 20_000):
        with pytest.raises(ValueError, match="nested at most 16 deep"):
            layer.load_state_dict(before | {"p": nested(depth)})
    with pytest.raises(ValueError, match="nested at most 16 deep"):
        anydrop.Dropout(WarmUp(1, layer.p), seed=0)
    with pytest.raises(ValueError, match="nested at most 16 deep"):
        schedules.from_json(nested(20_000))
    assert layer.state_dict() == before


def test_how_many_steps_a_schedule_may_take():
    assert WarmUp(2**64, 0.5)(2**63) == 0.25
    for steps in (2**64 + 1, 10**400):
        for make in (lambda s: WarmUp(s, 0.5), lambda s: Linear(0, 0.5, s)):
            with pytest.raises(ValueError, match=r"steps must be at most 2\*\*64, got 1"):
                make(steps)
    layer = anydrop.Dropout(Cosine(0, 0.5, 9), seed=0)
    wrong = layer.state_dict()["p"] | {"steps": 10**400}
    with pytest.raises(ValueError, match="steps must be at most"):
        layer.load_state_dict(layer.state_dict() | {"p": wrong})
