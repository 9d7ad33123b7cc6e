"""MC dropout: a network asked many times, with dropout on, tells where it is unsure.

Y. Gal and Z. Ghahramani, "Dropout as a Bayesian approximation: representing model uncertainty in
deep learning", ICML 2016, https://arxiv.org/abs/1506.02142
"""

from __future__ import annotations

import numpy as np
from array_api_compat import array_namespace

from anydrop import monte_carlo
from anydrop.core.typing import Array
from anydrop.demo.data import Host
from anydrop.demo.learning import log_softmax
from anydrop.demo.library import Library
from anydrop.demo.network import Network


def predict(network: Network, images: Host, library: Library, passes: int = 0) -> Host:
    """Return class probabilities of shape (n, classes): the mean of `passes` thinned networks'.

    Without passes it is the whole network once, with dropout off.
    """
    x = library.move(images)
    if not passes:
        logits = network.forward(x, training=False)
        return library.to_numpy(array_namespace(logits).exp(log_softmax(logits)))

    def predict(x: Array) -> Array:
        return network.forward(x, training=None)  # each layer in its own mode

    result = monte_carlo(predict, x, samples=passes, seed=0, outputs="logits")
    return library.to_numpy(result.mean)


def entropy(probabilities: Host) -> Host:
    """Return the entropy of each row, in nats: 0 where the network is sure."""
    tiny = np.finfo(probabilities.dtype).tiny
    total: Host = -np.sum(probabilities * np.log(np.maximum(probabilities, tiny)), axis=1)
    return total


def split_by_certainty(probabilities: Host, labels: Host, share: float) -> tuple[float, float]:
    """Return the accuracies on the most certain `share` of the images and on the others."""
    right = np.argmax(probabilities, axis=1) == labels
    order = np.argsort(entropy(probabilities), kind="stable")
    cut = round(share * len(order))
    return float(np.mean(right[order[:cut]])), float(np.mean(right[order[cut:]]))
