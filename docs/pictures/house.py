"""The picture of "How it is built": the parts of the package and the imports between them."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from anydrop.backends import registered
from anydrop.demo.pictures.style import BLUE, GREEN, GREY, INK, ORANGE, SMALL, TEXT
from pictures.panels import colours
from pictures.parts import edges, edges_between_floors, floors, name_of, purpose, rows_of_backends

# In inches: a floor's box, what is between the parts of one floor and between floors, and lanes.
WIDE, HIGH, NEAR, FAR, LANE = 6.1, 0.5, 0.07, 0.24, 0.28
# Within the backends: the box of a part, what is between two, and how high its rows are.
SMALL_BOX, GAP, ROWS = 0.36, 0.14, (0.14, 1.04, 1.84)


class Box(NamedTuple):
    """A part on the page."""

    x: float
    y: float
    width: float
    height: float
    colour: str

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        return self.y + self.height

    def draw(self, axis: Axes, tint: float) -> None:
        style = {"boxstyle": "round,pad=0,rounding_size=0.07", "linewidth": 1.2, "zorder": 2}
        corner, fill = (self.x, self.y), to_hex(colours(tint, self.colour))
        patch = FancyBboxPatch(
            corner, self.width, self.height, facecolor=fill, edgecolor=self.colour, **style
        )
        axis.add_patch(patch)


def arrow(
    axis: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, **style: object
) -> None:
    """Draw an import."""
    given = {"arrowstyle": "-|>", "mutation_scale": 9, "linewidth": 1.4, "zorder": 4, **style}
    axis.add_patch(FancyArrowPatch(start, end, color=colour, shrinkA=0, shrinkB=0, **given))


def placed() -> dict[str, Box]:
    """Return the box of each part, from the top floor down."""
    levels, boxes, y = floors(), {}, 0.0
    for level, parts in enumerate(levels):
        share = level / max(len(levels) - 1, 1)
        pairs = zip(to_rgb(GREEN), to_rgb(BLUE), strict=True)
        colour = to_hex([(1 - share) * green + share * blue for green, blue in pairs])
        for i, part in enumerate(parts):
            height = ROWS[-1] + SMALL_BOX + HIGH if part == "backends" else HIGH
            y -= height + (0 if not boxes else NEAR if i else FAR)
            boxes[part] = Box(0, y, WIDE, height, colour)
    return boxes


def house() -> Figure:
    """Draw a box for each part, and to the right a lane to each part that others import from."""
    boxes, outer = placed(), edges_between_floors()
    lanes = {part: WIDE + LANE for part in boxes if any(target == part for _, target in outer)}
    lanes = {part: x + LANE * i for i, (part, x) in enumerate(lanes.items())}
    width, depth = WIDE + LANE * (len(lanes) + 1), -min(box.y for box in boxes.values())
    figure = Figure(figsize=(8.6, 8.6 * depth / width))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(-0.05, width), ylim=(-depth - 0.05, 0.05))
    axis.axis("off")
    leaves = {part: box.top - HIGH / 2 + 0.09 for part, box in boxes.items()}
    enters = {part: box.top - HIGH / 2 - 0.11 for part, box in boxes.items()}
    for part, box in boxes.items():
        box.draw(axis, 0.1)
        y, name = box.top - HIGH / 2, name_of(part) if part else "anydrop"
        axis.text(0.14, y, name, va="center", weight="bold", fontsize=TEXT, color=INK)
        text = "" if part == "backends" else textwrap.fill(purpose(part), 58)
        axis.text(1.5, y, text, va="center", fontsize=SMALL, color=INK)
        targets = [target for target in lanes if (part, target) in outer]
        if targets:
            last = max(lanes[target] for target in targets)
            axis.plot([WIDE, last], [leaves[part]] * 2, color=GREY, lw=1.1, zorder=0)
        for target in targets:
            axis.plot(lanes[target], leaves[part], "o", ms=5, color=boxes[target].colour, zorder=3)
    for part, x in lanes.items():
        start = max(leaves[other] for other, target in outer if target == part)
        axis.plot([x, x], [start, enters[part]], color=boxes[part].colour, lw=1.6, zorder=1)
        arrow(axis, (x, enters[part]), (WIDE, enters[part]), boxes[part].colour, linewidth=1.6)
    draw_backends(axis, boxes["backends"])
    draw_legend(axis, WIDE + 0.3, boxes["backends"].y)
    return figure


def draw_backends(axis: Axes, outside: Box) -> None:
    """Draw the libraries' folders between the parts that they share and those above them."""
    shared, libraries, above = rows = rows_of_backends()
    boxes: dict[str, Box] = {}
    for y, parts in zip(ROWS, rows, strict=True):
        step = (WIDE - GAP) / len(parts)
        for i, part in enumerate(parts):
            place = GAP + i * step, outside.y + y, step - GAP, SMALL_BOX
            boxes[part] = box = Box(*place, outside.colour)
            box.draw(axis, 0.0 if part in libraries else 0.25)
            name = "__init__.py, the registry" if part == "backends" else name_of(part)
            style = {"ha": "center", "va": "center", "color": INK, "zorder": 5}
            axis.text(box.middle, box.y + SMALL_BOX / 2, name, fontsize=TEXT, **style)
    # Where a part's imports leave it: those above the libraries pass between two of them.
    leaves = {part: boxes[part].middle for part in libraries}
    leaves |= {r: boxes[libraries[-1 - i]].x - GAP / 2 for i, r in enumerate(above)}
    for i, target in enumerate(t for t in shared if any((r, t) in edges() for r in leaves)):
        y, colour = boxes[target].top + 0.16 + 0.12 * i, outside.colour
        importers = [r for r in leaves if (r, target) in edges()]
        ends = [boxes[target].middle + 0.2, *(leaves[r] for r in importers)]
        axis.plot([min(ends), max(ends)], [y, y], color=colour, lw=1.4, zorder=3)
        arrow(axis, (ends[0], y), (ends[0], boxes[target].top), colour)
        for part in importers:
            axis.plot([leaves[part]] * 2, [boxes[part].y, y], color=GREY, lw=1.1, zorder=2.5)
            axis.plot(leaves[part], y, "o", ms=4, color=colour, zorder=4)
    for part, target in edges():
        colour = ORANGE if part in libraries else outside.colour
        if any({part, target} <= set(row) for row in rows):
            left, right = sorted((boxes[part], boxes[target]))
            y = left.y + SMALL_BOX / 2
            ends = [(left.x + left.width, y), (right.x, y)]
            arrow(axis, *(ends if boxes[part] is left else ends[::-1]), colour)
        elif part in libraries and target in above:
            x = boxes[part].middle + 0.15
            arrow(axis, (x, boxes[part].top), (x, boxes[target].y), colour)
    for part in libraries:
        if any(path.startswith(f"anydrop.{part}.") for path in registered().values()):
            x = boxes[part].middle - 0.15 * ((part, "backends") in edges())
            ends = (x, boxes["backends"].y), (x, boxes[part].top)
            arrow(axis, *ends, INK, linewidth=1, linestyle=(0, (3, 2)))


def draw_legend(axis: Axes, x: float, y: float) -> None:
    """Say what the lines are."""
    lines = {
        "a dot: this imports from\nwhere the arrow ends": {"color": BLUE, "marker": "o", "ms": 5},
        "an exception": {"color": ORANGE, "lw": 1.8},
        "loaded by its name, at\nthe first array": {"color": INK, "lw": 1, "ls": (0, (3, 2))},
    }
    for i, (text, style) in enumerate(reversed(lines.items())):
        axis.plot([x, x + 0.15, x + 0.3], [y + 0.2 + 0.45 * i] * 3, markevery=[1], **style)
        axis.text(x + 0.4, y + 0.2 + 0.45 * i, text, fontsize=SMALL, va="center", color=INK)
