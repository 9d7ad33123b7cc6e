"""A multi-layer perceptron with dropout, in plain array code for any array API library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from anydrop import Dropout
from anydrop.core.typing import Array

#: Moves a NumPy array to the library that trains.
Move = Callable[[np.ndarray[Any, Any]], Array]


class Affine:
    """``x @ weight + bias``.

    Parameters
    ----------
    weight : array of shape (inputs, outputs)
        Of any array API library.
    bias : array of shape (outputs,)
        Of the same library.
    """

    def __init__(self, weight: Array, bias: Array) -> None:
        self.parameters = [weight, bias]
        self.gradients: list[Array] = []

    def forward(self, x: Array, training: bool | None) -> Array:
        """Return the layer's output."""
        weight, bias = self.parameters
        if training:
            self._x = x
        return x @ weight + bias

    def backward(self, gradient: Array) -> Array:
        """Return the gradient of the input, and leave those of the parameters in `gradients`."""
        xp = array_namespace(gradient)
        self.gradients = [self._x.T @ gradient, xp.sum(gradient, axis=0)]
        return gradient @ self.parameters[0].T


class ReLU:
    """``max(x, 0)``."""

    def forward(self, x: Array, training: bool | None) -> Array:
        """Return the layer's output."""
        y = array_namespace(x).maximum(x, 0.0 * x)
        if training:
            self._y = y
        return y

    def backward(self, gradient: Array) -> Array:
        """Return the gradient of the input."""
        return gradient * array_namespace(gradient).astype(self._y > 0, gradient.dtype)


class Network:
    """Layers one after another: each has ``forward(x, training)`` and ``backward(gradient)``.

    Parameters
    ----------
    layers : sequence of Affine, ReLU and anydrop.Dropout
        In the order of the forward pass.
    """

    def __init__(self, layers: Sequence[Affine | ReLU | Dropout]) -> None:
        self.layers = list(layers)

    @property
    def dropouts(self) -> list[Dropout]:
        """The dropout layers."""
        return [layer for layer in self.layers if isinstance(layer, Dropout)]

    @property
    def affines(self) -> list[Affine]:
        """The layers that have parameters."""
        return [layer for layer in self.layers if isinstance(layer, Affine)]

    def forward(self, x: Array, training: bool | None) -> Array:
        """Return the logits of a batch, shape (batch, classes)."""
        for layer in self.layers:
            x = layer.forward(x, training)
        return x

    def backward(self, gradient: Array) -> None:
        """Set every layer's `gradients`, given the gradient of the last training forward's logits.

        Dropout layers draw their masks again, so none was kept since the forward pass.
        """
        for layer in reversed(self.layers):
            gradient = layer.backward(gradient)


def perceptron(
    widths: Sequence[int],
    ps: Sequence[float],
    *,
    seed: np.random.SeedSequence,
    move: Move,
) -> Network:
    """Return a network of affine layers with ReLU between them and dropout before each.

    Parameters
    ----------
    widths : sequence of int
        Inputs, units of each hidden layer, classes.
    ps : sequence of float
        Drop probability before each affine layer: of the input, then of each hidden layer.
    seed : numpy.random.SeedSequence
        Of the weights and, independently, of every dropout layer.
    move : callable
        Takes a NumPy array to the library that trains. Weights are drawn by NumPy, so that
        training starts from the same ones everywhere.

    Returns
    -------
    Network
    """
    weights, *dropouts = seed.spawn(1 + len(ps))
    rng = np.random.default_rng(weights)
    layers: list[Affine | ReLU | Dropout] = []
    for inputs, outputs, p, own in zip(widths, widths[1:], ps, dropouts, strict=False):
        # He et al. 2015: keeps the scale of activations through layers of ReLUs.
        weight = rng.normal(0.0, (2.0 / inputs) ** 0.5, (inputs, outputs))
        bias = np.zeros(outputs)
        layers += [Dropout(p, seed=own), Affine(move(weight), move(bias)), ReLU()]
    return Network(layers[:-1])
