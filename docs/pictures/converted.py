"""The picture of a converted model: its masks, beside those of the same places in JAX and NumPy."""

from __future__ import annotations

import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import torch
from matplotlib.figure import Figure

import anydrop
import anydrop.torch
from anydrop.demo.pictures.style import INK, TEXT
from pictures.panels import kept_in_blue, legend, show, under

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import transformer
import transformer_torch

STEPS = 3


def masks() -> dict[str, tuple[np.ndarray, ...]]:
    """Return the masks of a transformer's first layer, in the last step: PyTorch, JAX, NumPy.

    PyTorch's model is converted and trained. In JAX the function draws, from the seed of the same
    place and the step, and in NumPy the layers of the same network.
    """
    torch.manual_seed(0)
    model = transformer_torch.Classifier().double()
    anydrop.torch.convert(model, seed=0)
    converted = transformer_torch.watched(model)
    for _ in transformer_torch.train(model, STEPS):
        pass
    sizes = (transformer_torch.LAYERS, transformer_torch.HEADS, transformer_torch.P)
    layers = anydrop.seed_layers(transformer.Classifier(*sizes), 0)
    found = {}
    for name, theirs in converted.items():
        if name.startswith("layers.0."):
            layer, ones = layers[name], jnp.ones(theirs.shape)
            function = anydrop.dropout(ones, layer.p, seed=layer.seed, step=STEPS - 1)
            for _ in range(STEPS):
                ours = layer(np.ones(theirs.shape))
            found[name] = theirs, np.asarray(function) != 0, ours != 0
    return found


def converted() -> Figure:
    """Draw each mask three times: a row is a place in the model, a column a library."""
    found = masks()
    figure = Figure(figsize=(6.4, 6.6))
    rows = figure.subplots(len(found), 3, gridspec_kw={"hspace": 0.6, "wspace": 0.1})
    for axes, (name, three) in zip(rows, found.items(), strict=True):
        for axis, keep in zip(axes, three, strict=True):
            # Attention has a mask for each head: they stand side by side.
            heads = keep.reshape(-1, *keep.shape[-2:])
            show(axis, kept_in_blue(np.concatenate(heads, axis=1)))
            under(axis, f"SHA-256 {anydrop.masks.mask.digest(keep)[:10]}")
        axes[0].set_title(name, fontsize=TEXT, color=INK, loc="left", family="monospace")
    for axis, title in zip(rows[0], ("PyTorch, converted", "JAX", "NumPy"), strict=True):
        style = {"fontsize": TEXT + 1, "weight": "bold", "color": INK, "ha": "center"}
        axis.text(0.5, 1.5, title, transform=axis.transAxes, **style)
    legend(figure, 0.08)
    return figure
