"""Plots of a run: time by size, the roofline, and the size from which threads pay off."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import names
from contest import Key, times_of
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from anydrop.demo.pictures import style
from anydrop.demo.pictures.style import BLUE, FAINT, GREEN, INK, ORANGE, PINK, QUIET

DTYPES = {"float16": PINK, "float32": BLUE, "float64": GREEN}
SIZES = {"float16": 2, "float32": 4, "float64": 8}
LARGE = 2**24

Seconds = Mapping[Key, Mapping[str, Any]]


def draw(found: dict[str, Any], folder: Path) -> None:
    """Write all plots of a run to a folder, for light and dark pages."""
    seconds: Seconds = {one.key: one.seconds for one in times_of(found)}
    figures = {
        "bench-sizes": partial(sizes, seconds),
        "bench-crossover": partial(crossover, seconds, found["crossover"]),
    }
    native = found["processors"]["native"]
    dots = {dtype: Key("numpy", "forward", LARGE, dtype, 0.1) for dtype in DTYPES}
    # NumPy multiplies float16 in software, so its time says nothing about the memory.
    if any(dots[dtype] in seconds for dtype in ("float32", "float64")):
        at = {dtype: seconds[key] for dtype, key in dots.items() if key in seconds}
        figures["bench-roofline"] = partial(roofline, at, native, found["machine"])
    for name, figure in figures.items():
        style.write(figure, folder / f"{name}.png")


def plain(axis: Axes, title: str) -> None:
    """Remove the frame except for the axes, and set the title."""
    axis.set_title(title, fontsize=10.5, color=INK, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(visible=True, color=FAINT, linewidth=0.7)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=9, colors=INK)


def count(n: float, _: Any = None) -> str:
    """Return a short text for a number of elements."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if n >= size:
            return f"{n / size:.3g}{letter}"
    return f"{n:.0f}"


LINES = {
    "NumPy": {
        ("numpy", names.EXPRESSION): ("NumPy's expression", QUIET, "-"),
        ("numpy", names.PLAIN): ("anydrop without numba", BLUE, ":"),
        ("numpy", names.OURS): ("anydrop", BLUE, "-"),
        ("numpy", names.INTO): ("anydrop, into a given array", BLUE, "--"),
        ("numpy", names.MULTIPLY): ("a multiply, into a given array", ORANGE, "--"),
    },
    "PyTorch": {
        ("torch", names.F_DROPOUT): ("F.dropout", QUIET, "-"),
        ("torch", names.OURS): ("anydrop", BLUE, "-"),
        ("torch", names.MULTIPLIED): ("a multiply", ORANGE, "-"),
    },
    "JAX, under jit": {
        ("jax", names.THREEFRY): ("bernoulli, threefry", QUIET, "-"),
        ("jax", names.RBG): ("bernoulli, rbg", QUIET, "--"),
        ("jax", names.OURS): ("anydrop", BLUE, "-"),
        ("jax", names.MULTIPLIED): ("a multiply", ORANGE, "-"),
    },
}


def sizes(seconds: Seconds) -> Figure:
    """Plot the nanoseconds per element by size for each library."""
    figure = Figure(figsize=(9, 4.4))
    rows = figure.subplots(1, 3, sharey=True)
    for axis, (title, lines) in zip(rows, LINES.items(), strict=True):
        plain(axis, title)
        for (group, name), (label, colour, dashes) in lines.items():
            points = sorted(
                (key.elements, one[name].median / key.elements * 1e9)
                for key, one in seconds.items()
                if key[:2] == (group, "forward") and key[3:] == ("float32", 0.1)
            )
            if points:
                line = {"color": colour, "linestyle": dashes, "marker": "o", "ms": 3.5}
                axis.plot(*zip(*points, strict=True), label=label, **line)
        axis.set(xscale="log", yscale="log", xlabel="elements")
        axis.xaxis.set_major_formatter(FuncFormatter(count))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        if axis.lines:
            below = {"loc": "upper left", "bbox_to_anchor": (-0.03, -0.19)}
            axis.legend(fontsize=8.5, frameon=False, **below)
    figure.axes[0].set_ylabel("nanoseconds per element")
    figure.suptitle("Forward pass, float32, p = 0.1", fontsize=12, color=INK, x=0.01, ha="left")
    figure.tight_layout()
    return figure


