"""The most uncertain digits: where the thinned networks disagree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from anydrop.demo import pictures
from anydrop.demo.data import CLASSES, Host, Trial
from anydrop.demo.pictures import style
from anydrop.monte_carlo.statistics import entropy

ROWS, COLUMNS = 2, 4


def draw(trial: Trial, probabilities: Host, passes: int, path: Path) -> None:
    """Draw the test images with the highest predictive entropy, and their predicted classes."""
    guesses, labels = np.argmax(probabilities, axis=1), trial.test_labels
    chosen = np.argsort(-entropy(np, probabilities, axis=1), kind="stable")[: ROWS * COLUMNS]
    wrong = int(np.sum(guesses[chosen] != labels[chosen]))
    overall = 100 * float(np.mean(guesses != labels))
    made = pictures.figure(
        4.5,
        f"Wrong on {wrong} of the {len(chosen)} digits it doubts most, on {overall:.1f} % of all",
        "The highest entropies of the test set. Bars: class probabilities, mean of "
        f"{passes} dropout passes; blue: the truth.",
    )
    grid = made.add_gridspec(
        ROWS, COLUMNS, left=0.038, right=0.972, bottom=0.05, top=0.76, hspace=0.3, wspace=0.14
    )
    highest = float(probabilities[chosen].max())
    shades = LinearSegmentedColormap.from_list("", [style.PAPER, style.INK])
    for place, i in enumerate(chosen):
        label, guess, heights = int(labels[i]), int(guesses[i]), 100 * probabilities[i] / highest
        colours = [style.FAINT] * CLASSES
        colours[guess], colours[label] = pictures.WITHOUT, pictures.WITH
        cell = grid[divmod(place, COLUMNS)].subgridspec(1, 2, wspace=0.08)
        digit, bars = (made.add_subplot(cell[half]) for half in range(2))

        digit.imshow(trial.test_images[i].reshape(8, 8), cmap=shades, vmin=0, vmax=1)
        pictures.frame(digit)
        digit.text(-0.5, -1.2, f"a {label}", color=style.INK, weight="bold")
        verdict = "right" if guess == label else f"taken for {guess}"
        digit.text(2.7, -1.2, verdict, color=colours[guess])

        bars.bar(range(CLASSES), heights, color=colours, width=0.82)
        text, y = f"{100 * probabilities[i, guess]:.0f} %", heights[guess] + 3
        bars.text(guess, y, text, size=style.SMALL, color=colours[guess], ha="center")
        bars.set(xlim=(-0.6, 9.6), ylim=(0, 115), xticks=range(CLASSES), yticks=[], box_aspect=1)
        bars.tick_params(pad=2, labelsize=8)
    made.savefig(path)
