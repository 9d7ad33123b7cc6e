"""The catalogue's pictures: input, mask and output of each variant, drawn by the code itself."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import anydrop
from anydrop.demo.pictures.style import ORANGE, SMALL
from pictures.networks import attention, connections, depth, schedules
from pictures.noise import alpha, feature_alpha, gaussian_dropout, gaussian_noise
from pictures.panels import (
    arrows,
    colours,
    kept_and_dropped,
    kept_in_blue,
    panels,
    show,
    under,
    with_dropped,
)
from pictures.regions import block_rates, blocks, channels
from pictures.sequences import embedding, locked, tokens, zoneout

SHAPE = (6, 10)


def elements() -> Figure:
    """Drop pixels of a digit."""
    digit = load_digits().images[0] / 16
    y, mask = anydrop.dropout(digit, 0.4, seed=3, return_mask=True)
    keep = mask.keep(like=digit)
    figure, (axes,) = panels(2.3)
    show(axes[0], colours(digit, top=1.7), "input")
    show(axes[1], kept_in_blue(keep), "mask")
    show(axes[2], with_dropped(colours(y, top=1.7), keep), "output")
    under(axes[0], "8 x 8 pixels")
    kept_and_dropped(axes[1])
    under(axes[2], "kept ones times 1 / 0.6")
    arrows(figure, axes)
    return figure


def shared_axes() -> Figure:
    """Draw the masks of one seed with one axis shared, or another."""
    x = np.ones(SHAPE)
    ways = {
        "shared_axes=()": {"shared_axes": ()},
        "shared_axes=0\nor noise_shape=\n(1, None)": {"shared_axes": 0},
        "shared_axes=1\nor noise_shape=\n(None, 1)": {"noise_shape": (None, 1)},
    }
    figure, (axes,) = panels(2.3)
    for axis, (title, way) in zip(axes, ways.items(), strict=True):
        show(axis, kept_in_blue(anydrop.dropout(x, 0.4, seed=3, **way) != 0), title)
    axes[0].set_ylabel("axis 0", fontsize=SMALL)
    axes[0].set_xlabel("axis 1", fontsize=SMALL)
    kept_and_dropped(axes[1])
    return figure


def residual_sum() -> Figure:
    """Add what is left of a sublayer's output to its input: a digit, and a blur of it."""
    residual = load_digits().images[0] / 16
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(residual, 1), (3, 3))
    x = windows.mean(axis=(2, 3))
    y, mask = anydrop.dropout_add(x, residual, 0.4, seed=3, return_mask=True)
    keep = mask.keep(like=x)
    figure, (axes,) = panels(2.4, (1, 1, 1, 1), gap=0.3)
    show(axes[0], colours(x, top=1.6), "x")
    show(axes[1], kept_in_blue(keep), "mask")
    show(axes[2], colours(residual, top=1.6), "residual")
    alone = colours(residual, ORANGE, top=1.6)
    show(axes[3], np.where(keep[..., None], colours(y, top=2.2), alone), "output")
    under(axes[0], "what a sublayer\nreturns")
    kept_and_dropped(axes[1])
    under(axes[2], "what it was\ngiven")
    under(axes[3], "orange: the\nresidual alone")
    for axis, sign in zip(axes[1:], ("", "+", "="), strict=True):
        axis.text(-0.15, 0.5, sign, transform=axis.transAxes, fontsize=16, ha="center", va="center")
    arrows(figure, axes[:2])
    return figure


PICTURES = (
    elements,
    shared_axes,
    residual_sum,
    channels,
    blocks,
    block_rates,
    alpha,
    feature_alpha,
    gaussian_dropout,
    gaussian_noise,
    locked,
    zoneout,
    embedding,
    tokens,
    attention,
    connections,
    depth,
    schedules,
)
