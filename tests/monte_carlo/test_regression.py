"""Monte Carlo on real data: the uncertainty of a regression grows away from them."""

import numpy as np
import pytest
from subjects import available

from anydrop import monte_carlo

if not available("sklearn"):
    pytest.skip(
        "scikit-learn is not installed here; nox -s tests-numpy runs this", allow_module_level=True
    )

import diabetes


@pytest.mark.parametrize("seed", [0, 1])
def test_uncertainty_grows_away_from_the_data(seed):
    """At half the data's width beyond them, on either side, thrice that on the median patient's.

    Nothing is left to chance but the seed, which is settled: it holds or not.
    """
    model = diabetes.train(steps=600, seed=seed)
    on_data = monte_carlo(model.predict, model.bmi, samples=100, seed=1)
    low, high = model.bmi.min(), model.bmi.max()
    away = np.linspace(0, (high - low) / 2, 4)
    for side in (low - away, high + away):
        beyond = monte_carlo(model.predict, side, samples=100, seed=1)
        assert (np.diff(beyond.std) > 0).all()
        assert beyond.std[-1] > 3 * np.median(on_data.std)
    # And it has learned something: the spread that it leaves is less than the data's.
    left = model.progression - on_data.mean
    assert left.std() < 0.85 * model.progression.std()


def test_same_seed_same_answer():
    x = np.arange(10.0, 50.0)
    a, b = (monte_carlo(diabetes.train(30).predict, x, samples=5, seed=1) for _ in "ab")
    assert np.array_equal(a.mean, b.mean)
    assert np.array_equal(a.std, b.std)
