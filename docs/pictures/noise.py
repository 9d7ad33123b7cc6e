"""Pictures of what is about mean and variance: the alpha variants and normal noise."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import anydrop
from anydrop.demo.pictures.style import BLUE, GREY, INK, ORANGE, SMALL, TEXT
from pictures.panels import (
    arrows,
    colours,
    diverging,
    kept_and_dropped,
    kept_in_blue,
    mosaic,
    panels,
    show,
    under,
    with_dropped,
)
from pictures.regions import feature_maps

MANY = 200_000


def histogram(axis: Axes, values: np.ndarray, dropped: float | None, title: str) -> None:
    """Draw the density of values, and that of what was dropped in orange."""
    bins = np.linspace(-4.05, 4.05, 82)
    kept = values if dropped is None else values[values != dropped]
    share = np.histogram(kept, bins)[0] / len(values)
    axis.bar(bins[:-1], share, np.diff(bins), align="edge", color=BLUE)
    if dropped is not None:
        axis.plot([dropped] * 2, [0, 0.048], color=ORANGE, lw=2.5)
        axis.plot(dropped, 0.048, "^", color=ORANGE, ms=8)
        axis.text(
            dropped,
            0.053,
            f"{1 - len(kept) / len(values):.0%} become {dropped:.3g}",
            fontsize=SMALL,
            color=ORANGE,
            weight="bold",
            ha="center",
        )
    axis.set(xlim=(-4.05, 4.05), ylim=(0, 0.06), yticks=[], xticks=[-3, 0, 3])
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.set_title(title, fontsize=TEXT, color=INK)
    right = abs(values.mean()) < 0.02 and abs(values.std() - 1) < 0.02
    axis.text(
        0.5,
        -0.17,
        f"mean {abs(values.mean()):.2f}, std {values.std():.2f}",
        transform=axis.transAxes,
        ha="center",
        va="top",
        fontsize=SMALL,
        color=BLUE if right else ORANGE,
        weight="bold",
    )


def alpha() -> Figure:
    """Compare what plain and alpha dropout do to the distribution of normal numbers."""
    x = np.random.default_rng(0).standard_normal(MANY)
    y, mask = anydrop.alpha_dropout(x, 0.2, seed=0, return_mask=True)
    low = float(y[~mask.keep(like=x)][0])
    figure, (axes,) = panels(2.4, gap=0.3)
    histogram(axes[0], x, None, "input")
    histogram(axes[1], anydrop.dropout(x, 0.2, seed=0), 0.0, "plain dropout")
    histogram(axes[2], y, low, "alpha dropout")
    return figure


def feature_alpha() -> Figure:
    """Set channels of a digit's feature maps to where SELU saturates."""
    x = feature_maps()
    x = (x - x.mean()) / x.std()
    y, mask = anydrop.feature_alpha_dropout(x, 0.4, seed=5, return_mask=True)
    keep = np.broadcast_to(mask.keep(like=x), x.shape)
    figure, (axes,) = panels(2.5)
    low, top = x.min(), 6.0
    shown = (
        colours(x[0] - low, top=top),
        kept_in_blue(keep[0]),
        with_dropped(colours(y[0] - low, top=top), keep[0]),
    )
    for axis, rgb, title in zip(axes, shown, ("input", "mask", "output"), strict=True):
        show(axis, mosaic(rgb), title, lines=0)
    under(axes[0], f"mean {abs(x.mean()):.2f}, std {x.std():.2f}")
    kept_and_dropped(axes[1])
    under(axes[2], f"{y[~keep][0]:.2f} at every dropped pixel")
    arrows(figure, axes)
    return figure


def _noisy(y: np.ndarray, noise: np.ndarray, centre: float, top: float) -> tuple[Figure, Axes]:
    """Show a digit, noise, the digit with the noise in it, and an empty panel."""
    digit = load_digits().images[0] / 16
    figure, (axes,) = panels(2.5, (1, 1, 1, 1.35), gap=0.28)
    show(axes[0], colours(digit, top=1.5), "input")
    show(axes[1], diverging(noise - centre, top), "noise")
    show(axes[2], colours(y, top=1.5), "output")
    under(axes[1], f"orange < {centre:g} < blue")
    axes[3].spines[["top", "right", "left"]].set_visible(False)
    axes[3].set(yticks=[])
    axes[3].set_box_aspect(1 / 1.35)
    arrows(figure, axes[:3])
    return figure, axes[3]


def normal(x: np.ndarray, mean: float, std: float) -> np.ndarray:
    """Return the normal density."""
    return np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))


def gaussian_dropout() -> Figure:
    """Multiply a digit by noise, whose distribution is that of dropout in mean and variance."""
    p, digit = 0.2, load_digits().images[0] / 16
    y, mask = anydrop.gaussian_dropout(digit, p, seed=0, return_mask=True)
    figure, axis = _noisy(y, mask.keep(like=digit), 1.0, 1.5)
    factors = anydrop.gaussian_dropout(np.ones(MANY), p, seed=0)
    x = np.linspace(-1.2, 3.2, 200)
    axis.hist(factors, np.linspace(-1.2, 3.2, 67), density=True, color=GREY)
    axis.plot(x, normal(x, 1, math.sqrt(p / (1 - p))), color=INK, lw=1.2)
    axis.vlines([0, 1 / (1 - p)], 0, [p, 1 - p], [ORANGE, BLUE], lw=3)
    axis.text(-0.1, p + 0.02, "dropout:\n0", color=ORANGE, fontsize=SMALL, ha="right")
    axis.text(1.35, 0.8, f"dropout: {1 / (1 - p):g}", color=BLUE, fontsize=SMALL, va="center")
    axis.set(xticks=[-1, 0, 1, 2, 3], ylim=(0, 0.95))
    axis.set_title(f"mean {factors.mean():.2f}, variance {factors.var():.2f}", fontsize=SMALL)
    return figure


def gaussian_noise() -> Figure:
    """Add noise to a digit."""
    std, digit = 0.2, load_digits().images[0] / 16
    y, mask = anydrop.gaussian_noise(digit, std, seed=0, return_mask=True)
    figure, axis = _noisy(y, mask.keep(like=digit), 0.0, 0.6)
    noise = anydrop.gaussian_noise(np.zeros(MANY), std, seed=0)
    x = np.linspace(-0.8, 0.8, 200)
    axis.hist(noise, np.linspace(-0.8, 0.8, 65), density=True, color=GREY)
    axis.plot(x, normal(x, 0, std), color=INK, lw=1.2)
    axis.set(xticks=[-0.5, 0, 0.5])
    axis.set_title(f"mean {abs(noise.mean()):.2f}, std {noise.std():.2f}", fontsize=SMALL)
    return figure
