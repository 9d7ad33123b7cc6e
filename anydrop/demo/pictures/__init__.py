"""The demo's pictures: what they have in common, and one module for each."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind people can tell apart.
WITH = "#0072B2"
WITHOUT = "#D55E00"
DROPPED = "#EFAA2E"
INK = "#222222"
QUIET = "#767676"
FAINT = "#D9D9D9"
SMALL, TEXT, TITLE = 9.5, 11.0, 14.0
#: Matplotlib's settings while pictures are drawn.
STYLE: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), QUIET),
    **dict.fromkeys(("axes.spines.top", "axes.spines.left", "axes.spines.right"), False),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 0),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), SMALL),
    **dict.fromkeys(("font.size", "axes.titlesize"), TEXT),
    **{"axes.titlecolor": INK, "axes.edgecolor": FAINT},
}


def figure(height: float, title: str, subtitle: str) -> Figure:
    """Return an empty figure, of a height in inches, under a title that states its result."""
    made = Figure(figsize=(9.2, height), dpi=120, facecolor="white")
    made.text(0.038, 1 - 0.42 / height, title, size=TITLE, weight="bold", color=INK)
    made.text(0.038, 1 - 0.72 / height, subtitle)
    return made


def frame(axes: Axes) -> None:
    """Draw a frame without ticks around an image."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
