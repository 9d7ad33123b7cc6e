"""The backend in pure array API, on libraries that are as odd as the standard lets them be."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from anydrop import Mask, Window
from anydrop.backends.base import Backend
from anydrop.backends.common.words import words as words_of
from anydrop.testing.reference import keep

# A namespace whose integers are Python's own and never wrap around, as mparray's are.
UNBOUNDED = SimpleNamespace(
    uint32=object,
    full=lambda shape, value, *, dtype, device: np.full(shape, value, dtype),
    arange=lambda length, *, dtype, device: np.arange(length).astype(dtype),
    astype=lambda x, dtype: x.astype(dtype),
    reshape=np.reshape,
    where=np.where,
)


@pytest.mark.parametrize(
    "recipe",
    [
        {"shape": (40,)},
        {"shape": (6, 7), "shared_axes": (0,), "seed": 2**70},
        {"shape": (9, 5), "window": Window((2**30 - 4, 3), (2**33, 16)), "step": 2**64 - 1},
        {"shape": (2, 3), "window": Window((2**32 - 2, 2**32 - 3), (2**32, 2**32))},
    ],
)
def test_integers_that_never_overflow(recipe):
    recipe = {"p": 0.5, "seed": 0} | recipe
    mask = Mask.from_seed(**recipe)
    words = words_of(UNBOUNDED, None, mask)
    assert 0 <= words.min() <= words.max() < 2**32
    kept = (words >= mask.threshold).astype(bool).reshape(mask.keep_shape)
    assert np.array_equal(kept, keep(**recipe))


class OnADevice:
    """An array that comes to the host when it is asked to, and not unasked."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def __dlpack_device__(self):
        return (14, 0)

    def __dlpack__(self, *, dl_device=None, copy=None, **kwargs):
        if dl_device != (1, 0):
            raise BufferError("not on the host")
        return self.values.__dlpack__(**kwargs)


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.1.0",
    reason="NumPy before 2.1 can't ask a device for a copy; nox -s tests-numpy runs this",
)
def test_to_numpy_from_a_device():
    backend = Backend("numpy", "array_api_compat.numpy")
    assert np.array_equal(backend.to_numpy(OnADevice([1.0, 2.0])), [1, 2])


def test_a_dimension_of_unknown_length():
    """The standard has None for it."""
    x = SimpleNamespace(shape=(None, 3))
    message = "a mask needs the length of each axis, and this array has the shape (None, 3)"
    with pytest.raises(ValueError, match=re.escape(message)):
        Backend("numpy", "array_api_compat.numpy").shape(x)
