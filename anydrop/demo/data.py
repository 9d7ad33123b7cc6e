"""Handwritten digits: a small, mislabelled training set, which invites overfitting."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits

Host = np.ndarray[Any, Any]

CLASSES, PIXELS = 10, 64
#: Test images, of 1,797 in all.
TESTED = 797
_load = cache(load_digits)


class Setting(NamedTuple):
    """How much data there is, and how long to train."""

    images: int  # to train with
    wrong: float  # fraction with a wrong label
    epochs: int
    batch: int

    @property
    def name(self) -> str:
        """Its name in tables."""
        labels = f"{100 * self.wrong:.0f} % of them mislabelled" if self.wrong else "clean labels"
        return f"{self.images:,} training images, {labels}"


class Trial(NamedTuple):
    """The data of one seed. Images have the shape (n, 64) and values from 0 to 1."""

    images: Host
    labels: Host  # some of them wrong
    test_images: Host  # the same for every setting of a seed
    test_labels: Host


def draw(setting: Setting, seed: np.random.SeedSequence) -> Trial:
    """Split the digits at random, and mislabel a fraction of the training images."""
    images, labels = _load(return_X_y=True)
    images = (images / 16).astype(np.float32)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images))
    test, train = order[:TESTED], order[TESTED:][: setting.images]
    given = labels[train].copy()
    wrong = rng.choice(len(train), round(setting.wrong * len(train)), replace=False)
    # Any of the nine other labels, with equal probability.
    given[wrong] = (given[wrong] + rng.integers(1, CLASSES, len(wrong))) % CLASSES
    return Trial(images[train], given, images[test], labels[test])
