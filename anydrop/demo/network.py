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
    """``x @ weight + bias``, with a weight of shape (inputs, outputs), and a ReLU if wanted."""

    def __init__(self, weight: Array, bias: Array, *, relu: bool) -> None:
        self.parameters = [weight, bias]
        self.gradients: list[Array] = []
        self.relu = relu

    def forward(self, x: Array, training: bool | None) -> Array:
        """Return the layer's output."""
        xp, (weight, bias) = array_namespace(x), self.parameters
        y = x @ weight + bias
        if self.relu:
            y = xp.maximum(y, xp.zeros_like(y))
        if training:
            self._x, self._y = x, y
        return y

    def backward(self, gradient: Array) -> Array:
        """Return the gradient of the input, and leave those of the parameters in `gradients`."""
        xp = array_namespace(gradient)
        if self.relu:
            gradient = gradient * xp.astype(self._y > 0, gradient.dtype)
        self.gradients = [self._x.T @ gradient, xp.sum(gradient, axis=0)]
        return gradient @ self.parameters[0].T


class Network:
    """Layers one after another: each has ``forward(x, training)`` and ``backward(gradient)``."""

    def __init__(self, layers: Sequence[Affine | Dropout]) -> None:
        self.layers = list(layers)
        self.dropouts = [layer for layer in self.layers if isinstance(layer, Dropout)]
        self.affines = [layer for layer in self.layers if isinstance(layer, Affine)]

    def forward(self, x: Array, training: bool | None = None) -> Array:
        """Return the logits, shape (batch, classes); None leaves dropout layers in their modes."""
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
    widths: Sequence[int], ps: Sequence[float], *, seed: np.random.SeedSequence, move: Move
) -> Network:
    """Return a network of affine layers with ReLU between them and dropout before each.

    Weights are drawn by NumPy and moved to the library that trains, so that training starts from
    the same ones everywhere. They and every dropout layer get seeds of their own from `seed`.
    """
    weights, *dropouts = seed.spawn(1 + len(ps))
    rng = np.random.default_rng(weights)
    layers: list[Affine | Dropout] = []
    for i, (p, own) in enumerate(zip(ps, dropouts, strict=True)):
        inputs, outputs = widths[i : i + 2]
        # He et al. 2015: keeps the scale of activations through layers of ReLUs.
        weight = rng.normal(0.0, (2.0 / inputs) ** 0.5, (inputs, outputs))
        affine = Affine(move(weight), move(np.zeros(outputs)), relu=i + 1 < len(ps))
        layers += [Dropout(p, seed=own), affine]
    return Network(layers)
