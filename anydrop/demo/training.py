"""Trains one network and follows its accuracies."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from anydrop.demo.data import CLASSES, PIXELS, Host, Setting, Trial, draw
from anydrop.demo.learning import Adam, cross_entropy
from anydrop.demo.library import Library
from anydrop.demo.network import Network, perceptron

WIDTHS = (PIXELS, 256, 256, CLASSES)
WITH = (0.1, 0.5, 0.5)
WITHOUT = (0.0, 0.0, 0.0)
#: Epochs between two looks at the accuracies.
EVERY = 2


class Outcome(NamedTuple):
    """A trained network, its data and how it got there.

    Parameters
    ----------
    network : Network
        After the last epoch.
    trial : Trial
        What it was trained and tested with.
    epochs : array of shape (looks,)
        When its accuracies were measured.
    train, test : array of shape (looks,)
        Accuracies on the training images and their given labels, and on the test images.
    """

    network: Network
    trial: Trial
    epochs: Host
    train: Host
    test: Host


def prepare(
    setting: Setting, seed: int, ps: tuple[float, ...], library: Library
) -> tuple[Network, Trial, np.random.Generator]:
    """Return a seed's untrained network, its data and the generator of the batches' order.

    All but the drop probabilities `ps` depends on the seed alone, so that two networks of one
    seed can be compared as a pair.
    """
    data, order, weights = np.random.SeedSequence(seed).spawn(3)
    network = perceptron(WIDTHS, ps, seed=weights, move=library.move)
    return network, draw(setting, data), np.random.default_rng(order)


def train(
    setting: Setting,
    seed: int,
    ps: tuple[float, ...],
    library: Library,
    tick: Callable[[], object],
) -> Outcome:
    """Train the network of a seed.

    Parameters
    ----------
    setting : Setting
        The data and for how long.
    seed : int
        Of everything random.
    ps : tuple of float
        Drop probabilities of the input and of the hidden layers.
    library : Library
        Where to train.
    tick : callable
        Called after every step.

    Returns
    -------
    Outcome
    """
    network, trial, rng = prepare(setting, seed, ps, library)
    optimiser = Adam(network)
    targets = np.eye(CLASSES)[trial.labels]
    looks = []
    for epoch in range(1, setting.epochs + 1):
        order = rng.permutation(setting.images)
        for start in range(0, setting.images, setting.batch):
            chosen = order[start : start + setting.batch]
            x, target = library.move(trial.images[chosen]), library.move(targets[chosen])
            _, gradient = cross_entropy(network.forward(x, training=True), target)
            network.backward(gradient)
            optimiser.step()
            tick()
        if epoch % EVERY == 0 or epoch == setting.epochs:
            on_train = accuracy(network, trial.images, trial.labels, library)
            on_test = accuracy(network, trial.test_images, trial.test_labels, library)
            looks.append((epoch, on_train, on_test))
    return Outcome(network, trial, *np.asarray(looks).T)


def accuracy(network: Network, images: Host, labels: Host, library: Library) -> float:
    """Return the share of images that the network names as labelled, with dropout off."""
    logits = library.to_numpy(network.forward(library.move(images), training=False))
    return float(np.mean(np.argmax(logits, axis=1) == labels))
