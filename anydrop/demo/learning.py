"""The loss and the optimiser, in plain array code."""

from __future__ import annotations

from array_api_compat import array_namespace

from anydrop.core.typing import Array
from anydrop.monte_carlo.statistics import softmax


def loss_gradient(logits: Array, target: Array) -> Array:
    """Return the gradient of the mean cross-entropy of a batch, given its one-hot labels."""
    return (softmax(array_namespace(logits), logits, axis=1) - target) / logits.shape[0]


RATE, B1, B2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


class Adam:
    """The optimiser of Kingma and Ba, 2015, without in-place updates, which JAX can't do."""

    def __init__(self, parameters: list[Array]) -> None:
        self._parameters = parameters
        self._time = 0
        self._moments: list[tuple[Array, Array]] = [(0.0, 0.0)] * len(parameters)

    def step(self, gradients: list[Array]) -> None:
        """Update the list of parameters by one step along the gradients."""
        self._time += 1
        rate = RATE * (1 - B2**self._time) ** 0.5 / (1 - B1**self._time)
        for i, gradient in enumerate(gradients):
            m, v = self._moments[i]
            m = B1 * m + (1 - B1) * gradient
            v = B2 * v + (1 - B2) * gradient * gradient
            self._moments[i] = m, v
            root = array_namespace(v).sqrt(v)
            self._parameters[i] = self._parameters[i] - rate * m / (root + EPSILON)
