"""The parts of the package and the imports between them, read from the source.

A part is a folder, or a file beside the folders; within the backends each counts by itself.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "helpers"))
from imports import PACKAGE, imports, modules

Edge = tuple[str, str]


def part_of(name: str) -> str:
    """Return the part of a dotted name: "core", "backends.torch", or "" for the package's own."""
    part = ""
    for word in name.split(".")[1 : 3 if name.startswith("anydrop.backends") else 2]:
        place = PACKAGE.joinpath(*filter(None, part.split(".")), word)
        if place.is_dir() or place.with_suffix(".py").exists():
            part = f"{part}.{word}".strip(".")
    return {"__main__": "cli"}.get(part, part)


@cache
def edges() -> frozenset[Edge]:
    """Return which part imports from which, the backends' parts one by one."""
    found = set()
    for module, path in modules():
        part = part_of(f"anydrop.{module}")
        targets = {part_of(name) for name in imports(path) if name.split(".")[0] == "anydrop"}
        found |= {(part, target) for target in targets - {part}}
    return frozenset(edge for edge in found if "_version" not in edge)  # only a constant


@cache
def edges_between_floors() -> frozenset[Edge]:
    """Return the same with all backends as one part."""
    outer = {(part.split(".")[0], target.split(".")[0]) for part, target in edges()}
    return frozenset((part, target) for part, target in outer if part != target)


def floors() -> list[list[str]]:
    """Return the parts from the top floor down, each as high as the parts that import it allow."""
    parts = {part for edge in edges_between_floors() for part in edge}
    result: list[list[str]] = []
    while parts:
        imported_by_others = {target for part, target in edges_between_floors() if part in parts}
        if not (free := parts - imported_by_others):
            raise ValueError(f"these parts import each other: {sorted(parts)}")
        result.append(sorted(free))
        parts -= free
    return result


def rows_of_backends() -> list[list[str]]:
    """Return the parts of the backends: shared ones, the libraries' folders, and those above."""
    libraries = {f"backends.{path.parent.name}" for path in PACKAGE.glob("backends/*/backend.py")}
    parts = {part for edge in edges() for part in edge if part.startswith("backends")} - libraries
    above = {part for part in parts if (part, "backends.base") in edges()} | {"backends"}

    def beside(row: set[str]) -> list[str]:  # so that who imports from the same row is next to it
        inside = [edge for edge in edges() if row.issuperset(edge)]
        return sorted(row, key=lambda r: (all(r not in e for e in inside), r))

    first, second, *others = beside(parts - above)  # the first one imports from both its neighbours
    return [[second, first, *others], beside(libraries), beside(above)]


def name_of(part: str) -> str:
    """Return what a part is called on the page: a folder's name ends with a slash."""
    last = part.rpartition(".")[2]
    return f"{last}/" if PACKAGE.joinpath(*part.split(".")).is_dir() else f"{last}.py"


def purpose(part: str) -> str:
    """Return the first line of a part's docstring."""
    place = PACKAGE.joinpath(*part.split(".")) if part else PACKAGE
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return docstring.partition("\n")[0].replace("`", "").rstrip(".")
