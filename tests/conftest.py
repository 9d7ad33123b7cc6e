"""What the tests run on: every way in which this machine can draw a mask is a subject."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import pytest
import reference

import anydrop.backends
from anydrop.backends._threads import Pool
from anydrop.backends.numpy import NumpyBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anydrop.backends.base import Backend

# JAX then makes one processor look like eight devices. It reads this when it is first used.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

hypothesis.settings.register_profile("anydrop", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("anydrop")


@dataclass(frozen=True)
class Subject:
    """One way to draw a mask.

    `array` makes an array of the subject's library, on its device, from a NumPy array.
    `compiles`: each new shape costs a compilation, so fewer of them are tried; `recompiles`: and
    so does each call.
    `immutable`: there is no writing to `out`. `flushes`: subnormals count as zeros.
    """

    name: str
    backend: Backend
    array: Callable[[np.ndarray], Any]
    dtypes: tuple[str, ...]
    compiles: bool = False
    recompiles: bool = False
    immutable: bool = False
    flushes: bool = False

    def numpy(self, x: Any) -> np.ndarray:
        return self.backend.to_numpy(x)

    def select(self, *args: Any) -> np.ndarray:
        return reference.select(*args, flush=self.flushes)


ALL = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")


def available(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def python(code: str, *, path: Iterable[Path] = (), **environment: str) -> str:
    """Return what a program prints in a process of its own, which must end well."""
    source = Path(anydrop.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=300,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*map(str, path), str(source)]),
            **environment,
        },
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def numpy_subjects() -> list[Subject]:
    dtypes = ALL if available("ml_dtypes") else tuple(d for d in ALL if d != "bfloat16")
    kinds = {"numpy": False} | ({"numba": True} if available("numba") else {})
    return [
        Subject(
            f"{name}-{threads}", NumpyBackend(use_numba=fast, pool=Pool(threads)), np.array, dtypes
        )
        for name, fast in kinds.items()
        for threads in (1, 3)
    ]


def strict_subjects() -> list[Subject]:
    if not available("array_api_strict"):
        return []
    import array_api_strict as xp

    subjects = []
    for device in xp.__array_namespace_info__().devices():
        on = {str(d) for d in xp.__array_namespace_info__().dtypes(device=device)}

        def array(x: np.ndarray, device: Any = device) -> Any:
            return xp.asarray(x, device=device)

        backend = anydrop.resolve(xp.empty(0))
        dtypes = tuple(d for d in ALL if d in on)
        name = str(device).split("'")[1].lower()
        subjects.append(Subject(f"strict-{name}", backend, array, dtypes))
    return subjects


needs_strict = pytest.mark.skipif(
    not available("array_api_strict"),
    reason="array-api-strict is not installed here; nox -s tests-strict runs this",
)


def jax_subjects() -> list[Subject]:
    if not available("jax"):
        return []
    import jax_ways

    flushes = jax_ways.flushes()
    return [
        Subject(
            name,
            backend,
            array,
            ALL,
            compiles=True,
            recompiles=type(backend) is jax_ways.Traced,
            immutable=True,
            flushes=flushes,
        )
        for name, backend, array in jax_ways.ways()
    ]


SUBJECTS = numpy_subjects() + strict_subjects() + jax_subjects()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        action="append",
        default=[],
        help="module that must be there: what is tested for it may not quietly be left out",
    )
    parser.addoption(
        "--forbid", action="append", default=[], help="module that must not be installed"
    )


def pytest_configure(config: pytest.Config) -> None:
    for name in config.getoption("--require"):
        if not available(name):
            raise pytest.UsageError(f"this session tests {name}, which can't be imported")
    for name in config.getoption("--forbid"):
        if available(name):
            raise pytest.UsageError(f"this session tests anydrop without {name}, which is here")


def pytest_report_header() -> str:
    return "subjects: " + ", ".join(subject.name for subject in SUBJECTS)


def serving(monkeypatch: pytest.MonkeyPatch, subject: Subject) -> Subject:
    """Let the public functions use the subject's backend for its arrays."""
    monkeypatch.setitem(
        anydrop.backends._BY_TYPE, type(subject.array(np.zeros(1, "f4"))), subject.backend
    )
    return subject


@pytest.fixture(params=SUBJECTS, ids=lambda subject: subject.name)
def subject(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Subject:
    return serving(monkeypatch, request.param)


@pytest.fixture(
    params=[(s, d) for s in SUBJECTS for d in s.dtypes],
    ids=lambda pair: f"{pair[0].name}-{pair[1]}",
)
def subject_and_dtype(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[Subject, np.dtype]:
    subject, name = request.param
    return serving(monkeypatch, subject), dtype_of(name)


def dtype_of(name: str) -> np.dtype:
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "vectors" / "stream_v1.json").read_text())
