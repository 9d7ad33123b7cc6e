"""Which devices are here. Where a kind is not, its one test is skipped by name and says why."""

import re

import pytest
from devices import KINDS, MISSING, ON_DEVICES, needs_device, parameters
from ids import with_addresses
from subjects import SUBJECTS


@pytest.mark.parametrize("kind", [pytest.param(k, id=k, marks=needs_device(k)) for k in KINDS])
def test_a_device_has_subjects(kind):
    """They lie on it, and the conformance suite and others are run for each of them."""
    subjects = [s for s in ON_DEVICES if s.name.startswith(kind)]
    assert subjects
    for subject in subjects:
        where = str(subject.backend.device(subject.ones(3))).lower()
        assert "cuda" in where, f"{subject} lies on {where}"


def test_a_kind_is_found_or_said_to_be_missing():
    for kind in KINDS:
        found = any(s.name.startswith(kind) for s in ON_DEVICES)
        assert found != (kind in MISSING)
    why = re.compile("can't be imported here|finds no CUDA device here|computes on the cpu here")
    assert all(map(why.search, MISSING.values()))


def test_only_what_lies_on_a_device_bears_the_mark():
    given = parameters()
    marked = [p.values[0] for p in given if any(m.name == "device" for m in p.marks)]
    assert marked == ON_DEVICES
    assert [p.values[0] for p in given if not p.marks] == SUBJECTS


def test_names_with_addresses_are_seen():
    same = ["test_a[<lambda>]", "test_b[drop_block2d-10x3]", "test_c[0x5]"]
    other = "test_d[<function f at 0x7f3c2a1b0d30>]"
    assert with_addresses([*same, other]) == [other]
