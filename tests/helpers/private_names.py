"""Which private names of a library the package uses: found in its sources, and in the library."""

import ast
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "anydrop"
# What looks private, and is every named tuple's.
TUPLES = {"_replace", "_asdict", "_make", "_fields"}


def names_used(source, library, unofficial, attributes=False):
    """Return the private names of a library in a source: they, or a part of them, begin with "_".

    `unofficial` are beginnings of others that count too, and attributes that have no underscore;
    with `attributes` private attributes of all other objects count, as "._meta".
    """
    tree = ast.parse(source)
    local = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            local |= {a.asname or library: a.name if a.asname else library for a in node.names}
        if isinstance(node, ast.ImportFrom):
            local |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    local = {name: full for name, full in local.items() if full.split(".")[0] == library}

    def dotted(node):
        if isinstance(node, ast.Attribute):
            before = dotted(node.value)
            return before and f"{before}.{node.attr}"
        return local.get(node.id) if isinstance(node, ast.Name) else None

    found = set(local.values())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            private = node.attr.startswith("_") and not node.attr.startswith("__")
            own = getattr(node.value, "id", "") in {"self", "cls"} or node.attr in TUPLES
            if name := dotted(node):
                found.add(name)
            elif node.attr in unofficial:
                found.add(node.attr)
            elif attributes and private and not own:
                found.add(f".{node.attr}")
        if isinstance(node, ast.Constant) and node.value in unofficial:
            found.add(node.value)
    found = {
        name
        for name in found
        if "._" in name or any(f"{name}.".startswith(f"{start}.") for start in unofficial)
    }
    return {name for name in found if not any(other.startswith(f"{name}.") for other in found)}


def used_by_file(library, unofficial):
    """Return the private names that each file of the package uses, where it uses any."""
    files = {str(path.relative_to(PACKAGE)): path for path in PACKAGE.rglob("*.py")}
    names = {
        file: names_used(path.read_text(), library, unofficial, f"backends/{library}/" in file)
        for file, path in files.items()
    }
    return {file: used for file, used in names.items() if used}


def named(name):
    """Return what a dotted name stands for, or fail by naming it."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n]))
            break
        except ModuleNotFoundError:
            continue
    for part in parts[n:]:
        if not hasattr(found, part):
            version = importlib.import_module(parts[0]).__version__
            pytest.fail(f"{parts[0]} {version} has no {name}, which anydrop relies on")
        found = getattr(found, part)
    return found
