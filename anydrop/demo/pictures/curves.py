"""Accuracies while training: dropout keeps the network from learning wrong labels by heart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anydrop.demo.data import Host, Setting
from anydrop.demo.pictures import style
from anydrop.demo.training import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The least distance of two labels, in percent of accuracy.
APART = 4.5


def draw(
    setting: Setting, without: Sequence[Outcome], with_: Sequence[Outcome], path: Path
) -> Path:
    """Draw the learning curves of all seeds, without and with dropout.

    Parameters
    ----------
    setting : Setting
        What the networks were trained with.
    without, with_ : sequence of Outcome
        One for each seed.
    path : Path
        Of the PNG.

    Returns
    -------
    Path
        `path`.
    """
    ends = [100 * np.mean([run.test[-1] for run in runs]) for runs in (without, with_)]
    made = style.figure(
        9.2,
        5.4,
        f"Test accuracy ends at {ends[1]:.1f} % with dropout, at {ends[0]:.1f} % without",
        f"{setting.name}; train: on the labels as given. Mean, range; n = {len(with_)}.",
    )
    axes = made.add_axes((0.075, 0.105, 0.625, 0.715))
    labels = []
    for runs, colour, name in (
        (without, style.WITHOUT, "without dropout"),
        (with_, style.WITH, "with dropout"),
    ):
        epochs = runs[0].epochs
        test = 100 * np.stack([run.test for run in runs])
        train = 100 * np.stack([run.train for run in runs])
        _curve(axes, epochs, test, colour, "solid")
        _curve(axes, epochs, train, colour, (0, (3, 2)))
        labels.append((float(test.mean(axis=0)[-1]), f"test, {name}", colour, "bold"))
        labels.append((float(train.mean(axis=0)[-1]), f"train, {name}", colour, "normal"))

    right = 100 * (1 - setting.wrong)
    axes.axhline(right, color=style.QUIET, linewidth=1, linestyle=":", zorder=0)
    last = float(with_[0].epochs[-1])
    axes.text(
        last,
        right + 1,
        f"{right:.0f} % of the training labels are right",
        size=style.SMALL,
        color=style.QUIET,
        ha="right",
        va="bottom",
    )
    _label_peak(axes, without)
    _label_ends(axes, last, labels)
    axes.set_xlim(0, last)
    low = 50 if min(y for y, *_ in labels) > 50 else 0
    axes.set_ylim(low, 101)
    axes.set_xlabel("epoch", size=style.TEXT, color=style.QUIET)
    axes.set_yticks(ticks := range(low, 101, 10), [f"{tick} %" for tick in ticks])
    axes.tick_params(colors=style.QUIET, labelsize=style.SMALL, length=0)
    axes.grid(axis="y", color=style.FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(style.FAINT)
    return style.save(made, path)


def _curve(
    axes: Axes,
    epochs: Host,
    accuracies: Host,
    colour: str,
    dashes: str | tuple[int, tuple[int, ...]],
) -> None:
    mean = accuracies.mean(axis=0)
    axes.plot(epochs, mean, color=colour, linewidth=2, linestyle=dashes)
    low, high = accuracies.min(axis=0), accuracies.max(axis=0)
    axes.fill_between(epochs, low, high, color=colour, alpha=0.13, linewidth=0)


def _label_peak(axes: Axes, runs: Sequence[Outcome]) -> None:
    """Say how good stopping in time would have been."""
    mean = 100 * np.mean([run.test for run in runs], axis=0)
    peak = int(np.argmax(mean))
    axes.annotate(
        f"{mean[peak]:.1f} % at best",
        (runs[0].epochs[peak], mean[peak]),
        xytext=(-6, 9),
        textcoords="offset points",
        size=style.SMALL,
        color=style.WITHOUT,
    )


def _label_ends(axes: Axes, x: float, labels: list[tuple[float, str, str, str]]) -> None:
    """Name the curves beside their ends, pushed apart where they would overlap."""
    above = 200.0
    for y, text, colour, weight in sorted(labels, reverse=True):
        above = min(y, above - APART)
        axes.annotate(
            f"{text}  {y:.1f} %",
            (x, above),
            xytext=(7, 0),
            textcoords="offset points",
            size=style.TEXT,
            color=colour,
            weight=weight,
            va="center",
            annotation_clip=False,
        )
