"""Accuracies during training: dropout keeps the network from memorizing wrong labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anydrop.demo import pictures
from anydrop.demo.data import Setting
from anydrop.demo.pictures import style
from anydrop.demo.tables import Pair


def draw(setting: Setting, pair: Pair, path: Path) -> None:
    """Draw the learning curves of all seeds, without and with dropout."""
    n, epochs = len(pair.with_), pair.with_[0].epochs
    last = float(epochs[-1])
    without, with_ = (100 * np.array([run.test for run in runs]) for runs in pair)
    made = pictures.figure(
        5.4,
        f"Test accuracy ends at {with_[:, -1].mean():.1f} % with dropout, "
        f"at {without[:, -1].mean():.1f} % without",
        f"{setting.name}; train: on the labels as given; "
        + (f"mean and range of {n} seeds." if n > 1 else "one seed."),
    )
    axes = made.add_axes((0.075, 0.105, 0.625, 0.715))
    ends = []
    for runs, test, colour, name in (
        (pair.without, without, pictures.WITHOUT, "without dropout"),
        (pair.with_, with_, pictures.WITH, "with dropout"),
    ):
        train = 100 * np.array([run.train for run in runs])
        for curves, kind, dashes, weight in (
            (test, "test", "-", "bold"),
            (train, "train", (0, (3, 2)), "normal"),
        ):
            mean, low, high = curves.mean(axis=0), curves.min(axis=0), curves.max(axis=0)
            axes.plot(epochs, mean, color=colour, linewidth=2, linestyle=dashes)
            axes.fill_between(epochs, low, high, color=colour, alpha=0.13, linewidth=0)
            ends.append((float(mean[-1]), f"{kind}, {name}", colour, weight))

    above = 200.0
    for y, text, colour, weight in sorted(ends, reverse=True):
        above = min(y, above - 4.5)  # so that no two overlap
        label = f"{text}  {y:.1f} %"
        axes.text(1.017 * last, above, label, color=colour, weight=weight, va="center")
    right = 100 * (1 - setting.wrong)
    axes.axhline(right, color=style.QUIET, linewidth=1, linestyle=":", zorder=0)
    text = f"{right:.0f} % of the training labels are right"
    axes.text(last, right + 1, text, size=style.SMALL, ha="right", va="bottom")
    # The best that early stopping could reach.
    peak = int(np.argmax(without.mean(axis=0)))
    best = float(without[:, peak].mean())
    text, x = f"{best:.1f} % at best", epochs[peak] - last / 70
    axes.text(x, best + 1.5, text, size=style.SMALL, color=pictures.WITHOUT)

    bottom = 50 if min(ends)[0] > 50 else 0
    axes.set(xlim=(0, last), ylim=(bottom, 101), xlabel="epoch")
    axes.set_yticks(ticks := range(bottom, 101, 10), [f"{tick} %" for tick in ticks])
    axes.grid(axis="y", color=style.FAINT, linewidth=0.6)
    made.savefig(path)
