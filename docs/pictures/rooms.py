"""The rooms of the package and who imports from whom, read from the source.

A room is a folder, or a file beside the folders; within the backends each is a room of its own.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "helpers"))
from imports import PACKAGE, imports, modules

Edge = tuple[str, str]


def room_of(name: str) -> str:
    """Return the room of a dotted name: "core", "backends.torch", or "" for the package's own."""
    room = ""
    for part in name.split(".")[1 : 3 if name.startswith("anydrop.backends") else 2]:
        place = PACKAGE.joinpath(*filter(None, room.split(".")), part)
        if place.is_dir() or place.with_suffix(".py").exists():
            room = f"{room}.{part}".strip(".")
    return {"__main__": "cli"}.get(room, room)


@cache
def edges() -> frozenset[Edge]:
    """Return which room imports from which, the backends' rooms one by one."""
    found = set()
    for module, path in modules():
        room = room_of(f"anydrop.{module}")
        targets = {room_of(name) for name in imports(path) if name.split(".")[0] == "anydrop"}
        found |= {(room, target) for target in targets - {room}}
    return frozenset(edge for edge in found if "_version" not in edge)  # a constant, and no room


@cache
def edges_between_floors() -> frozenset[Edge]:
    """Return the same with all backends as one room."""
    outer = {(room.split(".")[0], target.split(".")[0]) for room, target in edges()}
    return frozenset((room, target) for room, target in outer if room != target)


def floors() -> list[list[str]]:
    """Return the rooms from the top floor down, each as high as the rooms that import it allow."""
    rooms = {room for edge in edges_between_floors() for room in edge}
    result: list[list[str]] = []
    while rooms:
        imported_by_others = {target for room, target in edges_between_floors() if room in rooms}
        if not (free := rooms - imported_by_others):
            raise ValueError(f"these rooms import each other: {sorted(rooms)}")
        result.append(sorted(free))
        rooms -= free
    return result


def rows_of_backends() -> list[list[str]]:
    """Return the rooms of the backends: shared ones, the libraries' folders, and those above."""
    libraries = {f"backends.{path.parent.name}" for path in PACKAGE.glob("backends/*/backend.py")}
    rooms = {room for edge in edges() for room in edge if room.startswith("backends")} - libraries
    above = {room for room in rooms if (room, "backends.base") in edges()} | {"backends"}

    def beside(row: set[str]) -> list[str]:  # so that who imports from the same row is next to it
        inside = [edge for edge in edges() if row.issuperset(edge)]
        return sorted(row, key=lambda r: (all(r not in e for e in inside), r))

    first, second, *others = beside(rooms - above)  # the first one imports from both its neighbours
    return [[second, first, *others], beside(libraries), beside(above)]


def name_of(room: str) -> str:
    """Return what a room is called on the page: a folder's name ends with a slash."""
    last = room.rpartition(".")[2]
    return f"{last}/" if PACKAGE.joinpath(*room.split(".")).is_dir() else f"{last}.py"


def purpose(room: str) -> str:
    """Return the first line of a room's docstring."""
    place = PACKAGE.joinpath(*room.split(".")) if room else PACKAGE
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return docstring.partition("\n")[0].replace("`", "").rstrip(".")
