"""Draws docs/images again, which the README shows: ``python -m pictures.images``, in docs.

It needs every library of ``one_mask``, and trains the demo's networks twice, for the light and the
dark picture: some minutes.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from matplotlib import rc_context

from anydrop import demo
from anydrop.demo.pictures import style
from pictures.one_mask import LIKE, one_mask, ways_to_draw

IMAGES = Path(__file__).parents[1] / "images"


def learning_curves(path: Path) -> None:
    """Run the demo, and keep its first picture."""
    with TemporaryDirectory() as folder, rc_context({"savefig.dpi": 200}):
        demo.run(out=folder)
        shutil.copy(Path(folder, "curves.png"), path)


if __name__ == "__main__":
    if missing := LIKE.keys() - ways_to_draw().keys():
        raise SystemExit(f"install these first: {', '.join(sorted(missing))}")
    with rc_context(style.SETTINGS):
        one_mask().savefig(IMAGES / "one-mask.png", dpi=200, bbox_inches="tight")
    learning_curves(IMAGES / "learning-curves.png")
    with style.dark():
        learning_curves(IMAGES / "learning-curves-dark.png")
