"""Runs anydrop's conformance suite on the backend of tinyarray."""

import pytest
import tinyarray

from anydrop.testing import Subject, cases


def array(x):
    return tinyarray.Array(x.ravel().tolist(), x.shape, x.dtype.name)


DTYPES = ("float16", "float32", "float64", "complex128")
TINY = Subject("tinyarray", array, DTYPES, namespace=False)


@pytest.mark.parametrize("case", cases(TINY), ids=str)
def test_conformance(case):
    case()
