"""The shape of the house: which way imports run, and who may import whose library."""

import ast
import sys
from pathlib import Path

import pytest

import anydrop

PACKAGE = Path(anydrop.__file__).parent

# Folders whose files are one floor, and may import each other.
APARTMENTS = {"demo", "layers", "testing"}
# From the ground up. A module imports from floors below its own, or from its own folder.
FLOORS = [
    ["_tracing", "_typing", "_version", "backends._axes", "backends.capabilities"],
    ["stream"],
    ["check"],
    ["recipe"],
    ["backends._normals", "backends._words"],
    ["backends.base"],
    ["backends._threads"],
    ["backends._chunked", "backends._cuda", "backends._numba_kernels", "backends._xla"],
    ["backends._numba", "backends._xla_recipes"],
    ["backends.numpy", "backends.cupy", "backends.jax"],
    ["backends._torch_cpu", "backends._torch_eager", "backends._torch_int64"],
    ["backends._torch_dtensor", "backends._triton"],
    ["backends._torch_op"],
    ["backends.torch"],
    ["backends"],
    # Above the registry, which knows it by name alone: it asks whose the chunks are.
    ["backends.dask"],
    ["mask"],
    ["call", "schedules"],
    ["layers.option", "layers.repeat"],
    ["layers.base"],
    ["layers.drop_layer"],
    ["layers"],
    ["_find", "_statistics"],
    ["monte_carlo"],
    [""],
    ["verify", "demo"],
    ["testing"],
    ["cli"],
    ["__main__"],
]
# Who, beside everyone's NumPy and array-api-compat, may import which library.
LIBRARIES = {
    "backends._numba": {"numba"},
    "backends._numba_kernels": {"numba"},
    "backends._torch_cpu": {"ml_dtypes", "torch"},
    "backends._torch_dtensor": {"torch"},
    "backends._torch_eager": {"torch"},
    "backends._torch_int64": {"torch"},
    "backends._torch_op": {"torch"},
    "backends._triton": {"torch", "triton"},
    "backends._xla": {"jax"},
    "backends._xla_recipes": {"jax"},
    "backends.cupy": {"cupy"},
    "backends.dask": {"dask"},
    "backends.jax": {"jax"},
    "backends.torch": {"torch"},
    "monte_carlo": {"rich"},
    "testing": {"ml_dtypes"},
    "demo": {"matplotlib", "rich", "sklearn", "threadpoolctl"},
}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def imports(path):
    """Yield the absolute names that a file imports at run time, wherever in it."""

    def visit(node):
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


def floor_of(module):
    for level, names in enumerate(FLOORS):
        if module in names or module.partition(".")[0] in APARTMENTS.intersection(names):
            return level
    raise AssertionError(f"{module} has no floor in this test: say where it belongs")


def upward_edges(module, imported):
    for name in imported:
        if name.split(".")[0] != "anydrop":
            continue
        target = name.removeprefix("anydrop").removeprefix(".")
        folders = {module.partition(".")[0], target.partition(".")[0]}
        same_apartment = len(folders) == 1 and folders <= APARTMENTS
        if not same_apartment and floor_of(target) >= floor_of(module):
            yield f"{module} -> {target}"


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=str)
def test_imports_run_down(module, path):
    assert not list(upward_edges(module, imports(path)))


def test_that_an_upward_edge_is_seen():
    assert list(upward_edges("mask", ["anydrop.call"])) == ["mask -> call"]
    assert list(upward_edges("stream", ["anydrop.check"])) == ["stream -> check"]
    assert not list(upward_edges("call", ["anydrop.mask", "numpy"]))


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=str)
def test_libraries_stay_in_their_own_module(module, path):
    roots = {name.partition(".")[0] for name in imports(path)}
    foreign = roots - set(sys.stdlib_module_names) - {"anydrop", "numpy", "array_api_compat"}
    allowed = LIBRARIES.get(module) or LIBRARIES.get(module.partition(".")[0], set())
    assert foreign <= allowed


def test_no_file_is_too_long_to_read():
    long = {
        str(path): n
        for folder in ("anydrop", "tests")
        for path in (PACKAGE.parent / folder).rglob("*.py")
        if (n := len(path.read_text().splitlines())) > 400
    }
    assert not long


def test_public_names_are_documented():
    for name in anydrop.__all__:
        assert getattr(anydrop, name).__doc__, name
