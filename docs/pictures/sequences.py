"""Pictures of what drops in sequences: features, states, words and tokens."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

import anydrop
from anydrop.demo.pictures.style import BLUE, GREY, INK, ORANGE, PALE, PAPER, QUIET, SMALL, TEXT
from pictures.panels import (
    WIDTH,
    arrows,
    bare,
    colours,
    kept_and_dropped,
    kept_in_blue,
    panels,
    show,
    under,
    with_dropped,
)

STEPS, FEATURES = 14, 9


def series() -> np.ndarray:
    """Return features over time, of shape (1, time, features) and between 0 and 1."""
    time = np.arange(STEPS)[:, None]
    speeds = np.linspace(0.25, 1.1, FEATURES)
    return (0.55 + 0.4 * np.sin(speeds * time + np.arange(FEATURES)))[None]


def locked() -> Figure:
    """Drop the same features at all time steps, beside plain dropout's mask."""
    x, p = series(), 0.4
    y, mask = anydrop.locked_dropout(x, p, time_axis=1, seed=8, return_mask=True)
    keep = np.broadcast_to(mask.keep(like=x), x.shape)[0]
    plain = anydrop.dropout(x, p, seed=8)[0] != 0
    figure, (axes,) = panels(2.4, (1, 1, 1, 1), gap=0.3)
    show(axes[0], colours(x[0].T, top=1.7), "input", aspect="auto")
    show(axes[1], kept_in_blue(keep.T), "locked mask", aspect="auto")
    show(axes[2], with_dropped(colours(y[0].T, top=1.7), keep.T), "output", aspect="auto")
    show(axes[3], kept_in_blue(plain.T), "plain mask", aspect="auto")
    axes[0].set_ylabel("features", fontsize=SMALL)
    under(axes[0], "time \N{RIGHTWARDS ARROW}")
    kept_and_dropped(axes[1])
    under(axes[3], "changes at each step", ORANGE)
    arrows(figure, axes[:3])
    return figure


def zoneout() -> Figure:
    """Let the units of a state keep their value for a while."""
    proposed = series()[0]
    layer = anydrop.Zoneout(0.3, seed=1)
    state, states, taken = np.zeros(FEATURES), [], []
    for update in proposed:
        state = layer(update, state)
        states.append(state)
        taken.append(layer.mask)
    states, taken = np.asarray(states), np.asarray(taken)
    figure, (axes,) = panels(2.4, (1, 1, 1, 1.25), gap=0.3)
    show(axes[0], colours(proposed.T, top=1.2), "new states", aspect="auto")
    show(axes[1], kept_in_blue(taken.T), "masks", aspect="auto")
    show(axes[2], colours(states.T, top=1.2), "output", aspect="auto")
    axes[0].set_ylabel("units", fontsize=SMALL)
    under(axes[0], "time \N{RIGHTWARDS ARROW}")
    kept_and_dropped(axes[1], "new", "previous")
    unit = 2
    axes[3].plot(proposed[:, unit], color=QUIET, lw=1)
    axes[3].step(range(STEPS), states[:, unit], where="mid", color=INK, lw=2)
    for new, colour in ((True, BLUE), (False, ORANGE)):
        at = np.flatnonzero(taken[:, unit] == new)
        axes[3].plot(at, states[at, unit], "o", color=colour, ms=4.5)
    bare(axes[3])
    axes[3].set_title("third unit", fontsize=TEXT, color=INK)
    under(axes[3], "thin: new states\nthick: output")
    arrows(figure, axes[:3])
    return figure


def chips(axis: Axes, words: list[str], y: float, fills: list[str], inks: list[str]) -> None:
    """Draw a line of words in boxes; one of the same index has the same place in every line."""
    for place, (word, fill, ink) in enumerate(zip(words, fills, inks, strict=True)):
        axis.add_patch(
            FancyBboxPatch(
                (place + 0.08, y),
                0.84,
                0.56,
                boxstyle="round,pad=0,rounding_size=0.1",
                facecolor=fill,
                edgecolor=GREY if fill == PAPER else fill,
            )
        )
        axis.text(place + 0.5, y + 0.27, word, ha="center", va="center", fontsize=8.5, color=ink)


def embedding() -> Figure:
    """Drop rows of an embedding table, and look a sentence up in it."""
    words = ["the", "cat", "sat", "on", "mat", "and"]
    table = np.random.default_rng(4).uniform(0.1, 1, (len(words), 8))
    y, mask = anydrop.embedding_dropout(table, 0.4, seed=1, return_mask=True)
    keep = mask.keep(like=table)
    figure = Figure(figsize=(WIDTH, 3.5))
    top, bottom = figure.subfigures(2, 1, height_ratios=(2.4, 1))
    axes = top.subplots(1, 3, gridspec_kw={"wspace": 0.3})
    show(axes[0], colours(table, top=1.7), "table", aspect="auto")
    show(axes[1], kept_in_blue(np.broadcast_to(keep, table.shape)), "mask", aspect="auto")
    show(axes[2], with_dropped(colours(y, top=1.7), keep), "output", aspect="auto")
    axes[0].set_yticks(range(len(words)), words, fontsize=SMALL)
    axes[0].tick_params(length=0)
    kept_and_dropped(axes[1])
    under(axes[0], "a row is a word")
    text = ["the", "cat", "sat", "on", "the", "mat", "and", "on", "the", "cat"]
    stays = [bool(keep[words.index(word), 0]) for word in text]
    axis = bottom.subplots()
    chips(
        axis,
        text,
        0.2,
        [PAPER if stay else PALE for stay in stays],
        [INK if stay else ORANGE for stay in stays],
    )
    axis.set(xlim=(0, len(text)), ylim=(-0.1, 1.2))
    bare(axis)
    axis.set_title("a dropped word is dropped wherever it occurs", fontsize=TEXT, color=INK, y=0.72)
    arrows(top, axes)
    return figure


def tokens() -> Figure:
    """Replace tokens of a sentence by an unknown one, and never its ends."""
    words = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", *["the", "cat", "sat", "on", "mat"]]
    text = ["[BOS]", "the", "cat", "sat", "on", "the", "mat", "[EOS]", "[PAD]"]
    ids = np.asarray([words.index(word) for word in text])
    y, mask = anydrop.token_dropout(
        ids, 0.35, token=3, protected=(0, 1, 2), seed=8, return_mask=True
    )
    keep = mask.keep(like=ids)
    protected = ids < 3
    figure = Figure(figsize=(WIDTH, 1.9))
    axis = figure.add_axes((0, 0, 1, 1))
    ends = [QUIET if end else INK for end in protected]
    chips(axis, text, 2.4, [PAPER] * len(text), ends)
    fills = [
        QUIET if end else BLUE if stay else ORANGE
        for end, stay in zip(protected, keep, strict=True)
    ]
    said = [
        "always" if end else "kept" if stay else "dropped"
        for end, stay in zip(protected, keep, strict=True)
    ]
    chips(axis, said, 1.4, fills, [PAPER] * len(text))
    chips(
        axis,
        [words[token] for token in y],
        0.4,
        [PAPER if stay else PALE for stay in keep],
        [ORANGE if not stay else ink for stay, ink in zip(keep, ends, strict=True)],
    )
    for line, name in zip((2.4, 1.4, 0.4), ("input", "mask", "output"), strict=True):
        axis.text(-0.1, line + 0.27, name, ha="right", va="center", fontsize=TEXT, color=INK)
    axis.set(xlim=(-0.7, len(text)), ylim=(0.2, 3.1))
    bare(axis)
    return figure
