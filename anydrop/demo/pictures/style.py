"""How every picture looks: the demo's, the documentation's and the bench's.

Pictures name their colours by the constants below. They are names that Matplotlib looks up while
it draws, so the same code draws for a light page and, in `dark`, for a dark one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.colors import get_named_colors_mapping
from matplotlib.figure import Figure

PAPER, INK, QUIET, GREY, FAINT = (
    *("anydrop:paper", "anydrop:ink", "anydrop:quiet", "anydrop:grey", "anydrop:faint"),
)
#: Blue is kept, orange dropped. The two after them are for what is neither.
BLUE, ORANGE, GREEN, PINK = (*("anydrop:blue", "anydrop:orange", "anydrop:green", "anydrop:pink"),)
#: What was dropped, in an output; and where orange would be too strong beside it.
PALE, AMBER = "anydrop:pale", "anydrop:amber"
SMALL, TEXT, TITLE = 9.5, 11.0, 14.0

# Okabe and Ito's colours, which the colour-blind can tell apart.
LIGHT = {
    PAPER: "#FFFFFF",
    INK: "#222222",
    QUIET: "#6B6B6B",
    GREY: "#B8B8B8",
    FAINT: "#D9D9D9",
    BLUE: "#0072B2",
    ORANGE: "#D55E00",
    GREEN: "#009E73",
    PINK: "#CC79A7",
    PALE: "#F6CFB5",
    AMBER: "#EFAA2E",
}
# The same, lighter, on the background of a dark page.
DARK = {
    PAPER: "#131416",
    INK: "#E4E4E4",
    QUIET: "#A0A3A8",
    GREY: "#6A6D73",
    FAINT: "#3A3D42",
    BLUE: "#4AA8E0",
    ORANGE: "#EE7F2D",
    GREEN: "#2FBF95",
    PINK: "#DD92BC",
    PALE: "#5F3519",
    AMBER: "#C98A1B",
}
#: Matplotlib's settings while pictures are drawn.
SETTINGS: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor", "axes.edgecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), PAPER),
}


def use(colours: dict[str, str]) -> None:
    """Let the names of the colours stand for these from now on."""
    known = get_named_colors_mapping()
    for name, colour in colours.items():  # one by one: each forgets what Matplotlib looked up
        known[name] = colour


use(LIGHT)


@contextmanager
def dark() -> Iterator[None]:
    """Draw and write pictures for a dark page in here."""
    use(DARK)
    try:
        yield
    finally:
        use(LIGHT)


def write(picture: Callable[[], Figure], path: Path) -> None:
    """Draw a picture for light pages, and for dark ones: ``name.png`` and ``name-dark.png``."""

    def draw(path: Path) -> None:
        with rc_context(SETTINGS):
            picture().savefig(path, dpi=200, bbox_inches="tight")

    draw(path)
    with dark():
        draw(path.with_stem(f"{path.stem}-dark"))
