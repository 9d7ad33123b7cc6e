"""Pictures of what drops parts of a network: links, connections and branches; and schedules."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

import anydrop
from anydrop.demo.pictures.style import BLUE, GREEN, GREY, INK, ORANGE, PALE, PAPER, SMALL, TEXT
from anydrop.schedules import Constant, Cosine, Linear, WarmUp
from pictures.panels import (
    WIDTH,
    arrows,
    bare,
    colours,
    kept_and_dropped,
    kept_in_blue,
    panels,
    show,
    under,
    with_dropped,
)


def attention() -> Figure:
    """Drop links between the words of a sentence."""
    words = ["the", "cat", "sat", "on", "the", "mat"]
    n = len(words)
    scores = np.random.default_rng(1).normal(size=(1, 1, n, n)) + 2.2 * np.eye(n)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    y, mask = anydrop.attention_dropout(weights, 0.25, seed=0, return_mask=True)
    keep = mask.keep(like=weights)[0, 0]
    figure, (axes,) = panels(2.9, (1, 1, 1, 0.55), gap=0.42)
    show(axes[0], colours(weights[0, 0]), "weights")
    show(axes[1], kept_in_blue(keep), "mask")
    show(axes[2], with_dropped(colours(y[0, 0]), keep), "output")
    axes[0].set_yticks(range(n), words, fontsize=SMALL)
    axes[0].set_xticks(range(n), words, fontsize=SMALL, rotation=90)
    axes[0].tick_params(length=0)
    axes[0].set_ylabel("queries", fontsize=SMALL)
    kept_and_dropped(axes[1])
    sums = y[0, 0].sum(axis=-1)
    axes[3].barh(range(n), sums, 0.7, color=GREY)
    axes[3].axvline(1, color=INK, lw=1)
    axes[3].set(xlim=(0, 1.5), ylim=(n - 0.5, -0.5), yticks=[], xticks=[0, 1])
    axes[3].spines[["top", "right", "bottom"]].set_visible(False)
    axes[3].set_title("sum of a row", fontsize=TEXT, color=INK)
    axes[3].set_box_aspect(1.0 / 0.55)
    arrows(figure, axes[:3])
    return figure


def connections() -> Figure:
    """Drop weights of a layer, as a matrix and as a network."""
    weights = np.random.default_rng(0).uniform(0.15, 1, (6, 5))
    y, mask = anydrop.drop_connect(weights, 0.4, seed=0, return_mask=True)
    keep = mask.keep(like=weights)
    figure, (axes,) = panels(2.3, (1, 1, 1, 1.4), gap=0.28)
    show(axes[0], colours(weights, top=1.7), "weights", aspect="auto")
    show(axes[1], kept_in_blue(keep), "mask", aspect="auto")
    show(axes[2], with_dropped(colours(y, top=1.7), keep), "output", aspect="auto")
    axes[0].set_ylabel("6 inputs", fontsize=SMALL)
    under(axes[0], "5 outputs")
    kept_and_dropped(axes[1])
    network = axes[3]
    left, right = np.linspace(0, 1, 6)[::-1], np.linspace(0.1, 0.9, 5)[::-1]
    for (i, o), stays in np.ndenumerate(keep):
        style = (
            {"color": INK, "lw": 2.2 * weights[i, o]}
            if stays
            else {"color": ORANGE, "lw": 0.7, "ls": ":"}
        )
        network.plot([0, 1], [left[i], right[o]], zorder=1, **style)
    network.plot([0] * 6, left, "o", color=PAPER, mec=INK, ms=10, zorder=2)
    network.plot([1] * 5, right, "o", color=PAPER, mec=INK, ms=10, zorder=2)
    network.set(xlim=(-0.12, 1.12), ylim=(-0.08, 1.08))
    bare(network)
    network.set_title("as a network", fontsize=TEXT, color=INK)
    arrows(figure, axes[:3])
    return figure


def depth() -> Figure:
    """Draw a residual network at some steps, and how often its branches drop."""
    branches, shown, p = 12, 4, 0.5
    rates = anydrop.depth_rates(p, branches)
    seeds = np.random.SeedSequence(1).spawn(branches)
    layers = [
        anydrop.StochasticDepth(rate, seed=seed) for rate, seed in zip(rates, seeds, strict=True)
    ]
    kept = np.asarray([layer(np.ones((10_000, 1)))[:, 0] != 0 for layer in layers])
    figure = Figure(figsize=(WIDTH, 3.9))
    network, bars = figure.subplots(2, 1, gridspec_kw={"height_ratios": (1.9, 1), "hspace": 0.2})
    for row in range(shown):
        y = shown - row
        network.plot([0.1, branches + 0.95], [y, y], color=INK, lw=1.2, zorder=1)
        for branch in range(branches):
            x, stays = branch + 1, kept[branch, row]
            colour = BLUE if stays else ORANGE
            style = {"ls": "-" if stays else ":", "lw": 1.3, "zorder": 1}
            network.plot(
                [x - 0.36, x - 0.36, x + 0.36, x + 0.36],
                [y, y + 0.48, y + 0.48, y],
                color=colour,
                **style,
            )
            network.add_patch(
                FancyBboxPatch(
                    (x - 0.24, y + 0.3),
                    0.48,
                    0.36,
                    boxstyle="round,pad=0,rounding_size=0.08",
                    facecolor=BLUE if stays else PALE,
                    edgecolor=colour,
                    linestyle=style["ls"],
                    zorder=2,
                )
            )
            network.plot(x + 0.36, y, "o", color=PAPER, mec=INK, ms=4, zorder=3)
        network.text(-0.02, y, f"example {row + 1}", ha="right", va="center", fontsize=SMALL)
    network.set(xlim=(-0.05, branches + 1), ylim=(0.8, shown + 0.85))
    bare(network)
    network.set_title(
        f"{branches} residual branches: blue ones are added, orange ones skipped",
        fontsize=TEXT,
        color=INK,
    )
    at = np.arange(1, branches + 1)
    bars.bar(at, 1 - kept.mean(axis=1), 0.55, color=ORANGE)
    bars.plot(at, rates, "_", color=INK, ms=20, mew=1.6)
    bars.set(xlim=(-0.05, branches + 1), ylim=(0, 0.58), xticks=at, yticks=[0, 0.25, 0.5])
    bars.set_ylabel("share dropped", fontsize=SMALL)
    bars.set_xlabel(
        "branch\nlines: depth_rates(0.5, 12); bars: measured, 10,000 examples", fontsize=SMALL
    )
    bars.tick_params(labelsize=SMALL, length=0)
    bars.spines[["top", "right"]].set_visible(False)
    return figure


def schedules() -> Figure:
    """Plot what layers with a schedule of each kind have for p at each step."""
    ways = {
        "Constant(0.3)": (Constant(0.3), GREY),
        "Linear(0.0, 0.5, steps=60)": (Linear(0.0, 0.5, steps=60), BLUE),
        "Cosine(0.5, 0.1, steps=100)": (Cosine(0.5, 0.1, steps=100), ORANGE),
        "WarmUp(30, then=Linear(0.4, 0.2, steps=70))": (
            WarmUp(30, then=Linear(0.4, 0.2, steps=70)),
            GREEN,
        ),
    }
    figure = Figure(figsize=(WIDTH, 2.7))
    line, points = figure.subplots(
        1, 2, sharey=True, gridspec_kw={"wspace": 0.1, "width_ratios": (1.6, 1)}
    )
    for name, (schedule, colour) in ways.items():
        steps = range(121)
        line.plot(steps, [schedule(step) for step in steps], color=colour, lw=2, label=name)
    line.set(xlabel="step", ylabel="p", ylim=(0, 0.56), xlim=(0, 120), yticks=[0, 0.25, 0.5])
    line.legend(
        fontsize=SMALL, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2
    )
    line.set_title("p at each step", fontsize=TEXT, color=INK)
    layer = anydrop.Dropout(ways["Linear(0.0, 0.5, steps=60)"][0], seed=0)
    shares = [float((layer(np.ones(1000)) == 0).mean()) for _ in range(121)]
    points.plot(shares, ".", color=BLUE, ms=4)
    points.set(xlabel="training forward", xlim=(-2, 123))
    points.set_title("what a layer drops of 1,000 ones", fontsize=TEXT, color=INK)
    for axis in (line, points):
        axis.spines[["top", "right"]].set_visible(False)
    return figure
