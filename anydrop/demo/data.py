"""Handwritten digits in a small, mislabelled training set: a setting that invites overfitting."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits

Host = np.ndarray[Any, Any]

CLASSES, PIXELS = 10, 64
#: Of the 1,797 images at least these are for testing.
TESTED = 797
_load = cache(load_digits)


class Setting(NamedTuple):
    """How much there is to learn from, and for how long."""

    images: int  # to train with
    wrong: float  # the share of them that get a wrong label
    epochs: int
    batch: int

    @property
    def name(self) -> str:
        """What tables call it."""
        labels = f"{100 * self.wrong:.0f} % of them mislabelled" if self.wrong else "clean labels"
        return f"{self.images:,} training images, {labels}"


class Trial(NamedTuple):
    """The data of one seed; images have the shape (n, 64) and lie between 0 and 1."""

    images: Host
    labels: Host  # as given, some of them wrong
    test_images: Host  # the same for every setting of a seed
    test_labels: Host


def draw(setting: Setting, seed: np.random.SeedSequence) -> Trial:
    """Split the digits at random and mislabel a share of those to train with."""
    images, labels = _load(return_X_y=True)
    images = (images / 16).astype(np.float32)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images))
    test, train = order[:TESTED], order[TESTED:][: setting.images]
    given = labels[train].copy()
    wrong = rng.choice(len(train), round(setting.wrong * len(train)), replace=False)
    # Any of the nine other labels, with equal chances.
    given[wrong] = (given[wrong] + rng.integers(1, CLASSES, len(wrong))) % CLASSES
    return Trial(images[train], given, images[test], labels[test])
