"""Every way to draw a mask that this machine has, against the public conformance suite."""

import pytest
from conftest import serving
from subjects import SUBJECTS

from anydrop.backends.capabilities import LIBRARIES
from anydrop.testing import DTYPES, cases


@pytest.mark.parametrize("case", [case for s in SUBJECTS for case in cases(s)], ids=str)
def test_case(case, monkeypatch):
    serving(monkeypatch, case.subject)
    case()


LEFT_OUT = [(s, name) for s in SUBJECTS for name in DTYPES if name not in s.dtypes]


@pytest.mark.parametrize(("subject", "dtype"), LEFT_OUT, ids=lambda v: getattr(v, "name", v))
def test_a_dtype_that_is_left_out(subject, dtype):
    """Which is so by the table of capabilities, or the subject's dtypes are wrong."""
    pytest.skip(f"{dtype}: {LIBRARIES[subject.backend.name].dtypes[dtype].note}")
