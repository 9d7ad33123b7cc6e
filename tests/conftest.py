"""Options, fixtures and helpers of all tests; what they run on is in subjects.py."""

from __future__ import annotations

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
from subjects import SUBJECTS, available

import anydrop.backends
from anydrop.testing import Subject
from anydrop.testing.subject import dtype_of

if TYPE_CHECKING:
    from collections.abc import Iterable

hypothesis.settings.register_profile("anydrop", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("anydrop")

needs_strict = pytest.mark.skipif(
    not available("array_api_strict"),
    reason="array-api-strict is not installed here; nox -s tests-strict runs this",
)


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
    kind = type(subject.array(np.zeros(1, "f4")))
    monkeypatch.setitem(anydrop.backends._BY_TYPE, kind, subject.backend)
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
