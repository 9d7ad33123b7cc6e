"""The shape of the house: which way imports run, and who may import whose library."""

import sys

import pytest
from imports import PACKAGE, imports, modules

import anydrop

# From the ground up: a module imports from its own floor, or from one below. What stands in several
# floors is named by its longest prefix.
FLOORS = [
    {"core", "schedules", "_version"},
    {"backends"},
    {"masks"},
    {"layers"},
    {"monte_carlo", "seeding"},
    {"jax", "torch"},
    {""},
    {"verify", "demo"},
    {"testing"},
    {"cli", "__main__"},
]
# Within the backends: a library's folder imports these, and itself.
SHARED = {"backends.base", "backends.common", "backends.plan"}
# The exceptions: PyTorch's tensors in the host's memory are drawn by NumPy's kernels, and Dask
# stands above the registry, since it asks whose its chunks are.
EXCEPTIONS = {
    ("backends.torch.host", "backends.numpy.backend"),
    ("backends.dask.backend", "backends"),
    ("backends.dask.tasks", "backends"),
}
# Who, beside everyone's NumPy and array-api-compat, may import which library.
LIBRARIES = {
    "backends.numpy": {"llvmlite", "numba"},
    "backends.torch": {"torch"},
    "backends.torch.host": {"ml_dtypes", "torch"},
    "backends.torch.triton": {"torch", "triton"},
    "backends.torch.triton_kernels": {"triton"},
    "backends.jax": {"jax"},
    "backends.cupy": {"cupy"},
    "backends.dask": {"dask"},
    "torch": {"torch"},
    "monte_carlo.run": {"rich"},
    "testing": {"ml_dtypes"},
    "demo": {"matplotlib", "rich", "sklearn", "threadpoolctl"},
}


def floor_of(module):
    for level, names in enumerate(FLOORS):
        if module.partition(".")[0] in names:
            return level
    raise AssertionError(f"{module} has no floor in this test: say where it belongs")


def library_of(module):
    """Return the folder of the library that a module serves: backends.torch, or nothing."""
    parts = module.split(".")
    own = ".".join(parts[:2])
    return own if parts[0] == "backends" and len(parts) > 1 and own not in SHARED else ""


def forbidden(module, imported):
    """Yield the edges that run upward, or from a library's folder to what is not its business."""
    for name in imported:
        if name.split(".")[0] != "anydrop":
            continue
        target = name.removeprefix("anydrop").removeprefix(".")
        up = floor_of(target) > floor_of(module)
        if module.startswith("backends") and target.startswith("backends"):
            shared = any(target == s or target.startswith(s + ".") for s in SHARED)
            if library_of(module):
                up = not (shared or library_of(target) == library_of(module))
            else:
                up = not shared
        if up and (module, target) not in EXCEPTIONS:
            yield f"{module} -> {target}"


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: str(value)[-40:])
def test_imports_run_down(module, path):
    assert not list(forbidden(module, imports(path)))


def test_that_a_forbidden_edge_is_seen():
    assert list(forbidden("masks.mask", ["anydrop.layers.call"])) == ["masks.mask -> layers.call"]
    assert list(forbidden("core.check", ["anydrop.backends"])) == ["core.check -> backends"]
    assert list(forbidden("backends.base", ["anydrop.backends"]))
    assert list(forbidden("backends.common.words", ["anydrop.backends.numpy.chunked"]))
    assert list(forbidden("backends.jax.backend", ["anydrop.backends"]))
    assert list(forbidden("backends.jax.backend", ["anydrop.backends.numpy.backend"]))
    assert not list(forbidden("backends.jax.backend", ["anydrop.backends.jax.programs", "numpy"]))
    assert not list(forbidden("layers.call", ["anydrop.masks.mask", "anydrop.core.check"]))


def test_that_every_exception_is_needed():
    edges = {
        (module, name.removeprefix("anydrop."))
        for module, path in modules()
        for name in imports(path)
    }
    assert edges >= EXCEPTIONS


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=str)
def test_libraries_stay_in_their_own_folder(module, path):
    roots = {name.partition(".")[0] for name in imports(path)}
    foreign = roots - set(sys.stdlib_module_names) - {"anydrop", "numpy", "array_api_compat"}
    names = [module, ".".join(module.split(".")[:2]), module.partition(".")[0]]
    allowed = next((LIBRARIES[name] for name in names if name in LIBRARIES), set())
    assert foreign <= allowed


def test_the_table_of_capabilities_decides_nothing():
    """It says what works, to the documentation and to the tests' skips."""
    table = "anydrop.backends.capabilities"
    readers = {module for module, path in modules() if table in imports(path)}
    assert not readers


def test_no_file_is_too_long_to_read():
    long = {
        str(path): n
        for folder in ("anydrop", "tests")
        for path in (PACKAGE.parent / folder).rglob("*.py")
        if (n := len(path.read_text().splitlines())) > 400
    }
    assert not long


def test_no_folder_holds_too_many_files():
    crowded = {
        str(folder): n
        for top in ("anydrop", "tests")
        for folder in (PACKAGE.parent / top).rglob("*/")
        if (n := len(list(folder.glob("*.py")))) > 16
    }
    assert not crowded


def test_public_names_are_documented():
    for name in anydrop.__all__:
        assert getattr(anydrop, name).__doc__, name
