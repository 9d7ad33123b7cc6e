"""Pictures of what drops regions: whole channels, and blocks."""

from __future__ import annotations

from functools import partial

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import anydrop
from anydrop.demo.pictures.style import BLUE, GREY, INK, ORANGE, PAPER, SMALL, TEXT
from pictures.panels import (
    arrows,
    bare,
    colours,
    cube,
    kept_and_dropped,
    kept_in_blue,
    mosaic,
    panels,
    show,
    under,
    with_dropped,
)

FILTERS = np.asarray(
    [
        [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
        [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
        [[1, 0, -1], [2, 0, -2], [1, 0, -1]],
        [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
        [[1, 2, 1], [0, 0, 0], [-1, -2, -1]],
        [[0, -1, 0], [-1, 4, -1], [0, -1, 0]],
    ]
)
P, SIDE, BLOCK, DRAWS = 0.1, 14, 7, 20_000


def feature_maps(side: int = 16) -> np.ndarray:
    """Return six feature maps of a digit, of shape (1, 6, side, side) and between 0 and 1."""
    digit = load_digits().images[0] / 16
    at = np.linspace(0, 7, side)
    rows = np.asarray([np.interp(at, np.arange(8), row) for row in digit])
    large = np.asarray([np.interp(at, np.arange(8), column) for column in rows.T]).T
    patches = np.lib.stride_tricks.sliding_window_view(np.pad(large, 1), (3, 3))
    maps = np.maximum(np.einsum("hwij,cij->chw", patches, FILTERS), 0)
    return (maps / maps.max(axis=(1, 2), keepdims=True))[None]


def sequences() -> np.ndarray:
    """Return six channels of a sequence, of shape (1, 6, 16) and between 0 and 1."""
    time = np.linspace(0, 2 * np.pi, 16)
    waves = [np.sin(speed * time + phase) for phase, speed in enumerate((1, 1.5, 2, 2.5, 3, 3.5))]
    return (0.55 + 0.45 * np.asarray(waves))[None]


def volumes(side: int) -> np.ndarray:
    """Return two channels of a volume: waves from a corner each, between 0 and 1."""
    z, y, x = np.meshgrid(*3 * [np.linspace(0, 1, side)], indexing="ij")
    far = [z**2 + y**2 + (1 - x) ** 2, z**2 + (1 - y) ** 2 + x**2]
    return (0.5 + 0.4 * np.cos(7 * np.sqrt(far)))[None]


def _three_rows(drops: list, seeds: tuple[int, int, int], side: int, top: float) -> Figure:
    """Show input, mask and output of what drops in one, two and three dimensions."""
    figure, axes = panels(4.9, heights=(1, 0.92, 0.62), gap=0.22)
    inputs = (sequences(), feature_maps(), volumes(side))
    for row, (drop, x, seed) in enumerate(zip(drops, inputs, seeds, strict=True)):
        y, mask = drop(x, seed=seed, return_mask=True)
        keep = np.broadcast_to(mask.keep(like=x), x.shape)[0]
        shown = (
            colours(x[0], top=top),
            kept_in_blue(keep),
            with_dropped(colours(y[0], top=top), keep),
        )
        for axis, rgb in zip(axes[row], shown, strict=True):
            if row == 0:
                show(axis, rgb, aspect="auto")
            elif row == 1:
                show(axis, mosaic(rgb), lines=0)
            else:
                for channel, volume in enumerate(rgb):
                    cube(axis, volume, x=channel * 2.0 * side)
                bare(axis)
                axis.autoscale_view()
    for axis, title in zip(axes[0], ("input", "mask", "output"), strict=True):
        axis.set_title(title, fontsize=TEXT, color=INK)
    sides = ("6 channels\nof a sequence", "6 channels\nof an image", "2 channels\nof a volume")
    for axis, text in zip(axes[:, 0], sides, strict=True):
        axis.text(
            -0.06,
            0.5,
            text,
            transform=axis.transAxes,
            ha="right",
            va="center",
            fontsize=SMALL,
            color=INK,
        )
    kept_and_dropped(axes[2, 1])
    for row in axes:
        arrows(figure, row)
    return figure


def channels() -> Figure:
    """Drop whole channels of sequences, images and volumes."""
    drops = [
        partial(function, p=0.4)
        for function in (anydrop.dropout1d, anydrop.dropout2d, anydrop.dropout3d)
    ]
    return _three_rows(drops, (8, 5, 2), side=6, top=2.0)


def blocks() -> Figure:
    """Drop blocks of sequences, images and volumes."""
    drops = [
        partial(anydrop.drop_block1d, p=0.25, block_size=4),
        partial(anydrop.drop_block2d, p=0.25, block_size=5),
        partial(anydrop.drop_block3d, p=0.25, block_size=3),
    ]
    return _three_rows(drops, (0, 0, 0), side=8, top=1.5)


def blocks_of_the_paper(p: float, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Return keep masks as the paper makes them: whole blocks inside, an approximate gamma."""
    places = SIDE - BLOCK + 1
    gamma = p / BLOCK**2 * SIDE**2 / places**2
    begins = np.pad(
        generator.random((draws, places, places)) < gamma, ((0, 0), *2 * [(BLOCK - 1,) * 2])
    )
    for axis in (1, 2):
        begins = np.lib.stride_tricks.sliding_window_view(begins, BLOCK, axis=axis).any(-1)
    return ~begins


def blocks_here(p: float, draws: int) -> np.ndarray:
    """Return keep masks as anydrop makes them."""
    x = np.ones((draws, 1, SIDE, SIDE), np.float32)
    return anydrop.drop_block2d(x, p, BLOCK, seed=0)[:, 0] != 0


def block_rates() -> Figure:
    """Measure how often each position is dropped, and how many are for a given p."""
    generator = np.random.default_rng(0)
    ways = {
        "the paper": (blocks_of_the_paper(P, DRAWS, generator), ORANGE),
        "anydrop": (blocks_here(P, DRAWS), BLUE),
    }
    figure, (axes,) = panels(2.3, (1, 1, 0.06, 0.55, 1.25), gap=0.12)
    shade = LinearSegmentedColormap.from_list("shade", [PAPER, ORANGE, INK])
    for axis, (name, (keep, colour)) in zip(axes, ways.items(), strict=False):
        rate = 1 - keep.mean(axis=0)
        image = axis.imshow(rate, cmap=shade, vmin=0, vmax=0.4)
        bare(axis)
        axis.set_title(name, fontsize=TEXT, color=colour, weight="bold")
        under(axis, f"corner {rate[0, 0]:.3f}\ncentre {rate[6, 6]:.3f}\nmean {rate.mean():.3f}")
    bar = figure.colorbar(image, cax=axes[2], ticks=[0, P, 0.2, 0.3, 0.4])
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL, length=0)
    axes[2].set_box_aspect(1 / 0.06)
    axes[3].remove()
    line = axes[4]
    line.set_box_aspect(1 / 1.25)
    asked = np.linspace(0, 0.5, 6)
    paper = [1 - blocks_of_the_paper(p, 1000, generator).mean() for p in asked]
    here = [1 - blocks_here(p, 1000).mean() for p in asked]
    line.plot([0, 0.5], [0, 0.5], color=GREY, lw=1)
    line.plot(asked, paper, "o-", color=ORANGE, lw=1.6, ms=4)
    line.plot(asked, here, "o-", color=BLUE, lw=1.6, ms=4)
    line.text(0.34, 0.4, "anydrop", color=BLUE, fontsize=TEXT, ha="right", weight="bold")
    line.text(0.52, 0.1, "the paper", color=ORANGE, fontsize=TEXT, ha="right", weight="bold")
    line.set(xlabel="p", xticks=[0, 0.25, 0.5], yticks=[0, 0.25, 0.5])
    line.set_title("share dropped", fontsize=TEXT, color=INK)
    line.spines[["top", "right"]].set_visible(False)
    return figure
