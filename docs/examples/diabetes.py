"""A regression for Monte Carlo dropout: a network in plain NumPy around anydrop's layers.

The data come with scikit-learn: how far diabetes progressed within a year in 442 patients (Efron
et al., "Least angle regression", 2004). The network sees only their body mass index.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_diabetes

from anydrop.demo.learning import Adam
from anydrop.demo.network import Perceptron


class Model(NamedTuple):
    """A trained network, and the data in their own units."""

    network: Perceptron
    bmi: np.ndarray
    progression: np.ndarray

    def predict(self, bmi: np.ndarray) -> np.ndarray:
        """Return the progression at each body mass index, with the layers in whatever mode."""
        x = (bmi[:, None] - self.bmi.mean()) / self.bmi.std()
        y = self.network.forward(x, training=None)
        return y[:, 0] * self.progression.std() + self.progression.mean()


def train(steps: int = 1500, p: float = 0.1, seed: int = 0) -> Model:
    """Fit a perceptron 1-64-64-1 by least squares, with dropout before its last two layers."""
    data, target = load_diabetes(return_X_y=True, scaled=False)
    bmi = data[:, 2]
    weights, batches = np.random.SeedSequence(seed).spawn(2)
    network = Perceptron((1, 64, 64, 1), (0.0, p, p), seed=weights, move=np.asarray)
    rng = np.random.default_rng(batches)
    # Spread the kinks of the first ReLUs over the data. With biases of 0, all kinks would be at
    # x = 0, where every unit is 0 and dropout changes nothing.
    network.parameters[1] = -network.parameters[0][0] * rng.uniform(-3, 3, 64)
    optimiser = Adam(network.parameters)
    x, y = (((v - v.mean()) / v.std())[:, None] for v in (bmi, target))
    for _ in range(steps):
        chosen = rng.choice(len(x), 64, replace=False)
        error = network.forward(x[chosen], training=True) - y[chosen]
        optimiser.step(network.backward(2 * error / len(error)))
    return Model(network, bmi, target)
