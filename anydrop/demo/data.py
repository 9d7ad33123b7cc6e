"""Handwritten digits in a small, mislabelled training set: a setting that invites overfitting."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits

CLASSES = 10
PIXELS = 64
#: Of the 1,797 images at least these are for testing.
TESTED = 797

Host = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Setting:
    """How much there is to learn from, and for how long.

    Parameters
    ----------
    images : int
        Number of training images.
    wrong : float
        Share of them whose label is replaced by another one.
    epochs : int
        Passes through them.
    batch : int
        Images of a step.
    """

    images: int
    wrong: float
    epochs: int
    batch: int

    @property
    def name(self) -> str:
        """What tables call it."""
        labels = f"{100 * self.wrong:.0f} % of them mislabelled" if self.wrong else "clean labels"
        return f"{self.images:,} training images, {labels}"

    @property
    def steps(self) -> int:
        """Number of training steps."""
        return self.epochs * -(-self.images // self.batch)


class Trial(NamedTuple):
    """The data of one seed, as NumPy arrays; images of shape (n, 64) and between 0 and 1.

    Parameters
    ----------
    images, labels : array
        To train with: the labels as given, some of them wrong.
    test_images, test_labels : array
        To test with: the same images for every setting of a seed, with their true labels.
    """

    images: Host
    labels: Host
    test_images: Host
    test_labels: Host


@lru_cache(maxsize=1)
def _digits() -> tuple[Host, Host]:
    images, labels = load_digits(return_X_y=True)
    return (images / 16).astype(np.float32), labels


def draw(setting: Setting, seed: np.random.SeedSequence) -> Trial:
    """Split the digits at random and mislabel a share of those to train with.

    Parameters
    ----------
    setting : Setting
        How many, and which share.
    seed : numpy.random.SeedSequence
        Of the split and the wrong labels.

    Returns
    -------
    Trial
    """
    images, labels = _digits()
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images))
    test, train = order[:TESTED], order[TESTED:][: setting.images]
    given = labels[train].copy()
    wrong = rng.choice(len(train), round(setting.wrong * len(train)), replace=False)
    # Any of the nine other labels, with equal chances.
    given[wrong] = (given[wrong] + rng.integers(1, CLASSES, len(wrong))) % CLASSES
    return Trial(images[train], given, images[test], labels[test])
