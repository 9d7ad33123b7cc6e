"""The table of what each library can do: nothing is missing in it, and nothing in it is empty."""

import re

import array_api_compat
import pytest
from devices import parameters

from anydrop.backends import UNSERVED, registered
from anydrop.backends.base import Backend
from anydrop.backends.capabilities import BY_THE_STANDARD, FEATURES, LIBRARIES
from anydrop.testing import DTYPES


def test_every_library_that_array_api_compat_recognises_has_a_row():
    pattern = re.compile(r"is_(?:pydata_)?(\w+)_namespace")
    recognised = {m[1] for name in dir(array_api_compat) if (m := pattern.fullmatch(name))}
    assert {"numpy", "cupy", "torch", "jax", "dask", "sparse"} <= recognised
    assert recognised <= LIBRARIES.keys() | BY_THE_STANDARD.keys() | UNSERVED.keys()


def test_a_library_is_served_or_not():
    assert len({*LIBRARIES, *BY_THE_STANDARD, *UNSERVED}) == sum(
        map(len, (LIBRARIES, BY_THE_STANDARD, UNSERVED))
    )
    assert registered().keys() >= LIBRARIES.keys()
    assert all((*BY_THE_STANDARD.values(), *UNSERVED.values()))


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_row_says_all(name):
    row = LIBRARIES[name]
    assert row.features.keys() == FEATURES.keys()
    assert row.dtypes.keys() <= set(DTYPES)
    for cell in (*row.features.values(), *row.dtypes.values()):
        assert cell.works or cell.note, "what does not work has its reason"


@pytest.mark.parametrize("subject", parameters())
def test_the_table_is_true(subject):
    row, backend = LIBRARIES[subject.backend.name].features, type(subject.backend)
    assert subject.out == row["out"].works
    assert row["rng"].works == (backend.draw is not Backend.draw)
