"""CuPy's kernels with a residual, on the host: the bits of NumPy's expression."""

import numpy as np
import pytest
from random_layouts import a_mask, laid_out
from subjects import NUMPY_DTYPES, available

from anydrop import Mask, Window
from anydrop.backends.cupy import launch as cuda
from anydrop.backends.cupy import sources
from anydrop.backends.numpy.backend import NumpyBackend
from anydrop.testing.reference import bits, numbers
from anydrop.testing.subject import dtype_of

if not available("cuda_on_host"):
    pytest.skip(
        "no g++ 12 or later is here, nor another compiler that CXX names; nox -s tests-cupy wants "
        "one",
        allow_module_level=True,
    )
from cuda_on_host import HostCuda, memory

NUMPY = NumpyBackend(use_numba=False)
SUMS = {
    name: family.dtypes
    for name, family in sources.FAMILIES.items()
    if family.work == "ADD" and {*family.dtypes} <= {*NUMPY_DTYPES}
}
GEOMETRIES = [(1, 1), (1, 7), (3, 32), (2, 256), None]

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def expected(x, residual, kept, scale, bias=None):
    """Return ``residual + where(kept, (x + bias) * scale, 0)`` as NumPy rounds it, part by part."""
    if x.dtype.kind == "c":
        y = np.empty_like(residual)
        for part in ("real", "imag"):
            terms = [None if a is None else getattr(a, part) for a in (x, residual, bias)]
            setattr(y, part, expected(*terms[:2], kept, scale, terms[2]))
        return y
    wide = np.dtype("f8" if x.dtype == "f8" else "f4")
    term = x.astype(wide)
    if bias is not None:
        term = term + bias.astype(wide)
    term = np.where(kept, term * wide.type(scale), wide.type(0))
    return (residual.astype(wide) + term).astype(residual.dtype)


def filled(rng, shape, name):
    """Return an array of a random layout with numbers of every kind."""
    array, _ = laid_out(rng, shape, dtype_of(name))
    array[...] = numbers(shape, array.dtype, rng)
    return array


def a_case(rng, dtypes):
    """Return x, the residual, the bias or None, a recipe or a keep mask or None, and the scale."""
    shape = tuple(int(n) for n in rng.integers(1, 12, rng.integers(0, 5)))
    if rng.random() < 0.2:
        shape = (int(rng.integers(1, 3000)),)
    x, residual = (filled(rng, shape, name) for name in dtypes[:2])
    bias = None
    if len(dtypes) == 3:
        lengths = tuple(n if rng.random() < 0.5 else 1 for n in shape)
        bias = filled(rng, lengths[int(rng.integers(0, len(shape) + 1)) :], dtypes[2])
    return x, residual, bias, a_mask(rng, shape), float(rng.choice([1.0, 1.5, 1 / 0.9, 1e-3]))


@pytest.mark.parametrize("name", SUMS)
def test_random_cases(name):
    for case in range(120):
        rng = np.random.default_rng([case, *name.encode()])
        x, residual, bias, kept, scale = a_case(rng, SUMS[name])
        backend = HostCuda(GEOMETRIES[case % len(GEOMETRIES)])
        mask = NUMPY.keep(kept, x) if isinstance(kept, Mask) else True if kept is None else kept
        wanted = expected(x, residual, mask, scale, bias)
        y = backend.select_add(x, residual, kept, scale, bias)
        assert (y.shape, y.dtype) == (x.shape, residual.dtype)
        assert bits(y) == bits(wanted), case

        out, buffer = laid_out(rng, x.shape, residual.dtype)
        assert backend.select_add(x, residual, kept, scale, bias, out) is out
        assert bits(out) == bits(wanted), case
        # What lies between the elements of out is as it was.
        out[...] = 7
        assert (buffer == 7).all(), case


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize(
    "layout", [np.ascontiguousarray, np.asfortranarray, lambda x: x[::-1, :, ::2]]
)
def test_in_place(name, layout):
    """The result may be written over any array of its dtype and shape."""
    shape, rng = (5, 9, 14), np.random.default_rng(1)
    arrays = [layout(numbers(shape, dtype_of(dtype), rng)) for dtype in SUMS[name]]
    mask = Mask.from_seed(arrays[0].shape, 0.4, seed=6)
    kept = NUMPY.keep(mask, arrays[0])
    for a, dtype in enumerate(SUMS[name]):
        if dtype != SUMS[name][1]:
            continue
        x, residual, *bias = copies = [array.copy(order="K") for array in arrays]
        wanted = bits(expected(x, residual, kept, mask.scale, *bias))
        y = HostCuda().select_add(x, residual, mask, mask.scale, *bias, out=copies[a])
        assert y is copies[a]
        assert bits(y) == wanted


