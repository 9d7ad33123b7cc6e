"""The demo's pictures: what they have in common, and one module for each."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anydrop.demo.pictures.style import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    QUIET,
    SETTINGS,
    SMALL,
    TEXT,
    TITLE,
)

WITH, WITHOUT = BLUE, ORANGE
#: Matplotlib's settings while pictures are drawn.
STYLE: dict[Any, Any] = {
    **SETTINGS,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), QUIET),
    **dict.fromkeys(("axes.spines.top", "axes.spines.left", "axes.spines.right"), False),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 0),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), SMALL),
    **dict.fromkeys(("font.size", "axes.titlesize"), TEXT),
    **{"axes.edgecolor": FAINT},
}


def figure(height: float, title: str, subtitle: str) -> Figure:
    """Return an empty figure, of a height in inches, under a title that states its result."""
    made = Figure(figsize=(9.2, height), dpi=120)
    made.text(0.038, 1 - 0.42 / height, title, size=TITLE, weight="bold", color=INK)
    made.text(0.038, 1 - 0.72 / height, subtitle)
    return made


def frame(axes: Axes) -> None:
    """Draw a frame without ticks around an image."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
