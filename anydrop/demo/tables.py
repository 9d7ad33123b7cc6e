"""The demo's numbers, as rich tables: means and standard errors over the seeds, in percent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich import box
from rich.table import Table

from anydrop.demo.data import Host, Setting
from anydrop.demo.library import Library
from anydrop.demo.training import Outcome
from anydrop.demo.uncertainty import predict, split_by_certainty

#: Of the test images, how many count as certain.
CERTAIN = 0.8
NOTE = "* picked by the test set: the most that stopping in time could reach"


class Pair(NamedTuple):
    """The networks without and with dropout, one of each for every seed."""

    without: list[Outcome]
    with_: list[Outcome]


def accuracies(setting: Setting, pair: Pair) -> Table:
    """Return the accuracies without and with dropout, and by how much they differ.

    The two networks of a seed share data, weights and batches, so the error of the difference
    is that of a paired comparison.
    """
    without, with_ = (_measured(runs) for runs in pair)
    title = f"{setting.name}: {_verdict(with_['test'] - without['test'])}"
    table = _table(title, "without dropout", "with dropout", "difference")
    for name in without:
        difference = with_[name] - without[name]
        table.add_row(
            name, _percent(without[name]), _percent(with_[name]), _percent(difference, "+")
        )
    return table


def certainty(runs: Sequence[Outcome], library: Library, passes: int) -> Table:
    """Return the test accuracy on the images that the networks are most certain of."""
    table = _table(
        f"MC dropout: test accuracy by predictive entropy, {passes} passes",
        "all",
        f"most certain {100 * CERTAIN:.0f} %",
        "the others",
    )
    for name, n in (("mean of the passes", passes), ("once, dropout off", 0)):
        rows = []
        for network, trial in ((run.network, run.trial) for run in runs):
            probabilities = predict(network, trial.test_images, library, n)
            overall = np.mean(np.argmax(probabilities, axis=1) == trial.test_labels)
            rows.append([overall, *split_by_certainty(probabilities, trial.test_labels, CERTAIN)])
        table.add_row(name, *map(_percent, np.array(rows).T))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("accuracy, %")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _measured(runs: Sequence[Outcome]) -> dict[str, Host]:
    """Return the accuracies of every seed; the best epoch is that of the seeds' mean."""
    test = np.stack([run.test for run in runs])
    best = np.argmax(test.mean(axis=0))
    return {
        "test": test[:, -1],
        "test, at the best epoch*": test[:, best],
        "train, on the given labels": np.array([run.train[-1] for run in runs]),
    }


def _error(values: Host) -> float:
    """Return the standard error of the mean: infinite for one seed, which tells nothing of it."""
    return float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else math.inf


def _verdict(gains: Host) -> str:
    """Say what dropout did for the test accuracy, if it stands out of two standard errors."""
    gain = float(gains.mean())
    if abs(gain) <= 2 * _error(gains):
        return "no clear gain"
    return f"dropout {'gains' if gain > 0 else 'loses'} {100 * abs(gain):.1f} points"


def _percent(values: Host, sign: str = "") -> str:
    mean, error = f"{100 * values.mean():{sign}.1f}", _error(values)
    return f"{mean} ± {100 * error:.1f}" if math.isfinite(error) else mean
