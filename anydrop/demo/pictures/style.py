"""What the pictures have in common: their colours, their type and how they are saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which the colour-blind can tell apart.
WITH = "#0072B2"
WITHOUT = "#D55E00"
INK = "#222222"
QUIET = "#767676"
FAINT = "#D9D9D9"
DROPPED = "#EFAA2E"

DPI = 120
SMALL, TEXT, TITLE = 9.5, 11.0, 14.0


def figure(width: float, height: float, title: str, subtitle: str) -> Figure:
    """Return an empty figure, in inches, under a title that states what is to be seen."""
    made = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    left = 0.35 / width
    made.text(left, 1 - 0.42 / height, title, size=TITLE, weight="bold", color=INK)
    made.text(left, 1 - 0.72 / height, subtitle, size=TEXT, color=QUIET)
    return made


def bare(axes: Axes) -> None:
    """Take an axes' ticks and frame away: what is in it speaks for itself."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def save(made: Figure, path: Path) -> Path:
    """Write a figure as PNG and return where."""
    made.savefig(path, format="png")
    return path