def roofline(at: Mapping[str, Any], kernel: dict[str, float], machine: dict[str, str]) -> Figure:
    """Plot elements per second by elements per byte, with the roofs of memory and arithmetic."""
    threads = int(machine["threads"].split()[0])
    figure = Figure(figsize=(7.2, 4.6))
    axis = figure.subplots()
    plain(axis, f"Roofline: {LARGE / 1e6:.1f}M elements into a given array, {threads} threads")
    # Three arrays move: x is read, and each cache line of y is read before it is written.
    moved = {dtype: 3 * size for dtype, size in SIZES.items()}
    bandwidth = max(
        moved[dtype] * LARGE / one[names.MULTIPLY].median
        for dtype, one in at.items()
        if dtype != "float16"
    )
    span = [1 / 40, 1 / 3]
    axis.plot(span, [bandwidth * x / 1e9 for x in span], color=ORANGE, linewidth=2)
    axis.annotate(
        f"memory: {bandwidth / 1e9:.0f} GB/s, as a multiply reaches",
        (span[1], bandwidth * span[1] / 1e9),
        xytext=(-16, -4),
        textcoords="offset points",
        ha="right",
        color=ORANGE,
        fontsize=9,
    )
    for dtype, one in at.items():
        colour, x = DTYPES[dtype], 1 / moved[dtype]
        roof = threads / kernel[dtype]
        axis.hlines(roof, x / 1.45, x * 1.45, color=colour, linewidth=2)
        axis.annotate(
            f"arithmetic, {dtype}",
            (x, roof),
            xytext=(0, 5),
            textcoords="offset points",
            ha="center",
            color=colour,
            fontsize=9,
        )
        y = LARGE / one[names.INTO].median / 1e9
        reached = y / min(roof, bandwidth * x / 1e9)
        axis.plot(x, y, "o", color=colour, ms=9)
        axis.annotate(
            f"{y:.1f} billion elements/s\n{reached:.0%} of the lower roof",
            (x, y),
            xytext=(11, -22),
            textcoords="offset points",
            color=colour,
            fontsize=9,
        )
    axis.set(xscale="log", yscale="log", xlabel="elements per byte of memory traffic")
    axis.set_ylabel("10⁹ elements per second")
    ticks = [1 / moved[dtype] for dtype in at]
    axis.set_xticks(ticks, [f"1/{moved[dtype]}\n{dtype}" for dtype in at])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axis.yaxis.set_minor_formatter(FuncFormatter(lambda y, _: f"{y:g}" if y in (2, 5) else ""))
    axis.set(xlim=span, ylim=(axis.get_ylim()[0] * 0.75, None))
    figure.tight_layout()
    return figure


def crossover(seconds: Seconds, shared: int) -> Figure:
    """Plot the speed-up of all threads over one by size, for both kernels.

    `shared` is the number of elements from which numba's kernels use several threads.
    """
    figure = Figure(figsize=(9, 3.4))
    kernels = ("numba", "NumPy")
    for axis, kernel in zip(figure.subplots(1, 2, sharey=True), kernels, strict=True):
        plain(axis, f"{kernel} kernels")
        axis.axhline(1, color=INK, linewidth=1)
        if kernel == "numba":
            axis.axvline(shared, color=QUIET, linewidth=1, linestyle="--")
            axis.annotate(
                "several threads from here on",
                (shared, 0.03),
                xycoords=("data", "axes fraction"),
                xytext=(4, 0),
                textcoords="offset points",
                fontsize=8.5,
                color=QUIET,
            )
        for dtype, colour in DTYPES.items():
            points = sorted(
                (key.elements, one[names.ONE].median / one[names.ALL].median)
                for key, one in seconds.items()
                if key[:2] == ("crossover", kernel) and key.dtype == dtype
            )
            if points:
                axis.plot(*zip(*points, strict=True), color=colour, marker="o", ms=3.5)
                axis.lines[-1].set_label(dtype)
        axis.set(xscale="log", xlabel="elements")
        axis.xaxis.set_major_formatter(FuncFormatter(count))
        axis.legend(fontsize=8, frameon=False, loc="upper left")
    figure.axes[0].set_ylabel("speed-up by all threads")
    figure.tight_layout()
    return figure
