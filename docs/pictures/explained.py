"""The pictures of single pages: scaling, seeds, the stream and the kernel's vectors."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

import anydrop
from anydrop.demo.pictures.style import BLUE, GREEN, GREY, INK, ORANGE, PAPER, SMALL, TEXT
from pictures.panels import WIDTH


def scaling() -> Figure:
    """Show measured means in training and at inference, for each way of scaling."""
    x, p = np.ones(100_000), 0.5
    inverted = anydrop.Dropout(p, seed=0)
    old = anydrop.Dropout(p, seed=0, scaling="inference")
    ways = {
        "no\nscaling": (old(x).mean(), x.mean(), ORANGE),
        "inverted:\nkept / (1 - p)": (inverted(x).mean(), inverted(x, False).mean(), BLUE),
        "2014:\nall x (1 - p)": (old(x).mean(), old(x, False).mean(), BLUE),
    }
    figure = Figure(figsize=(WIDTH, 2.4))
    axes = figure.subplots(1, 3, sharey=True)
    for axis, (name, (training, inference, colour)) in zip(axes, ways.items(), strict=True):
        bars = axis.bar(["training", "inference"], [training, inference], color=colour, width=0.6)
        axis.bar_label(bars, fmt="%.2f", padding=2, color=INK)
        verdict = "the means agree" if abs(training - inference) < 0.02 else "the means differ"
        axis.set_title(f"{name}\n{verdict}", fontsize=TEXT, color=colour)
        axis.set(ylim=(0, 1.25), yticks=[])
        axis.tick_params(length=0)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    axes[0].set_ylabel("mean of 100,000 ones")
    figure.tight_layout()
    return figure


def stream() -> Figure:
    """Draw the way from seed, step and index to kept or dropped."""
    figure = Figure(figsize=(9, 2.7))
    axis = figure.subplots()
    axis.set(xlim=(0, 18), ylim=(0, 5.2))
    axis.axis("off")

    def box(x: float, y: float, w: float, text: str, colour: str, h: float = 1.0) -> None:
        style = {"boxstyle": "round,pad=0.02,rounding_size=0.15", "linewidth": 1.4}
        axis.add_patch(FancyBboxPatch((x, y), w, h, facecolor=PAPER, edgecolor=colour, **style))
        axis.text(x + w / 2, y + h / 2, text, ha="center", va="center", fontsize=SMALL, color=INK)

    def arrow(start: tuple[float, float], end: tuple[float, float]) -> None:
        arrows = {"arrowstyle": "-|>", "mutation_scale": 11, "color": INK, "linewidth": 1}
        axis.add_patch(FancyArrowPatch(start, end, **arrows))

    box(0.1, 4.0, 2.2, "seed", BLUE)
    box(0.1, 2.1, 2.2, "step", BLUE)
    box(0.1, 0.2, 2.2, "index i", BLUE)
    box(3.9, 4.0, 3.6, "SeedSequence\nkey: 2 x 32 bits", GREY)
    box(3.9, 0.2, 3.6, "block = i // 4\nlane = i % 4", GREY)
    box(8.3, 1.7, 3.2, "Philox4x32-10\nfour 32-bit words", GREEN, 1.6)
    box(12.4, 1.9, 5.5, "kept if word[lane] >=\nround(p * 2**32)", ORANGE, 1.2)
    arrow((2.35, 4.5), (3.85, 4.5))
    arrow((2.35, 0.7), (3.85, 0.7))
    arrow((2.35, 2.6), (8.25, 2.6))
    arrow((7.55, 4.5), (9.1, 3.4))
    arrow((7.55, 0.9), (9.0, 1.65))
    arrow((11.55, 2.5), (12.35, 2.5))
    axis.plot([7.55, 15.4, 15.4], [0.5, 0.5, 1.85], color=INK, linewidth=1)
    axis.text(11.2, 0.68, "lane", fontsize=SMALL, color=INK)
    axis.text(5.2, 2.72, "64 bits", fontsize=SMALL, color=INK)
    return figure


def independent() -> Figure:
    """Show how often two layers drop the same unit, with one seed and with two."""
    x = np.ones(100_000)
    children = np.random.SeedSequence(1).spawn(2)
    pairs = {"one seed for both layers": (1, 1), "a seed for each layer": children}
    shades = LinearSegmentedColormap.from_list("", [PAPER, BLUE])
    figure = Figure(figsize=(WIDTH, 3.0))
    for axis, (title, seeds) in zip(figure.subplots(1, 2), pairs.items(), strict=True):
        first, second = (anydrop.Dropout(0.5, seed=s)(x) != 0 for s in seeds)
        table = [[round(np.mean((first == a) & (second == b)), 2) for b in (1, 0)] for a in (1, 0)]
        axis.imshow(table, cmap=shades, vmin=0, vmax=0.75)
        for row in range(2):
            for column in range(2):
                axis.text(
                    column, row, f"{table[row][column]:.0%}", ha="center", va="center", color=INK
                )
        axis.set(xticks=[0, 1], yticks=[0, 1], xlabel="second layer", ylabel="first layer")
        axis.set_xticklabels(["kept", "dropped"])
        axis.set_yticklabels(["kept", "dropped"], rotation=90, va="center")
        axis.tick_params(length=0)
        wrong = seeds == (1, 1)
        axis.set_title(title, fontsize=TEXT, color=ORANGE if wrong else BLUE)
    figure.tight_layout()
    return figure


def lanes() -> Figure:
    """Draw half a round of Philox in four lanes: a product, and where its halves go."""
    figure = Figure(figsize=(9, 4.6))
    axis = figure.subplots()
    axis.set(xlim=(0, 18.2), ylim=(0, 9.2))
    axis.axis("off")

    def row(x: float, y: float, cells: list[str], colours: list[str], note: str) -> None:
        for place, (text, colour) in enumerate(zip(cells, colours, strict=True)):
            style = {"boxstyle": "square,pad=0", "linewidth": 1.4, "facecolor": PAPER}
            corner = x + 1.3 * place, y
            axis.add_patch(FancyBboxPatch(corner, 1.2, 0.9, edgecolor=colour, **style))
            middle = {"ha": "center", "va": "center", "fontsize": TEXT, "color": INK}
            axis.text(corner[0] + 0.6, y + 0.45, text, **middle)
        axis.text(x, y + 1.05, note, fontsize=SMALL - 0.5, color=INK)

    def arrow(start: tuple[float, float], end: tuple[float, float]) -> None:
        arrows = {"arrowstyle": "-|>", "mutation_scale": 11, "color": INK, "linewidth": 1}
        axis.add_patch(FancyArrowPatch(start, end, **arrows))

    row(0.2, 5.6, ["a", "b", "c", "d"], [GREY] * 4, "third word of four blocks")
    halves = [BLUE, ORANGE] * 2
    row(6.4, 7.6, ["lo a", "hi a", "lo c", "hi c"], halves, "even lanes times M1, 64 bits")
    row(6.4, 5.3, ["lo b", "hi b", "lo d", "hi d"], halves, "odd lanes times M1, 64 bits")
    row(12.6, 7.0, ["hi a", "hi c", "hi b", "hi d"], [ORANGE] * 4, "high halves, by one shuffle")
    row(12.6, 4.8, ["a", "c", "b", "d"], [GREY] * 4, "xor the second word, swapped before")
    row(12.6, 2.6, ["k0", "k0", "k0", "k0"], [GREY] * 4, "xor the key of the round")
    row(12.6, 0.4, ["a", "c", "b", "d"], [GREEN] * 4, "the next first word, swapped")
    row(6.4, 0.4, ["lo a", "lo b", "lo c", "lo d"], [BLUE] * 4, "low halves: the next second word")
    arrow((5.5, 6.3), (6.3, 7.9))
    arrow((5.5, 6.0), (6.3, 5.8))
    arrow((5.5, 5.7), (6.3, 1.1))
    arrow((11.7, 8.0), (12.5, 7.6))
    arrow((11.7, 5.9), (12.5, 7.2))
    for y in (6.9, 4.7, 2.5):
        arrow((17.9, y), (17.9, y - 1.1))
    figure.tight_layout()
    return figure
