"""The picture of Monte Carlo dropout: uncertainty grows away from the data."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import anydrop
from anydrop.demo.pictures.style import BLUE, GREY, INK, ORANGE, QUIET, SMALL, TEXT
from pictures.panels import WIDTH

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import diabetes

LINES = 6


def monte_carlo() -> Figure:
    """Show mean and spread of a regression, the data, and some samples that are functions."""
    model = diabetes.train()
    bmi = np.linspace(6, 56, 251)
    samples: list[np.ndarray] = []

    def predict(x: np.ndarray) -> np.ndarray:
        samples.append(model.predict(x))
        return samples[-1]

    result = anydrop.monte_carlo(predict, bmi, samples=400, seed=1, same_masks=True)

    figure = Figure(figsize=(WIDTH, 4.4))
    above, below = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [3.4, 1], "hspace": 0.08}
    )
    for times, alpha in ((2, 0.16), (1, 0.24)):
        low, high = (result.mean + sign * times * result.std for sign in (-1, 1))
        above.fill_between(bmi, low, high, color=BLUE, alpha=alpha, linewidth=0)
    above.plot(model.bmi, model.progression, ".", color=GREY, markersize=3.5, zorder=1.5)
    for sample in samples[:LINES]:
        above.plot(bmi, sample, color=ORANGE, linewidth=0.9, alpha=0.75)
    above.plot(bmi, result.mean, color=BLUE, linewidth=2.2)
    above.set(ylim=(-140, 560), ylabel="progression in a year")
    above.set_title(
        "Away from the data, the samples disagree",
        fontsize=TEXT,
        color=INK,
        loc="left",
    )
    notes = (
        (54.6, result.mean[-8] + 16, "mean", BLUE, "right"),
        (54.6, 470, "± 1 and 2 std", BLUE, "right"),
        (24, 372, "442 patients", QUIET, "center"),
        (19.2, -110, f"{LINES} of 400 samples,\none mask for all inputs", ORANGE, "left"),
    )
    for x, y, text, colour, side in notes:
        above.text(x, y, text, color=colour, fontsize=SMALL, ha=side)

    below.fill_between(bmi, 0, result.std, color=BLUE, alpha=0.3, linewidth=0)
    below.plot(bmi, result.std, color=BLUE, linewidth=1.6)
    below.set(ylim=(0, None), ylabel="std", xlabel="body mass index, kg/m²", xlim=(6, 56))
    edges = model.bmi.min(), model.bmi.max()
    for axis in (above, below):
        for edge in edges:
            axis.axvline(edge, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        axis.tick_params(colors=INK, labelsize=SMALL)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    below.text(np.mean(edges), below.get_ylim()[1] * 0.8, "the data", fontsize=SMALL, ha="center")
    figure.align_ylabels()
    return figure
