"""The half types, whose arithmetic numba's kernel does in integers: every number there is."""

import numpy as np
import pytest
from subjects import available, cuda_on_host_subjects, numpy_subjects

import anydrop
from anydrop.testing.reference import bits, select
from anydrop.testing.subject import dtype_of

KERNELS = numpy_subjects() + cuda_on_host_subjects()
EVERY = np.arange(2**16, dtype=np.uint16)
HALVES = ["float16", *(["bfloat16"] if available("ml_dtypes") else [])]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kernels", KERNELS, ids=lambda s: s.name)
@pytest.mark.parametrize("scale", [1.0, 1 / 0.9, 1.5, 1 / 3, 10.0, 6e-5, 3e4, 2.0**-24])
def test_every_number(kernels, dtype, scale):
    x = EVERY.view(dtype_of(dtype))
    mask = anydrop.Mask.from_seed(x.shape, 2**-34, seed=0)
    y = kernels.backend.select(x, mask, scale)
    assert bits(y) == bits(select(x, np.ones(x.shape, bool), scale))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kernels", KERNELS, ids=lambda s: s.name)
def test_rounding_of_any_float32(kernels, dtype):
    """The sum with a shift reaches float32s that no product of two halves does."""
    rng = np.random.default_rng(0)
    kept = anydrop.Mask.from_seed((2**12,), 2**-34, seed=0)
    x = rng.integers(0, 2**16, 2**12).astype(np.uint16).view(dtype_of(dtype))
    for shift in (1e-6, -1e-3, 0.3333, 2049.0, 65519.0, 1e-40):
        y = kernels.backend.select(x, kept, 0.77, shift)
        assert bits(y) == bits(select(x, np.ones(x.shape, bool), 0.77, shift))


def test_the_scale_is_a_float32():
    """Not rounded to the half type first, as it is where a library multiplies half by half."""
    x = np.full(1000, 1.0, "f2")
    y = anydrop.dropout(x, 1 / 3, seed=0)
    assert y.dtype == np.float16
    assert set(np.unique(y)) == {np.float16(0), np.float16(np.float32(1.5))}
    x = np.full(100, 1002.0, "f2")
    y = anydrop.dropout(x, 0.1, seed=0)
    assert y.max() == np.float16(1002 / 0.9) == 1113.0
    assert np.float16(1002) * np.float16(1 / 0.9) == 1114.0
