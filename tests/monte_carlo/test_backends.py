"""What the statistics ask of a backend: it says of itself what it is."""

import numpy as np
import pytest

from anydrop import Dropout, monte_carlo, resolve
from anydrop.backends.capabilities import LIBRARIES

X = np.linspace(1, 2, 6)


def test_lazy_arrays_are_not_looked_at(monkeypatch):
    """Whichever library's they are: that these are no probabilities is not seen then."""
    call = {"samples": 3, "seed": 0, "outputs": "probabilities"}
    with pytest.raises(ValueError, match="must be >= 0 and sum to 1"):
        monte_carlo(Dropout(0.5, seed=0), X, **call)
    monkeypatch.setattr(resolve(X), "lazy", True, raising=False)
    monte_carlo(Dropout(0.5, seed=0), X, **call)


def test_a_backend_detaches_outputs(monkeypatch):
    plain = monte_carlo(Dropout(0.5, seed=0), X, samples=3, seed=0)
    monkeypatch.setattr(resolve(X), "detached", lambda y: -y, raising=False)
    result = monte_carlo(Dropout(0.5, seed=0), X, samples=3, seed=0)
    assert np.array_equal(result.mean, -plain.mean)


def test_the_table_says_the_same(subject):
    assert LIBRARIES[subject.backend.name].features["eager"].works is not subject.backend.lazy
