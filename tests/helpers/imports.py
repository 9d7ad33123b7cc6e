"""Reads from the package's source who imports whom, for a test and for the docs' picture."""

import ast
from collections.abc import Iterator
from pathlib import Path

import anydrop

PACKAGE = Path(anydrop.__file__).parent


def modules() -> Iterator[tuple[str, Path]]:
    """Yield the name of each module, "" for the package itself, and its file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def imports(path: Path) -> list[str]:
    """Return the absolute names of the modules that a file imports at run time, wherever in it."""

    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports here are absolute"
            for alias in node.names:
                below = PACKAGE.parent / node.module.replace(".", "/") / alias.name
                is_module = below.with_suffix(".py").exists() or below.is_dir()
                yield f"{node.module}.{alias.name}" if is_module else node.module
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    return sorted(set(visit(ast.parse(path.read_text()))))
