"""Modules under ``torch.vmap``, whose masks are those of random steps."""

import numpy as np
import pytest
from subjects import available

import anydrop

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from torch import nn

from anydrop.schedules import Linear
from anydrop.torch import Dropout, DropPath, steps

ROWS = torch.ones(3, 4096)
RANDOMNESS = pytest.mark.parametrize("randomness", ["same", "different"])
RUN = pytest.mark.parametrize("run", [torch.vmap, lambda *a, **k: compiled(torch.vmap(*a, **k))])


def compiled(function):
    return torch.compile(function, backend="aot_eager", fullgraph=True)


@RANDOMNESS
def test_a_schedule_follows_the_count_and_not_the_random_step(randomness):
    drop = Dropout(Linear(0.0, 0.8, steps=4), seed=0)
    for expected in (0.0, 0.2, 0.4, 0.6, 0.8):
        y = torch.vmap(drop, randomness=randomness)(ROWS)
        assert abs((y == 0).double().mean() - expected) < 0.05


@RANDOMNESS
@RUN
def test_a_step_that_is_said_does_not_become_a_random_one(randomness, run):
    drop = Dropout(0.5, seed=0)
    with steps(drop, 7), pytest.raises(RuntimeError, match=r"steps says.*module\(x, step=t\)"):
        run(drop, randomness=randomness)(ROWS)
    y = run(lambda x: drop(x, step=7), randomness=randomness)(ROWS)
    for row in y:
        np.testing.assert_array_equal(
            row, anydrop.dropout(np.ones(4096, "f4"), 0.5, seed=0, step=7)
        )
    assert drop.step == 0


@pytest.mark.parametrize("make", [Dropout, DropPath])
@RUN
def test_monte_carlo_refuses_masks_that_do_not_follow_its_seed(make, run):
    model = nn.Sequential(make(0.5), nn.Flatten(0))
    mapped = run(model, randomness="different")
    with pytest.raises(RuntimeError, match=r"without torch\.vmap"):
        anydrop.monte_carlo(mapped, ROWS, samples=2, seed=0, layers=[model[0]])
