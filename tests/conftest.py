"""What the tests run on: every way in which this machine can draw a mask is a subject."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import pytest

import anydrop.backends
from anydrop.backends._threads import Pool
from anydrop.backends.numpy import NumpyBackend
from anydrop.testing import DTYPES, Subject
from anydrop.testing.subject import dtype_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anydrop.backends.base import Backend

hypothesis.settings.register_profile("anydrop", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("anydrop")


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
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


NUMPY_DTYPES = tuple(d for d in DTYPES if d != "bfloat16" or available("ml_dtypes"))


def numpy_subjects() -> list[Subject]:
    kinds = {"numpy": False} | ({"numba": True} if available("numba") else {})
    return [
        Subject(f"{name}-{threads}", np.array, NUMPY_DTYPES, kernel=kernel)
        for name, fast in kinds.items()
        for threads in (1, 3)
        for kernel in (NumpyBackend(use_numba=fast, pool=Pool(threads)),)
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

        dtypes = tuple(d for d in DTYPES if d in on)
        name = str(device).split("'")[1].lower()
        subjects.append(Subject(f"strict-{name}", array, dtypes))
    return subjects


def cuda_on_host_subjects() -> list[Subject]:
    """CuPy's kernels, which no device is needed for; see cuda_on_host.py."""
    if not available("cuda_on_host"):
        return []
    from cuda_on_host import HostCuda

    return [Subject("cuda-on-host", np.array, NUMPY_DTYPES, kernel=HostCuda())]


def cupy_subjects() -> list[Subject]:
    """One for each device: none where there is none."""
    if not available("cupy"):
        return []
    import cupy

    subjects = []
    for backend, like in anydrop.backends.load("cupy").probes():

        def array(x: np.ndarray, device: Any = like.device) -> Any:
            with device:
                return cupy.array(x)

        subjects.append(Subject(f"cupy-{like.device.id}", array, NUMPY_DTYPES, kernel=backend))
    return subjects


def torch_subjects() -> list[Subject]:
    """Every kernel on the host: NumPy's, the int64 arithmetic, and Triton's interpreter."""
    if not available("torch"):
        return []
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")  # before anyone imports Triton
    from anydrop.backends.torch import TorchBackend

    # The interpreter truncates to bfloat16 where a device rounds.
    exact = tuple(d for d in DTYPES if d != "bfloat16")
    like = torch.empty(0)
    subjects = []
    for backend, _ in TorchBackend().probes():
        kernel = backend._draws

        def array(x: np.ndarray, backend: Backend = backend) -> Any:
            return backend.from_numpy(x, like)

        dtypes = exact if kernel == "triton" else NUMPY_DTYPES
        subjects.append(Subject(f"torch-{kernel}", array, dtypes, kernel=backend))
    return subjects


def whole(shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    return tuple((n,) for n in shape)


def small(shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Chunks of single elements, as far as there are few."""
    return tuple((1,) * n or (0,) if n < 9 else (n // 3, n - 2 * (n // 3), n // 3) for n in shape)


def uneven(shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Chunks of uneven lengths, empty ones among them."""
    return tuple((0, n) if a % 2 else (n // 5, 0, n - n // 5) for a, n in enumerate(shape))


def rows(shape: tuple[int, ...]) -> Any:
    """Some chunks along the first axis."""
    return tuple(-1 if a else max(2, n // 5) for a, n in enumerate(shape))


def columns(shape: tuple[int, ...]) -> Any:
    """Some chunks along the last axis, each of all rows."""
    return tuple(-1 if a < len(shape) - 1 else max(3, n // 4) for a, n in enumerate(shape))


def dask_subjects() -> list[Subject]:
    if not available("dask.array"):
        return []
    import dask.array as da

    def subject(chunks: Callable) -> Subject:
        def array(x: np.ndarray) -> Any:
            return da.from_array(x, chunks=chunks(x.shape))

        return Subject(f"dask-{chunks.__name__}", array, NUMPY_DTYPES, out=False)

    return [subject(chunks) for chunks in (whole, small, uneven, rows, columns)]


needs_strict = pytest.mark.skipif(
    not available("array_api_strict"),
    reason="array-api-strict is not installed here; nox -s tests-strict runs this",
)

SUBJECTS = [
    *numpy_subjects(),
    *strict_subjects(),
    *cuda_on_host_subjects(),
    *cupy_subjects(),
    *torch_subjects(),
    *dask_subjects(),
]


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
    parser.addoption(
        "--complete", action="store_true", help="fail where a way to draw masks is not here"
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


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "vectors" / "stream_v1.json").read_text())
