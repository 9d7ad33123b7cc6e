"""Every way to draw a mask that this machine has, against the public conformance suite."""

import pytest
from devices import parameters
from subjects import serving

from anydrop.backends.capabilities import LIBRARIES
from anydrop.testing import DTYPES, cases


@pytest.mark.parametrize("case", parameters(cases))
def test_case(case, monkeypatch):
    serving(monkeypatch, case.subject)
    case()


def test_dtypes_that_are_left_out(subject):
    """Which is so by the table of capabilities, or the subject's dtypes are wrong."""
    said = LIBRARIES[subject.backend.name].dtypes
    left_out = [f"{name}: {said[name].note}" for name in DTYPES if name not in subject.dtypes]
    if left_out:
        pytest.skip("; ".join(left_out))
