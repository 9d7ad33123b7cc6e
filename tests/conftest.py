"""Options and fixtures of all tests; what they run on is in helpers/subjects.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from devices import MISSING, ON_DEVICES, of_each_dtype, parameters
from ids import with_addresses
from subjects import SUBJECTS, available, serving

from anydrop.testing import Subject
from anydrop.testing.subject import dtype_of

hypothesis.settings.register_profile("anydrop", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("anydrop")


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


def pytest_report_header() -> list[str]:
    return [
        "subjects: " + ", ".join(subject.name for subject in SUBJECTS),
        "on devices: " + (", ".join(subject.name for subject in ON_DEVICES) or "none"),
        *(f"no {kind}: {reason}" for kind, reason in MISSING.items()),
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names that another process would not give: pytest-xdist needs the same everywhere."""
    wrong = with_addresses(item.nodeid for item in items)
    if wrong:
        raise pytest.UsageError(f"the names of tests hold addresses, give them ids: {wrong[:3]}")


@pytest.fixture(params=parameters())
def subject(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Subject:
    return serving(monkeypatch, request.param)


@pytest.fixture(params=parameters(of_each_dtype))
def subject_and_dtype(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[Subject, np.dtype]:
    subject, name = request.param
    return serving(monkeypatch, subject), dtype_of(name)


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "vectors" / "stream_v1.json").read_text())


@pytest.fixture(scope="session")
def normal_vectors() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "vectors" / "normals_v1.json").read_text())
