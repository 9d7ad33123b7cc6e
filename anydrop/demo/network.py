"""A multi-layer perceptron with dropout, in plain array code for any array API library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from anydrop import Dropout
from anydrop.core.typing import Array


class Perceptron:
    """Linear layers with dropout before each, and a ReLU after each but the last.

    NumPy draws the weights, which are then moved to the library that trains. So training starts
    from the same weights everywhere. The weights and each dropout layer have their own seeds.

    Parameters
    ----------
    widths : sequence of int
        Widths of the input, of the hidden layers and of the output.
    ps : sequence of float
        Drop probabilities, one for each linear layer.
    seed : numpy.random.SeedSequence
        Parent of all seeds.
    move : callable
        Moves a NumPy array to the library that trains.
    """

    def __init__(
        self,
        widths: Sequence[int],
        ps: Sequence[float],
        *,
        seed: np.random.SeedSequence,
        move: Callable[[np.ndarray[Any, Any]], Array],
    ) -> None:
        weights, *dropouts = seed.spawn(1 + len(ps))
        rng = np.random.default_rng(weights)
        self.dropouts = [Dropout(p, seed=own) for p, own in zip(ps, dropouts, strict=True)]
        #: For each linear layer, a weight of shape (inputs, outputs) and then a bias.
        self.parameters: list[Array] = []
        for inputs, outputs in pairwise(widths):
            # He et al. 2015: keeps the scale of activations across layers with ReLUs.
            weight = rng.normal(0.0, (2.0 / inputs) ** 0.5, (inputs, outputs))
            self.parameters += [move(weight), move(np.zeros(outputs))]

    def activations(self, x: Array, training: bool | None) -> list[Array]:
        """Return the input of each linear layer, after dropout, and then the logits."""
        xp, given = array_namespace(x), list[Array]()
        for i, dropout in enumerate(self.dropouts):
            if i:
                x = xp.maximum(x, xp.zeros_like(x))
            given.append(dropout.forward(x, training))
            weight, bias = self.parameters[2 * i : 2 * i + 2]
            x = given[-1] @ weight + bias
        return [*given, x]

    def forward(self, x: Array, training: bool | None = None) -> Array:
        """Return the logits, shape (batch, classes). None leaves dropout layers in their modes."""
        *given, logits = self.activations(x, training)
        if training:
            self._given = given
        return logits

    def backward(self, gradient: Array) -> list[Array]:
        """Return the gradients of the parameters, from that of the last training forward's logits.

        Dropout layers draw their masks again, so none was stored since the forward pass.
        """
        xp, gradients = array_namespace(gradient), list[Array]()
        for i in reversed(range(len(self.dropouts))):
            x = self._given[i]
            gradients = [x.T @ gradient, xp.sum(gradient, axis=0), *gradients]
            if i:
                gradient = self.dropouts[i].backward(gradient @ self.parameters[2 * i].T)
                gradient = gradient * xp.astype(x > 0, gradient.dtype)  # of the ReLU
        return gradients
