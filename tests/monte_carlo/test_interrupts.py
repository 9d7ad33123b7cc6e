"""A run of `monte_carlo` that is interrupted leaves all as it was."""

import contextlib

import numpy as np
import pytest
from interrupts import Interrupt, Interrupts

import anydrop
from anydrop.core.runs import RUNS


class Module:
    """Another library's, with a mode."""

    training = True

    def train(self, mode=True):
        self.training = mode
        return self

    def eval(self):
        return self.train(False)


class Model:
    def __init__(self):
        self.norm, self.drop = Module(), anydrop.Dropout(0.5, seed=1)
        self.other = anydrop.Dropout(0.5, seed=2).eval()

    def __call__(self, x):
        return self.other(self.drop(x))

    def modes(self):
        return self.norm.training, self.drop.training, self.other.training


X = np.ones(8, "f4")
BEFORE = Model().modes()


def interrupted(model, traced, profiled=None):
    """Return how often a run was interrupted, and check what it leaves."""
    with Interrupts(traced, profiled) as interrupts, contextlib.suppress(Interrupt):
        anydrop.monte_carlo(model, X, samples=2, seed=5)
    assert not RUNS
    assert model.modes() == BEFORE
    for layer in (model.drop, model.other):
        assert layer._twin is None
        assert (layer.step, layer.recipe) == (0, None)
    return interrupts.raised


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_run_that_is_interrupted_anywhere():
    model, n = Model(), 0
    interrupted(model, 10**9)  # what is imported at the first run is
    while interrupted(model, n):
        n += 1
    assert n > 500


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_run_that_is_interrupted_again_while_it_ends():
    model, pairs = Model(), 0
    for first in range(0, 10**4, 25):
        for second in range(40):
            raised = interrupted(model, first, second)
            pairs += raised == 2
            if raised < 2:
                break
        if not raised:
            break
    assert pairs > 300
