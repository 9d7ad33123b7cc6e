"""The masks at work: what the network sees of one digit at successive steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgba

from anydrop.demo import pictures
from anydrop.demo.data import Host
from anydrop.demo.network import Perceptron
from anydrop.demo.pictures import style
from anydrop.demo.training import Library

Cell = tuple[Host, Host]
STEPS = 5
#: The darkest colour and the labels of each row.
ROWS = (
    (style.FAINT, "keep mask", "of the 64 pixels"),
    (style.INK, "input", "survivors are\nscaled up"),
    (pictures.WITH, "hidden layer", "256 units, the\nactive ones blue"),
)


def draw(network: Perceptron, image: Host, library: Library, path: Path) -> None:
    """Draw the input, its mask and the first hidden layer, at inference and in training.

    The steps of the network's dropout layers start again at 0.
    """
    for layer in network.dropouts:
        layer.step = 0
    columns = [_forward(network, image, library, t > 0) for t in range(1 + STEPS)]
    brightest = max(column[-1][0].max() for column in columns)

    on_input, on_hidden = network.dropouts[:2]
    made = pictures.figure(
        5.3,
        "Every training step trains another thinned network",
        "One digit at successive steps. In orange what is dropped: "
        f"pixels with p = {on_input.p:g}, hidden units with p = {on_hidden.p:g}.",
    )
    grid = made.add_gridspec(
        3, 1 + STEPS, left=0.178, right=0.965, bottom=0.03, top=0.765, wspace=0.1, hspace=0.1
    )
    for i, (darkest, head, text) in enumerate(ROWS):
        made.text(0.038, 0.685 - i / 4, head, weight="bold", color=style.INK)
        made.text(0.038, 0.67 - i / 4, text, size=style.SMALL, va="top")
        colours = LinearSegmentedColormap.from_list("", [style.PAPER, darkest])
        for t, column in enumerate(columns):
            values, keep = column[i]
            # The square root makes faint units visible.
            shades = colours(np.minimum(values, 1) if i < 2 else (values / brightest) ** 0.5)
            shades[~keep] = to_rgba(style.AMBER)
            axes = made.add_subplot(grid[i, t])
            axes.pcolormesh(shades, edgecolor=style.PAPER, linewidth=0.4)
            axes.set(aspect="equal", ylim=(len(values), 0))
            pictures.frame(axes)
            if i == 0:
                axes.set_title(f"step {t - 1}" if t else "inference")
    made.savefig(path)


def _forward(network: Perceptron, image: Host, library: Library, training: bool) -> list[Cell]:
    """Return the values and the keep mask of each row, as squares."""
    rows, to_numpy = [], library.backend.to_numpy
    shown = network.activations(library.move(image), training)[:2]
    for layer, x in zip(network.dropouts, shown, strict=False):
        values = to_numpy(x)
        keep = to_numpy(layer.mask) if training else np.ones_like(values, bool)
        square = 2 * (round(values.size**0.5),)
        rows.append((values.reshape(square), keep.reshape(square)))
    return [(np.ones(rows[0][0].shape), rows[0][1]), *rows]
