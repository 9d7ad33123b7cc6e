"""The picture on the first page: one mask, drawn in many ways."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import anydrop
from anydrop.demo.pictures.style import INK, TEXT, TITLE
from pictures.panels import kept_in_blue, legend, show, under

SIZE, COLUMNS = (16, 16), 4
#: A library, and an array of it, from which `like` learns where to draw.
LIKE: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "PyTorch": ("torch", lambda torch: torch.empty(0)),
    "JAX": ("jax.numpy", lambda jnp: jnp.empty(0)),
    "array-api-strict": ("array_api_strict", lambda xp: xp.empty(0)),
}


def ways_to_draw() -> dict[str, np.ndarray]:
    """Return the same mask, drawn in every way that is found here."""
    mask = anydrop.Mask.from_seed(SIZE, 0.5, seed=0)
    kernels = {"numba": "NumPy,\nwith numba", "chunked NumPy": "NumPy,\nwithout numba"}
    ways = {
        kernels[backend.kernel]: backend.to_numpy(backend.keep(mask, like))
        for backend, like in anydrop.resolve(np.empty(0)).probes()
    }
    for name, (module, like) in LIKE.items():
        try:
            library = import_module(module)
        except ImportError:
            continue  # one way less: the picture shows what is here
        keep = mask.keep(like=like(library))
        ways[name] = anydrop.resolve(keep).to_numpy(keep)
    tiles = np.empty(SIZE, bool)
    for rows in (slice(0, 5), slice(5, 16)):
        for columns in (slice(0, 10), slice(10, 16)):
            window = anydrop.Window((rows.start, columns.start), SIZE)
            tile = tiles[rows, columns]
            part = anydrop.Mask.from_seed(tile.shape, 0.5, seed=0, window=window)
            tiles[rows, columns] = part.keep(like=np.empty(0))
    ways["four parts,\neach drawn alone"] = tiles
    dropped = anydrop.dropout(np.ones(SIZE, order="F"), 0.5, seed=0)
    ways["Fortran order"] = dropped != 0
    return ways


def one_mask() -> Figure:
    """Show that every way gives the same mask, and the next step another one."""
    ways = ways_to_draw()
    following = anydrop.Mask.from_seed(SIZE, 0.5, seed=0, step=1).keep(like=np.empty(0))
    drawn = [*ways.items(), ("the next step:\nanother mask", following)]
    rows = -(-len(drawn) // COLUMNS)
    height = 0.55 + 2.1 * rows
    figure = Figure(figsize=(5.8, height))
    grid = {"hspace": 0.42, "wspace": 0.12, "left": 0.01, "right": 0.99}
    grid |= {"top": 1 - 1.1 / height, "bottom": 0.25 / height}
    axes = figure.subplots(rows, COLUMNS, gridspec_kw=grid).flat
    for axis, (name, keep) in zip(axes, drawn, strict=False):
        show(axis, kept_in_blue(keep), lines=0)
        axis.set_title(name, fontsize=TEXT, color=INK)
        under(axis, anydrop.masks.mask.digest(keep)[:12], family="monospace")
    figure.suptitle(
        f"One seed, one mask: {len(ways)} ways, the same SHA-256",
        fontsize=TITLE - 1,
        weight="bold",
        color=INK,
        y=0.995,
    )
    legend(figure, 0.945)
    return figure
