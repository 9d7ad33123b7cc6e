"""The registry: who serves whom, when it is imported, and how a newcomer joins."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from process import python
from subjects import needs_strict

import anydrop
from anydrop import backends
from anydrop.backends.base import Backend

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    monkeypatch.setattr(backends, "_REGISTRY", dict(backends._REGISTRY))
    monkeypatch.setattr(backends, "_BY_TYPE", {})
    backends.load.cache_clear()
    yield
    backends.load.cache_clear()


def test_resolve_is_cached_by_type(monkeypatch):
    first = anydrop.resolve(np.ones(3))
    monkeypatch.setattr(backends, "_resolve", None)
    assert anydrop.resolve(np.zeros((2, 2), "i4")) is first


def test_registered_is_a_copy():
    backends.registered()["other"] = "a:B"
    assert "other" not in backends.registered()


@pytest.mark.parametrize("target", ["module", "module:", ":Class", "a:b:c"])
def test_bad_target(target):
    with pytest.raises(ValueError, match="must have the form 'module:Class'"):
        anydrop.register("other", target)


def test_a_name_is_taken_once():
    anydrop.register("other", "a:B")
    with pytest.raises(ValueError, match="a backend for 'other' is registered already: a:B"):
        anydrop.register("other", "c:D")


@needs_strict
def test_a_class_of_ones_own_is_used(monkeypatch):
    import array_api_strict as xp

    before = anydrop.resolve(xp.ones(1))
    assert type(before) is Backend
    del backends._REGISTRY["array_api_strict"]
    backends.load.cache_clear()
    anydrop.register("array_api_strict", f"{Loud.__module__}:Loud")
    monkeypatch.setitem(sys.modules, Loud.__module__, sys.modules[__name__])
    assert type(anydrop.resolve(xp.ones(1))) is Loud


class Loud(Backend):
    """A backend of ones own."""


@needs_strict
def test_an_unregistered_library_that_implements_the_standard(monkeypatch):
    import array_api_strict as xp

    del backends._REGISTRY["array_api_strict"]
    y = anydrop.dropout(xp.ones(100), 0.5, seed=0)
    assert np.array_equal(np.from_dlpack(y), anydrop.dropout(np.ones(100), 0.5, seed=0))


def test_found_names_only_what_is_installed():
    anydrop.register("no_such_library", "a:B")
    assert "no_such_library" in backends.registered()
    assert "no_such_library" not in backends.found()
    assert "numpy" in backends.found()


@pytest.fixture(scope="module")
def tinyarray(tmp_path_factory):
    """The documentation's library that anydrop has never heard of, installed as any package is."""
    folder = tmp_path_factory.mktemp("site")
    source = shutil.copytree(
        EXAMPLES / "tinyarray", tmp_path_factory.mktemp("source") / "tinyarray"
    )
    command = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    done = subprocess.run(
        [sys.executable, *command, "--no-build-isolation", "--target", folder, source],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "tinyarray-1.dist-info" / "entry_points.txt").exists()
    return folder


def test_a_newcomer_passes_the_conformance_suite(tinyarray):
    printed = python(
        f"""
        import pytest
        suite = {str(EXAMPLES / "tinyarray" / "test_conformance.py")!r}
        raise SystemExit(pytest.main(["-q", "--rootdir=/", "-p", "no:cacheprovider", suite]))
        """,
        path=[tinyarray],
    )
    assert re.search(r"^[3-9]\d passed", printed, re.MULTILINE)


def test_an_entry_point_is_imported_with_its_first_array(tinyarray):
    printed = python("""
        import sys
        import numpy as np, anydrop, tinyarray
        anydrop.dropout(np.ones(3), 0.5, seed=0)
        assert "tinyarray_anydrop" not in sys.modules

        drop = anydrop.Dropout(0.5, seed=0)
        y = drop(tinyarray.Array([1.0] * 100, (20, 5)))
        assert type(y) is tinyarray.Array
        assert y.values == anydrop.dropout(np.ones(100), 0.5, seed=0).tolist()
        native = anydrop.Dropout(0.5, rng=np.random.default_rng(0), shared_axes=1)
        y = native(np.ones((20, 5)))
        ones = tinyarray.Array([1.0] * 100, (20, 5))
        assert native.backward(ones).values == y.ravel().tolist()

        from anydrop import verify
        assert verify.run() == 0
        try:
            anydrop.dropout(tinyarray, 0.5, seed=0)
        except TypeError as error:
            print(error)
    """, path=[tinyarray])  # fmt: skip
    assert re.search(r"tinyarray +1 +cpu +host +4e10e0c081350e29 +none +none +ok", printed)
    assert re.search(r"x must be an array of .*tinyarray.*, got module", printed)


def test_an_entry_point_does_not_replace_a_built_in_backend(monkeypatch):
    monkeypatch.setattr(backends, "_entry_points", lambda: {"numpy": "mine:Mine", "other": "a:B"})
    assert backends.registered()["numpy"] == "anydrop.backends.numpy.backend:NumpyBackend"
    assert backends.registered()["other"] == "a:B"


@pytest.mark.parametrize("name", ["", "a b", "foo.bar", 3])
def test_bad_name(name):
    with pytest.raises(ValueError, match="name must be the name of the library's top module, got"):
        anydrop.register(name, "a:B")


def test_a_library_in_the_running_script_does_not_break_messages():
    anydrop.register("__main__", "a:B")
    with pytest.raises(TypeError, match="x must be an array of"):
        anydrop.dropout([1.0], 0.5, seed=0)