def aligned(rng, shape, name):
    """Return an array of ordinary numbers that begins at a multiple of 16 bytes."""
    dtype = dtype_of(name)
    raw = np.empty(int(np.prod(shape)) * dtype.itemsize + 16, np.uint8)
    raw = raw[-raw.ctypes.data % 16 :][: raw.size - 16]
    x = raw.view(dtype).reshape(shape)
    x[...] = rng.standard_normal(shape)
    return x


@pytest.mark.parametrize("name", SUMS)
def test_memory_is_read_and_written_16_bytes_at_a_time(name):
    """All of it, where it is aligned: rows with a bias, as features have, no less than flat."""
    backend, rng, shape = HostCuda(), np.random.default_rng(0), (6, 32)
    x, residual = (aligned(rng, shape, dtype) for dtype in SUMS[name][:2])
    out = aligned(rng, shape, SUMS[name][1])
    bias = aligned(rng, shape[1:], SUMS[name][2]) if len(SUMS[name]) == 3 else None
    rows = 0 if bias is None else shape[0] * bias.nbytes
    mask = Mask.from_seed(shape, 0.5, seed=0)
    for kept in (mask, None):
        backend.select_add(x, residual, kept, 2.0, bias, out)
        read = x.nbytes + residual.nbytes + rows
        assert backend.seen.bytes_read == read
        assert backend.seen.vectors == (read + out.nbytes) // 16


@pytest.mark.parametrize("name", SUMS)
def test_which_kernel(name):
    x, residual, *bias = (np.zeros((4, 8), dtype_of(dtype)) for dtype in SUMS[name])

    def kernel(x, keep):
        arrays = tuple(map(memory, (x, residual, *bias)))
        return cuda.select_add(SUMS[name], x.shape, memory(residual), arrays, keep, 1.0).kernel

    mask = Mask.from_seed(x.shape, 0.5, seed=0)
    flat = f"anydrop_{name}_{'any' if bias else 'flat'}"
    assert kernel(x, mask) == flat
    # A wider row in memory, a shared axis, and nothing to draw.
    assert kernel(np.zeros((4, 9), x.dtype)[:, :8], mask) == f"anydrop_{name}_any"
    shared = Mask.from_seed(x.shape, 0.5, seed=0, shared_axes=1)
    assert kernel(x, shared) == kernel(x, None) == f"anydrop_{name}_any"


def test_zeros():
    """A dropped element adds +0, so that a residual of -0 becomes +0; a kept one of -0 stays."""
    zeros = np.full(64, -0.0, "f4")
    mask = Mask.from_seed(zeros.shape, 0.5, seed=0)
    y = HostCuda().select_add(zeros, zeros, mask, 2.0)
    assert not y.any()
    assert np.array_equal(np.signbit(y), NUMPY.keep(mask, zeros))
    assert np.signbit(HostCuda().select_add(zeros, zeros, None, 1.0)).all()


def test_what_is_dropped_leaves_no_trace():
    """A dropped NaN or infinity is not seen, of x nor of the bias; one of the residual is."""
    x = np.array([np.nan, np.inf, -np.inf, 1.0] * 16, "f4")
    mask = Mask.from_seed(x.shape, 0.5, seed=0)
    dropped = ~NUMPY.keep(mask, x)
    for bias in (None, x):
        y = HostCuda().select_add(x, np.ones_like(x), mask, 2.0, bias)
        assert (y[dropped] == 1).all()
    assert np.array_equal(np.isnan(HostCuda().select_add(np.ones_like(x), x, mask, 2.0)), x != x)


def test_indices_of_64_bits():
    window = Window((2**30, 2**33 - 30), (2**31, 2**33))
    mask = Mask.from_seed((3, 21), 0.5, seed=2, window=window)
    x, bias = np.ones((3, 21), "f4"), np.arange(21, dtype="f4")
    kept = NUMPY.keep(mask, x)
    for given in (None, bias, bias[:1]):
        y = HostCuda().select_add(x, x, mask, 2.0, given)
        assert bits(y) == bits(expected(x, x, kept, 2.0, given))


@pytest.mark.parametrize("which", range(4))
def test_memory_that_cuda_can_not_read(which):
    """The dtype that is named is that of the array which lies elsewhere."""
    dtypes = "float16", "float32", "float16"
    raw = np.zeros(64, np.uint8)
    places = [cuda.Memory(raw.ctypes.data, (np.dtype(d).itemsize,)) for d in ("f4", *dtypes)]
    mask = Mask.from_seed((3,), 0.5, seed=0)
    address, strides = places[which]
    for bad in (cuda.Memory(address + 1, strides), cuda.Memory(address, (9,))):
        y, *arrays = (*places[:which], bad, *places[which + 1 :])
        dtype, aligned = (("float32", 4), ("float16", 2), ("float32", 4), ("float16", 2))[which]
        message = f"CUDA reads and writes {dtype} only at multiples of {aligned} bytes"
        with pytest.raises(ValueError, match=message):
            cuda.select_add(dtypes, (3,), y, tuple(arrays), mask, 1.0)
