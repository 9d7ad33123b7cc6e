"""The most uncertain digits: where the thinned networks disagree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anydrop.demo.data import CLASSES, Host
from anydrop.demo.pictures import style
from anydrop.demo.uncertainty import entropy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS, COLUMNS = 2, 4


def draw(images: Host, labels: Host, probabilities: Host, passes: int, path: Path) -> Path:
    """Draw the digits of the highest predictive entropy and what the network takes them for.

    Parameters
    ----------
    images : array of shape (n, 64)
        Test images.
    labels : array of shape (n,)
        What they are.
    probabilities : array of shape (n, 10)
        Of the classes: the mean of `passes` thinned networks.
    passes : int
        How many there were.
    path : Path
        Of the PNG.

    Returns
    -------
    Path
        `path`.
    """
    guesses = np.argmax(probabilities, axis=1)
    chosen = np.argsort(-entropy(probabilities), kind="stable")[: ROWS * COLUMNS]
    wrong = int(np.sum(guesses[chosen] != labels[chosen]))
    overall = 100 * float(np.mean(guesses != labels))
    made = style.figure(
        9.2,
        4.5,
        f"Wrong on {wrong} of the {len(chosen)} digits it doubts most, on {overall:.1f} % of all",
        "The highest entropies of the test set. Bars: class probabilities, mean of "
        f"{passes} dropout passes; blue: the truth.",
    )
    grid = made.add_gridspec(
        ROWS, COLUMNS, left=0.038, right=0.972, bottom=0.05, top=0.76, hspace=0.3, wspace=0.14
    )
    highest = float(probabilities[chosen].max())
    for place, i in enumerate(chosen):
        cell = grid[divmod(place, COLUMNS)].subgridspec(1, 2, wspace=0.08)
        digit, bars = (made.add_subplot(cell[column]) for column in range(2))
        digit.imshow(images[i].reshape(8, 8), cmap="Greys", vmin=0, vmax=1)
        style.bare(digit)
        digit.spines[:].set(visible=True, color=style.FAINT)
        _name(digit, int(labels[i]), int(guesses[i]))
        _bars(bars, probabilities[i], int(labels[i]), int(guesses[i]), highest)
    return style.save(made, path)


def _name(axes: Axes, label: int, guess: int) -> None:
    """Say above a digit what it is and whether the network sees that."""
    right = guess == label
    for x, text, colour, weight in (
        (0.0, f"a {label}", style.INK, "bold"),
        (0.4, "right" if right else f"taken for {guess}", _colour(right), "normal"),
    ):
        axes.text(
            x, 1.09, text, size=style.TEXT, color=colour, weight=weight, transform=axes.transAxes
        )


def _bars(axes: Axes, probabilities: Host, label: int, guess: int, highest: float) -> None:
    colours = [style.FAINT] * CLASSES
    colours[guess], colours[label] = _colour(False), _colour(True)
    axes.bar(range(CLASSES), probabilities, color=colours, width=0.82)
    top = float(probabilities[guess])
    axes.text(
        guess,
        top + 0.03 * highest,
        f"{100 * top:.0f} %",
        size=style.SMALL,
        color=colours[guess],
        ha="center",
    )
    axes.set_xlim(-0.6, CLASSES - 0.4)
    axes.set_ylim(0, 1.15 * highest)
    axes.set_yticks([])
    axes.set_xticks(range(CLASSES))
    axes.tick_params(length=0, pad=2, labelsize=8, labelcolor=style.QUIET)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(style.FAINT)
    axes.set_box_aspect(1)


def _colour(right: bool) -> str:
    return style.WITH if right else style.WITHOUT
