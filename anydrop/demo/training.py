"""Trains a network, measures its accuracies and predicts probabilities."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace

from anydrop import monte_carlo
from anydrop.backends import found, load
from anydrop.backends.base import Backend
from anydrop.core.typing import Array
from anydrop.demo.data import CLASSES, PIXELS, Host, Setting, Trial, draw
from anydrop.demo.learning import Adam, loss_gradient
from anydrop.demo.network import Perceptron
from anydrop.masks.mask import digest
from anydrop.monte_carlo.statistics import softmax

WIDTHS = (PIXELS, 256, 256, CLASSES)
WITH = (0.1, 0.5, 0.5)
WITHOUT = (0.0, 0.0, 0.0)
#: Epochs between two measurements of the accuracies.
EVERY = 2


class Library(NamedTuple):
    """The array library that trains, and an array on its device."""

    backend: Backend
    like: Array

    @classmethod
    def named(cls, name: str) -> Library:
        """Return an installed library, with the first device that anydrop finds."""
        backend = load(name) if name in found() else None
        if backend is None:
            why = ""
        elif backend.lazy:
            why = ": each operation adds to a graph, which is computed when asked for"
        elif probes := backend.probes():
            return cls(*probes[0])
        else:
            why = ": it finds no device here"
        others = [other for other in found() if other != name and not load(other).lazy]
        raise ValueError(
            f"the demo can't train with {name!r}{why}; installed here: {', '.join(others)}"
        )

    def move(self, x: Host) -> Array:
        """Return a NumPy array, such as data or weights, as an array of this library."""
        return self.backend.from_numpy(np.asarray(x, np.float32), self.like)


class Outcome(NamedTuple):
    """A trained network, its data and its accuracies during training."""

    network: Perceptron
    trial: Trial
    epochs: Host  # when its accuracies were measured
    train: Host  # accuracies on the training images, with their given labels
    test: Host


def prepare(
    setting: Setting, seed: int, ps: Sequence[float], library: Library
) -> tuple[Perceptron, Trial, np.random.Generator]:
    """Return a seed's untrained network, its data and the generator of the order of batches.

    All but the drop probabilities `ps` depends only on the seed, so two networks of one seed can be
    compared as a pair.
    """
    data, order, weights = np.random.SeedSequence(seed).spawn(3)
    network = Perceptron(WIDTHS, ps, seed=weights, move=library.move)
    return network, draw(setting, data), np.random.default_rng(order)


def train(
    setting: Setting, seed: int, ps: Sequence[float], library: Library, tick: Callable[[], object]
) -> Outcome:
    """Train the network of a seed, and call `tick` after each epoch."""
    network, trial, rng = prepare(setting, seed, ps, library)
    optimiser = Adam(network.parameters)
    targets = np.eye(CLASSES)[trial.labels]
    looks = []
    for epoch in range(1, setting.epochs + 1):
        order = rng.permutation(setting.images)
        for start in range(0, setting.images, setting.batch):
            chosen = order[start : start + setting.batch]
            x, target = library.move(trial.images[chosen]), library.move(targets[chosen])
            logits = network.forward(x, training=True)
            optimiser.step(network.backward(loss_gradient(logits, target)))
        tick()
        if epoch % EVERY == 0 or epoch == setting.epochs:
            on_train = accuracy(network, trial.images, trial.labels, library)
            on_test = accuracy(network, trial.test_images, trial.test_labels, library)
            looks.append((epoch, on_train, on_test))
    return Outcome(network, trial, *np.asarray(looks).T)


def accuracy(network: Perceptron, images: Host, labels: Host, library: Library) -> float:
    """Return the fraction of images that the network classifies as labelled, without dropout."""
    logits = library.backend.to_numpy(network.forward(library.move(images), training=False))
    return float(np.mean(np.argmax(logits, axis=1) == labels))


def predict(network: Perceptron, images: Host, library: Library, passes: int = 0) -> Host:
    """Return class probabilities, shape (n, 10): without `passes`, those with dropout off.

    With `passes` it is Monte Carlo dropout, by Gal and Ghahramani, 2016:
    https://arxiv.org/abs/1506.02142.
    """
    x = library.move(images)
    if passes:
        result = monte_carlo(network.forward, x, samples=passes, seed=0, outputs="logits")
        return library.backend.to_numpy(result.mean)
    logits = network.forward(x, training=False)
    return library.backend.to_numpy(softmax(array_namespace(x), logits, axis=1))


def fingerprint(setting: Setting, seed: int, library: Library, steps: int = 10) -> str:
    """Return the SHA-256 of the masks that a seed's dropout layers draw in their first steps.

    They depend only on seeds, steps and shapes: not on data, weights or the library.
    """
    network, trial, _ = prepare(setting, seed, WITH, library)
    x = library.move(trial.images[: setting.batch])
    digests = []
    for _ in range(steps):
        network.forward(x, training=True)
        digests += [digest(library.backend.to_numpy(layer.mask)) for layer in network.dropouts]
    return hashlib.sha256("".join(digests).encode()).hexdigest()
