"""What Dask does not document: all in one file, and what is relied on."""

import numpy as np
import pytest
from private_names import named, used_by_file
from subjects import available

if not available("dask.array"):
    pytest.skip("dask is not installed here; nox -s tests-dask runs this", allow_module_level=True)
import dask.array as da

UNOFFICIAL = ("dask.array.core", "dask.array.utils", "dask.layers")
X = da.ones((4, 6), chunks=(3, 4), dtype="f4")


def chunks(normalize):
    assert normalize(("auto", (2, 1)), (4, 3), dtype="f8") == ((4,), (2, 1))
    assert normalize((4, 0), (4, 0), dtype="f8") == ((4,), (0,))


def meta(made_of):
    for ndim, dtype in ((1, bool), (3, "f8")):
        made = made_of(np.empty((0, 0), "c8"), ndim, bool)
        made = made_of(made, dtype=dtype)
        assert type(made) is np.ndarray
        assert (made.ndim, made.size, made.dtype) == (ndim, 0, dtype)


def slices(dep):
    def task(where):
        return np.asarray([[where[0].start, where[0].stop, where[1].start, where[1].stop]])

    lazy = da.blockwise(task, "ij", dep(X.chunks), "ij", dtype=int, align_arrays=False)
    told = [chunk.compute().tolist() for chunk in lazy.to_delayed().ravel()]
    assert told == [[[0, 3, 0, 4]], [[0, 3, 4, 6]], [[3, 4, 0, 4]], [[3, 4, 4, 6]]]


RELIED_ON = {
    "dask.array.core.normalize_chunks": chunks,
    "dask.array.utils.meta_from_array": meta,
    "dask.layers.ArraySliceDep": slices,
}


@pytest.mark.parametrize("name", RELIED_ON)
def test_a_name_is_there_and_does_what_is_relied_on(name):
    RELIED_ON[name](named(name))


def test_the_empty_array_that_stands_for_chunks():
    assert hasattr(X, "_meta"), "dask's arrays have no attribute `_meta`, which anydrop relies on"
    assert type(X._meta) is np.ndarray
    assert X._meta.shape == (0, 0)
    assert X._meta.dtype == X.dtype


def test_they_are_used_in_one_file():
    assert used_by_file("dask", UNOFFICIAL) == {"backends/dask/private.py": {*RELIED_ON, "._meta"}}
