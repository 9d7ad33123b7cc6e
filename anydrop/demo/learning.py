"""What makes a network learn: the loss and the optimiser, in plain array code."""

from __future__ import annotations

from array_api_compat import array_namespace

from anydrop.core.typing import Array
from anydrop.demo.network import Network


def log_softmax(logits: Array) -> Array:
    """Return the logarithms of the class probabilities, shape (batch, classes)."""
    xp = array_namespace(logits)
    shifted = logits - xp.max(logits, axis=1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))


def cross_entropy(logits: Array, target: Array) -> tuple[Array, Array]:
    """Return the mean cross-entropy of a batch and its gradient.

    Parameters
    ----------
    logits : array of shape (batch, classes)
        The network's output.
    target : array of shape (batch, classes)
        One-hot labels, of the dtype of `logits`.

    Returns
    -------
    loss : 0-d array
    gradient : array of shape (batch, classes)
        With respect to `logits`.
    """
    xp, log_p = array_namespace(logits), log_softmax(logits)
    n = logits.shape[0]
    return -xp.sum(target * log_p) / n, (xp.exp(log_p) - target) / n


class Adam:
    """The optimiser of Kingma and Ba, 2015, without in-place updates, which JAX doesn't have.

    Parameters
    ----------
    network : Network
        Whose parameters to train.
    rate : float, default 1e-3
        Learning rate.
    """

    def __init__(self, network: Network, rate: float = 1e-3) -> None:
        self._network = network
        self._rate = rate
        self._time = 0
        self._moments = [
            [(0.0 * value, 0.0 * value) for value in layer.parameters] for layer in network.affines
        ]

    def step(self, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> None:
        """Take one step along the network's `gradients`."""
        self._time += 1
        rate = self._rate * (1 - b2**self._time) ** 0.5 / (1 - b1**self._time)
        for layer, moments in zip(self._network.affines, self._moments, strict=True):
            for i, gradient in enumerate(layer.gradients):
                sqrt = array_namespace(gradient).sqrt
                m, v = moments[i]
                m = b1 * m + (1 - b1) * gradient
                v = b2 * v + (1 - b2) * gradient * gradient
                moments[i] = m, v
                layer.parameters[i] = layer.parameters[i] - rate * m / (sqrt(v) + eps)
