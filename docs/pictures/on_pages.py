"""Puts pictures on pages: the light and the dark one, in a box that scrolls where it is narrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagesize
from docutils import nodes
from sphinx.transforms import SphinxTransform

#: What a picture has at most to fit on a phone with readable text, in CSS pixels.
NARROW = 630


class LightAndDark(SphinxTransform):
    """Make two images of each that has a dark twin, ``name-dark.png``; furo shows one of them."""

    default_priority = 200

    def apply(self, **_: Any) -> None:
        """Replace every such image of a page."""
        for image in list(self.document.findall(nodes.image)):
            relative, absolute = self.env.relfn2path(image["uri"], self.env.docname)
            path = Path(absolute)
            if not path.with_stem(f"{path.stem}-dark").exists():
                continue
            self.env.note_dependency(relative)
            width = imagesize.get(path)[0] // 2  # there are two pixels for each of a page's
            box = nodes.container(classes=["picture", *(["wide"] if width > NARROW else [])])
            image["width"] = f"{width}px"
            dark = image.copy()
            dark["uri"] = str(Path(image["uri"]).with_stem(f"{path.stem}-dark"))
            image.replace_self(box)
            image["classes"].append("only-light")
            dark["classes"] = [*dark["classes"], "only-dark"]
            dark["ids"], dark["names"] = [], []
            box += [image, dark]
