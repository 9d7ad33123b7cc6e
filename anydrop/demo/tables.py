"""The demo's tables: means and standard errors over the seeds, in percent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich import box
from rich.table import Column, Table

from anydrop.demo.data import TESTED, Host, Setting
from anydrop.demo.training import Library, Outcome, predict
from anydrop.monte_carlo.statistics import entropy

#: Fraction of the test images that counts as certain.
CERTAIN = 0.8
#: Student's t for 95 %, rounded up, for two seeds, three and so on. The last is for ten or more.
T95 = (12.71, 4.31, 3.19, 2.78, 2.58, 2.45, 2.37, 2.31, 2.27)
NOTE = """* picked by the test set: the most that stopping in time could reach
A gain or loss is claimed where Student's t test tells it from chance at 95 %."""


class Pair(NamedTuple):
    """The networks without and with dropout, one of each per seed."""

    without: list[Outcome]
    with_: list[Outcome]


def headline(gains: Host) -> str:
    """Return what dropout did to the test accuracy, given the gain of each seed as a fraction.

    It claims a gain or a loss only if Student's t test of the paired differences tells it from
    chance at 95 %. With one seed there is no spread, so it claims nothing.
    """
    n, mean, measured = len(gains), gains.mean(), f"{_percent(gains, '+z')} points with dropout"
    if n == 1:
        return f"{measured} in one seed, which can't tell the spread"
    # The least spread of equal gains, which are counted in whole images.
    error = max(_error(gains), (12 * n) ** -0.5 / TESTED)
    if abs(mean) <= T95[: n - 1][-1] * error:
        return f"{measured}, which {n} seeds can't tell from chance"
    return f"dropout {'gains' if mean > 0 else 'loses'} {_percent(gains * np.sign(mean))} points"


def accuracies(setting: Setting, pair: Pair) -> Table:
    """Return the accuracies without and with dropout, and their difference.

    The two networks of a seed share data, weights and batches, so the error of the difference is
    that of a paired comparison.
    """
    test = [np.stack([run.test for run in runs]) for runs in pair]
    rows = {
        "test": [t[:, -1] for t in test],
        # The best epoch of the mean over seeds.
        "test, at the best epoch*": [t[:, np.argmax(t.mean(axis=0))] for t in test],
        "train, on the given labels": [np.array([run.train[-1] for run in runs]) for runs in pair],
    }
    title = f"{setting.name}:\n{headline(test[1][:, -1] - test[0][:, -1])}"
    table = _table(title, "without dropout", "with dropout", "difference")
    for name, (without, with_) in rows.items():
        values = _percent(without), _percent(with_), _percent(with_ - without, "+z")
        table.add_row(name, *values)
    return table


def certainty(runs: Sequence[Outcome], library: Library, passes: int) -> Table:
    """Return the test accuracy on the images of which the networks are most certain."""
    title = f"MC dropout: test accuracy by predictive entropy, {passes} passes"
    table = _table(title, "all", f"most certain {100 * CERTAIN:.0f} %", "the others")
    for name, n in (("mean of the passes", passes), ("once, dropout off", 0)):
        rows = []
        for network, trial, *_ in runs:
            probabilities = predict(network, trial.test_images, library, n)
            rows.append(split_by_certainty(probabilities, trial.test_labels))
        table.add_row(name, *map(_percent, np.array(rows).T))
    return table


def split_by_certainty(probabilities: Host, labels: Host) -> list[float]:
    """Return the accuracies on all images, on the most certain ones and on the others."""
    right = np.argmax(probabilities, axis=1) == labels
    right = right[np.argsort(entropy(np, probabilities, axis=1), kind="stable")]
    cut = round(CERTAIN * len(right))
    return [float(np.mean(part)) for part in (right, right[:cut], right[cut:])]


def _table(title: str, *columns: str) -> Table:
    right = (Column(name, justify="right") for name in columns)
    return Table("accuracy, %", *right, title=title, title_justify="left", box=box.SIMPLE_HEAD)


def _error(values: Host) -> float:
    """Return the standard error of the mean of two or more values."""
    return float(values.std(ddof=1) / len(values) ** 0.5)


def _percent(values: Host, sign: str = "") -> str:
    mean = f"{100 * values.mean():{sign}.1f}"
    return f"{mean} ± {100 * _error(values):.1f}" if len(values) > 1 else mean
