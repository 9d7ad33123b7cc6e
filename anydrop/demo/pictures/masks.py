"""The masks at work: what one digit looks like to the network at successive steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgba

from anydrop.demo.data import Host
from anydrop.demo.library import Library
from anydrop.demo.network import Network
from anydrop.demo.pictures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEPS = 5
_PIXEL = LinearSegmentedColormap.from_list("pixel", ["#FFFFFF", style.INK])
_UNIT = LinearSegmentedColormap.from_list("unit", ["#FFFFFF", style.WITH])
_MASK = LinearSegmentedColormap.from_list("mask", ["#FFFFFF", "#CFCFCF"])


class Pass(NamedTuple):
    """What one forward pass of a digit looks like, each as a square of NumPy numbers."""

    title: str
    keep_pixels: Host
    pixels: Host
    keep_units: Host
    units: Host


def draw(network: Network, image: Host, library: Library, path: Path) -> Path:
    """Draw the input, its mask and the first hidden layer, at inference and in training.

    Parameters
    ----------
    network : Network
        A trained one. The steps of its dropout layers start again at 0.
    image : array of shape (1, 64)
        A digit.
    library : Library
        Where the network is.
    path : Path
        Of the PNG.

    Returns
    -------
    Path
        `path`.
    """
    for layer in network.dropouts:
        layer.step = 0
    passes = [_forward(network, image, library, training=False)]
    passes += [_forward(network, image, library, training=True) for _ in range(STEPS)]
    brightest = float(max(one.units.max() for one in passes))

    on_input, on_hidden = network.dropouts[:2]
    made = style.figure(
        9.2,
        5.3,
        "Every training step trains another thinned network",
        "One digit at successive steps. In orange what is dropped: "
        f"pixels with p = {on_input.p:g}, hidden units with p = {on_hidden.p:g}.",
    )
    grid = made.add_gridspec(
        3, 1 + STEPS, left=0.178, right=0.965, bottom=0.03, top=0.765, wspace=0.1, hspace=0.1
    )
    for column, one in enumerate(passes):
        mask, pixels, units = (made.add_subplot(grid[row, column]) for row in range(3))
        mask.set_title(one.title, size=style.TEXT, color=style.INK, pad=6)
        _squares(mask, np.ones_like(one.pixels), one.keep_pixels, _MASK)
        _squares(pixels, one.pixels, one.keep_pixels, _PIXEL)
        _squares(units, (one.units / brightest) ** 0.5, one.keep_units, _UNIT)
    for y, head, text in (
        (0.685, "keep mask", "of the 64 pixels"),
        (0.435, "input", "survivors are\nscaled up"),
        (0.185, "hidden layer", "256 units, the\nactive ones blue"),
    ):
        made.text(0.038, y, head, size=style.TEXT, weight="bold", color=style.INK)
        made.text(0.038, y - 0.015, text, size=style.SMALL, color=style.QUIET, va="top")
    return style.save(made, path)


def _forward(network: Network, image: Host, library: Library, *, training: bool) -> Pass:
    """Send a digit through the input's dropout, an affine layer, a ReLU and another dropout."""
    on_input, affine, relu, on_hidden, *_ = network.layers
    step = network.dropouts[0].step
    x = on_input.forward(library.move(image), training)
    h = on_hidden.forward(relu.forward(affine.forward(x, training), training), training)
    pixels, units = (_square(library.to_numpy(y)) for y in (x, h))
    if not training:
        return Pass("inference", pixels >= 0, pixels, units >= 0, units)
    keep_pixels, keep_units = (
        _square(library.to_numpy(layer.mask)) for layer in network.dropouts[:2]
    )
    return Pass(f"step {step}", keep_pixels, pixels, keep_units, units)


def _square(values: Host) -> Host:
    side = round(values.size**0.5)
    return values.reshape(side, side)


def _squares(axes: Axes, values: Host, keep: Host, colours: LinearSegmentedColormap) -> None:
    shades = colours(np.minimum(values, 1.0))
    shades[~keep] = to_rgba(style.DROPPED)
    axes.imshow(shades, interpolation="nearest")
    edges = np.arange(1, len(values)) - 0.5
    axes.vlines(edges, -0.5, len(values) - 0.5, color="white", linewidth=0.8)
    axes.hlines(edges, -0.5, len(values) - 0.5, color="white", linewidth=0.8)
    style.bare(axes)
    axes.spines[:].set(visible=True, color=style.FAINT)
