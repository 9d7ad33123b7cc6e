"""Draws the pictures of the documentation: ``python -m pictures FOLDER``, in docs."""

from __future__ import annotations

from pathlib import Path

from anydrop.demo.pictures import style
from pictures import converted, explained, gallery, house, monte_carlo, one_mask

PICTURES = (
    one_mask.one_mask,
    explained.scaling,
    explained.stream,
    explained.independent,
    explained.lanes,
    converted.converted,
    monte_carlo.monte_carlo,
    house.house,
    *gallery.PICTURES,
)


def draw(folder: Path) -> None:
    """Write every picture to a folder, for light pages and for dark ones."""
    folder.mkdir(exist_ok=True)
    for picture in PICTURES:
        style.write(picture, folder / f"{picture.__name__.replace('_', '-')}.png")
