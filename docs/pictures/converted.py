"""The picture of a converted model: its masks beside those of the same network in NumPy."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

import anydrop
from pictures.style import BLUE, INK, ORANGE, SMALL, TEXT, fates, show, under

EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))
import transformer  # noqa: E402

STEPS = 3


def converted() -> Figure:
    """Draw each mask of a transformer's first layer twice, from PyTorch and from NumPy.

    PyTorch need not be here: examples/transformer_torch.py wrote its masks to a file.
    """
    saved = json.loads((EXAMPLES / "transformer_masks.json").read_text(encoding="utf-8"))
    layers = anydrop.seed_layers(transformer.Classifier(layers=2, heads=2, p=0.2), 0)
    figure = Figure(figsize=(4.8, 6.4))
    rows = figure.subplots(len(saved), 2, gridspec_kw={"hspace": 0.62, "wspace": 0.08})
    for axes, (name, mask) in zip(rows, saved.items(), strict=True):
        theirs = np.asarray([digit == "1" for digit in mask["kept"]]).reshape(mask["shape"])
        for _ in range(STEPS):
            ours = layers[name](np.ones(theirs.shape)) != 0
        for axis, keep in zip(axes, (theirs, ours), strict=True):
            # Attention has a mask for each head: they stand side by side.
            show(axis, fates(np.concatenate(keep.reshape(-1, 8, keep.shape[-1]), axis=1)))
            under(axis, f"SHA-256 {anydrop.masks.mask.digest(keep)[:10]}")
        axes[0].set_title(name, fontsize=TEXT, color=INK, loc="left", family="monospace")
    for axis, title in zip(rows[0], ("PyTorch, converted", "NumPy"), strict=True):
        style = {"fontsize": TEXT + 1, "weight": "bold", "color": INK, "ha": "center"}
        axis.text(0.5, 1.45, title, transform=axis.transAxes, **style)
    figure.legend(
        handles=[Patch(color=BLUE, label="kept"), Patch(color=ORANGE, label="dropped")],
        loc="lower center",
        bbox_to_anchor=(0.51, 0.035),
        ncols=2,
        frameon=False,
        fontsize=SMALL,
    )
    return figure
