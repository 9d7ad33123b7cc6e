"""What the pictures are made of: panels of values and of masks, arrows, and lines below them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, FigureBase
from matplotlib.patches import FancyArrowPatch, Patch

from anydrop.demo.pictures.style import BLUE, GREY, INK, ORANGE, PALE, PAPER, SMALL, TEXT

WIDTH = 6.4


def colours(values: np.ndarray, colour: str = INK, top: float = 1.0) -> np.ndarray:
    """Return RGB from the page's for 0 to a colour for `top`."""
    share = np.clip(np.asarray(values, float) / top, 0, 1)[..., None]
    return (1 - share) * to_rgb(PAPER) + share * to_rgb(colour)


def diverging(values: np.ndarray, top: float) -> np.ndarray:
    """Return RGB from orange for -`top` to blue for `top`."""
    values = np.asarray(values, float)
    return np.where(
        values[..., None] > 0, colours(values, BLUE, top), colours(-values, ORANGE, top)
    )


def kept_in_blue(keep: np.ndarray) -> np.ndarray:
    """Return RGB of a keep mask: blue is kept, orange dropped."""
    return np.where(np.asarray(keep)[..., None], to_rgb(BLUE), to_rgb(ORANGE))


def with_dropped(rgb: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Return RGB of an output: what was dropped is pale orange."""
    return np.where(np.broadcast_to(keep, rgb.shape[:-1])[..., None], rgb, to_rgb(PALE))


def mosaic(maps: np.ndarray, columns: int = 3) -> np.ndarray:
    """Lay RGB maps of shape (n, height, width, 3) out in rows, a line between them."""
    n, height, width, _ = maps.shape
    framed = np.full((n, height + 1, width + 1, 3), to_rgb(PAPER))
    framed[:, :-1, :-1] = maps
    rows = [np.concatenate(framed[i : i + columns], 1) for i in range(0, len(maps), columns)]
    return np.concatenate(rows)[:-1, :-1]


def bare(axis: Axes) -> None:
    """Take ticks and frame away."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def show(
    axis: Axes, rgb: np.ndarray, title: str = "", lines: int = 1, aspect: str = "equal"
) -> None:
    """Show RGB of shape (rows, columns, 3) as cells, with lines every so many of them."""
    rows, columns = rgb.shape[:2]
    axis.imshow(rgb, interpolation="nearest", aspect=aspect)
    if lines:
        axis.hlines(np.arange(lines, rows, lines) - 0.5, -0.5, columns - 0.5, PAPER, lw=0.8)
        axis.vlines(np.arange(lines, columns, lines) - 0.5, -0.5, rows - 0.5, PAPER, lw=0.8)
    bare(axis)
    axis.spines[:].set(visible=True, color=GREY, linewidth=0.8)
    axis.set_title(title, fontsize=TEXT, color=INK)


def kept_and_dropped(axis: Axes, kept: str = "kept", dropped: str = "dropped") -> None:
    """Say under a mask what its colours are."""
    style = {"transform": axis.transAxes, "fontsize": SMALL, "va": "top", "weight": "bold"}
    axis.text(0.42, -0.04, kept, ha="right", color=BLUE, **style)
    axis.text(0.47, -0.04, dropped, ha="left", color=ORANGE, **style)


def legend(figure: FigureBase, y: float, kept: str = "kept", dropped: str = "dropped") -> None:
    """Say what a mask's colours are, once for a whole figure, with its top at a height."""
    patches = [Patch(color=BLUE, label=kept), Patch(color=ORANGE, label=dropped)]
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, y), "ncols": 2}
    figure.legend(handles=patches, frameon=False, fontsize=TEXT, **place)


def under(axis: Axes, text: str, colour: str = INK, **font: Any) -> None:
    """Write a line under a panel."""
    style = {"transform": axis.transAxes, "fontsize": SMALL, "va": "top", "ha": "center"}
    axis.text(0.5, -0.04, text, color=colour, **style, **font)


def arrows(figure: FigureBase, axes: Sequence[Axes]) -> None:
    """Draw an arrow from each panel to the next."""
    boxes = [axis.get_position() for axis in axes]
    for left, right in itertools.pairwise(boxes):
        gap, y = right.x0 - left.x1, (left.y0 + left.y1) / 2
        figure.add_artist(
            FancyArrowPatch(
                (left.x1 + 0.2 * gap, y),
                (right.x0 - 0.2 * gap, y),
                arrowstyle="-|>",
                mutation_scale=13,
                color=INK,
                linewidth=1.2,
                shrinkA=0,
                shrinkB=0,
            )
        )


def panels(
    height: float,
    ratios: Sequence[float] = (1, 1, 1),
    heights: Sequence[float] = (1,),
    gap: float = 0.25,
) -> tuple[Figure, np.ndarray]:
    """Return a figure of the pages' width and its rows of panels."""
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.subplots(
        len(heights),
        len(ratios),
        squeeze=False,
        gridspec_kw={
            "width_ratios": ratios,
            "height_ratios": heights,
            "wspace": gap,
            "hspace": 0.16,
        },
    )
    return figure, axes


def cube(axis: Axes, rgb: np.ndarray, x: float = 0.0, y: float = 0.0) -> None:
    """Draw the three faces in sight of a cube of RGB voxels, (length, height, width, 3)."""
    n = rgb.shape[0]
    right, up, deep = np.array([0.87, -0.33]), np.array([0.0, 0.95]), np.array([0.87, 0.33])
    faces = (  # each voxel's colour by its row and column, the corner and both edges
        (rgb[0, ::-1, :], np.zeros(2), right, up, 1.0),
        (rgb[:, ::-1, -1].swapaxes(0, 1), n * right, deep, up, 0.8),
        (rgb[:, 0, :], n * up, right, deep, 1.12),
    )
    for colours_of, corner, along, across, light in faces:
        quads, shades = [], []
        for row in range(n):
            for column in range(n):
                start = np.array([x, y]) + corner + column * along + row * across
                quads.append([start, start + along, start + along + across, start + across])
                shades.append(np.clip(colours_of[row, column] * light, 0, 1))
        axis.add_collection(
            PolyCollection(quads, facecolors=shades, edgecolors=PAPER, linewidths=0.35)
        )
    axis.set_aspect("equal")
