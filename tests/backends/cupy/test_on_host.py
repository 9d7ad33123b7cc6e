"""CuPy's backend where there is no device.

CuPy's own arrays, which here lie in the host's memory, go through it as far as the launch; the
kernels are those of cuda_on_host.py.
"""

import contextlib
import ctypes

import numpy as np
import pytest
from devices import MISSING
from process import python
from random_layouts import normals_of, perturbed
from subjects import available

import anydrop
from anydrop import Mask, Window, verify
from anydrop.backends import load
from anydrop.testing.reference import bits, keep, numbers, select
from anydrop.testing.subject import dtype_of

if not available("cupy"):
    pytest.skip("CuPy is not installed here; nox -s tests-cupy runs this", allow_module_level=True)
import cupy

from anydrop.backends.cupy.backend import NO_DEVICE, CupyBackend

quiet = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def test_the_import_of_cupy_waits_for_its_first_array():
    printed = python("""
        import sys
        import numpy as np, anydrop
        anydrop.dropout(np.ones(3), 0.5, seed=0)
        print("cupy" in sys.modules, "cupy" in anydrop.backends.registered())
    """)
    assert printed == "False True"


def test_backend_without_an_array():
    backend = load("cupy")
    assert type(backend) is CupyBackend
    assert not backend.owns(np.ones(3))


@pytest.mark.skipif("cupy" not in MISSING, reason="a CUDA device is here")
def test_where_there_is_no_device(capsys):
    backend = load("cupy")
    assert backend.probes() == []
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="|".join(NO_DEVICE)):
        backend.from_numpy(np.ones(3), cupy_array(np.ones(1)))
    assert verify.run() == 0
    row = next(r for r in capsys.readouterr().out.splitlines() if r.startswith("cupy"))
    assert row.split()[1:3] == [cupy.__version__, "-"]
    assert row.endswith("no device")


def test_other_errors_of_cuda_are_not_taken_for_a_missing_device(monkeypatch):
    def broken():
        raise cupy.cuda.runtime.CUDARuntimeError(999)

    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", broken)
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorUnknown"):
        load("cupy").probes()


@pytest.mark.parametrize(
    "rng",
    [np.random.default_rng(0), np.random.RandomState(0), np.random, 7, None],
    ids=lambda rng: type(rng).__name__,
)
def test_a_generator_of_another_library(rng):
    message = (
        r"rng must be a cupy.random.Generator, a cupy.random.RandomState or the module "
        r"cupy.random for a CuPy array, got .*; a seed goes to seed="
    )
    with pytest.raises(TypeError, match=message):
        load("cupy").draw(rng, (3,), 0.5, None)


def cupy_array(x, kind=cupy.ndarray):
    """Return a CuPy array over the memory of a NumPy array."""
    low, high = np.lib.array_utils.byte_bounds(x)
    owned = cupy.cuda.UnownedMemory(low, max(1, high - low), x, device_id=0)
    pointer = cupy.cuda.MemoryPointer(owned, x.ctypes.data - low)
    return kind(x.shape, x.dtype, memptr=pointer, strides=x.strides)


def numpy_array(x):
    """Return the numbers of a CuPy array in the host's memory."""
    low = x.data.mem.ptr
    raw = np.frombuffer((ctypes.c_char * x.data.mem.size).from_address(low), np.uint8)
    return np.ndarray(x.shape, x.dtype, raw, x.data.ptr - low, x.strides).copy()


class OnHost(cupy.ndarray):
    """A CuPy array in the host's memory, which needs no current device, nor any to be copied."""

    device = property(lambda self: contextlib.nullcontext())

    def copy(self):
        return cupy_array(numpy_array(self), OnHost)


def allocated(size):
    x = np.empty(max(1, size), np.uint8)
    owned = cupy.cuda.UnownedMemory(x.ctypes.data, x.nbytes, x, device_id=0)
    return cupy.cuda.MemoryPointer(owned, 0)


@pytest.fixture
def hosted():
    """CuPy's backend, whose kernels run on the host."""
    if not available("cuda_on_host"):
        pytest.skip("no g++ 12 or later is here, nor another compiler that CXX names")
    import cuda_on_host

    class Hosted(CupyBackend):
        def _run(self, launch):
            assert isinstance(launch.args, np.ndarray)  # which CuPy passes by value
            assert launch.args.size == 1
            cuda_on_host.run(launch, None, None)

    with cupy.cuda.using_allocator(allocated):
        yield Hosted("cupy")


LAYOUTS = {
    "contiguous": lambda x: x,
    "fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "negative": lambda x: x[::-1, :, ::-1].copy()[::-1, :, ::-1],
    "permuted": lambda x: np.ascontiguousarray(x.transpose(2, 0, 1)).transpose(1, 2, 0),
    "unaligned": lambda x: np.append(x.ravel()[:1], x)[1:].reshape(x.shape),
}
RECIPES = [{}, {"shared_axes": (0, 2)}, {"window": Window((2, 3, 4), (9, 20, 31))}]


@quiet
@pytest.mark.parametrize("name", ["f2", "f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_arrays_of_any_layout(hosted, layout, recipe, name):
    x = LAYOUTS[layout](numbers((6, 8, 10), np.dtype(name), np.random.default_rng(0)))
    array = cupy_array(x, OnHost)
    assert array.strides == x.strides
    mask = Mask.from_seed(x.shape, 0.5, seed=8, step=2, **recipe)
    kept = keep(x.shape, 0.5, seed=8, step=2, **recipe)
    drawn = hosted.keep(mask, array)
    assert drawn.dtype == bool
    assert np.array_equal(numpy_array(drawn), kept)

    expected = bits(select(x, kept, 2.0, 0.25, 3.0))
    y = hosted.select(array, mask, 2.0, 0.25, 3.0)
    assert (y.dtype, y.shape) == (array.dtype, array.shape)
    assert bits(numpy_array(y)) == expected
    given = cupy_array(kept[:, ::-1].copy()[:, ::-1], OnHost)
    assert bits(numpy_array(hosted.select(array, given, 2.0, 0.25, 3.0))) == expected
    every = bits(select(x, np.array(True), 2.0, 0.25))
    assert bits(numpy_array(hosted.select(array, None, 2.0, 0.25))) == every

    out = cupy_array(np.zeros((6, 8, 10), name), OnHost)
    assert hosted.select(array, mask, 2.0, 0.25, 3.0, out=out) is out
    assert bits(numpy_array(out)) == expected
    assert hosted.select(array, mask, 2.0, 0.25, 3.0, out=array) is array
    assert bits(numpy_array(array)) == expected


@pytest.mark.skipif(not available("ml_dtypes"), reason="ml_dtypes is not installed here")
def test_bfloat16_arrays(hosted):
    x = numbers((51,), dtype_of("bfloat16"), np.random.default_rng(0))
    mask = Mask.from_seed((51,), 0.3, seed=1)
    y = hosted.select(cupy_array(x, OnHost), mask, mask.scale)
    assert y.dtype == x.dtype
    assert bits(numpy_array(y)) == bits(select(x, keep((51,), 0.3, seed=1), mask.scale))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("recipe", [{"shape": (0, 3)}, *RECIPES], ids=str)
def test_normal_numbers(hosted, recipe, dtype):
    mask = Mask.from_seed(**{"shape": (6, 8, 10), "p": 0.5, "seed": 8, "step": 2} | recipe)
    z = hosted.normals(mask, cupy_array(np.ones(1, dtype), OnHost))
    wide = "float64" if dtype in ("f8", "c16") else "float32"
    assert bits(numpy_array(z)) == bits(normals_of(mask, wide))


@quiet
@pytest.mark.parametrize("name", ["f2", "f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_noise_of_any_layout(hosted, layout, recipe, name):
    x = LAYOUTS[layout](numbers((6, 8, 10), np.dtype(name), np.random.default_rng(0)))
    mask = Mask.from_seed(x.shape, 0.5, seed=8, step=2, **recipe)
    for relative in (True, False)[: 1 + (x.dtype.kind != "c")]:
        array = cupy_array(x.copy(order="K"), OnHost)
        expected = bits(perturbed(x, mask, 0.3, relative))
        y = hosted.perturb(array, mask, 0.3, relative)
        assert (y.dtype, y.shape) == (array.dtype, array.shape)
        assert bits(numpy_array(y)) == expected
        assert hosted.perturb(array, mask, 0.3, relative, out=array) is array
        assert bits(numpy_array(array)) == expected


@quiet
@pytest.mark.parametrize("name", ["f2", "f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_choices_of_any_layout(hosted, layout, recipe, name):
    rng = np.random.default_rng(0)
    new, previous = (LAYOUTS[layout](numbers((6, 8, 10), np.dtype(name), rng)) for _ in range(2))
    mask = Mask.from_seed(new.shape, 0.3, seed=8, step=2, **recipe)
    kept = keep(new.shape, 0.3, seed=8, step=2, **recipe)
    expected = [np.where(kept, *pair) for pair in ((new, previous), (new, 0), (0, previous))]
    arrays = [cupy_array(array, OnHost) for array in (new, previous)]
    for how in (mask, cupy_array(kept[:, ::-1].copy()[:, ::-1], OnHost)):
        pairs = (arrays, (arrays[0], None), (None, arrays[1]))
        for pair, wanted in zip(pairs, expected, strict=True):
            y = hosted.choose(*pair, how)
            assert (y.dtype, y.shape) == (arrays[0].dtype, (6, 8, 10))
            assert bits(numpy_array(y)) == bits(wanted.astype(name))
    assert hosted.choose(*arrays, mask, out=arrays[1]) is arrays[1]
    assert bits(numpy_array(arrays[1])) == bits(expected[0])


@quiet
@pytest.mark.parametrize("recipe", [{}, {"shared_axes": 1}], ids=str)
def test_blocks(hosted, recipe):
    x = numbers((2, 3, 9, 7), np.dtype("f4"), np.random.default_rng(0))
    seeds = Mask.from_seed((2, 3, 11, 8), 0.05, seed=8, step=2, **recipe)
    numpy = load("numpy")
    kept = numpy.keep_blocks(seeds, (1, 1, 3, 2), x)
    array = cupy_array(x, OnHost)
    assert np.array_equal(numpy_array(hosted.keep(seeds, array)), numpy.keep(seeds, x))
    assert bits(select(x, kept, 1.25)) == bits(numpy.select_blocks(x, seeds, (1, 1, 3, 2), 1.25))


@pytest.mark.parametrize("shape", [(0,), (3, 0, 2), ()])
def test_arrays_of_few_elements(hosted, shape):
    x = cupy_array(np.ones(shape, "f4"), OnHost)
    mask = Mask.from_seed(shape, 2**-34, seed=0)
    assert np.array_equal(numpy_array(hosted.select(x, mask, 2.0)), np.full(shape, 2, "f4"))
    assert np.array_equal(numpy_array(hosted.keep(mask, x)), np.ones(shape, bool))


SUMS = [
    ("f2", "f2", "f2"),
    ("f2", "f4", "f2"),
    ("f2", "f4", "f4"),
    ("f4", "f4", "f4"),
    ("c8", "c8", "c8"),
]


@pytest.mark.parametrize("dtypes", SUMS, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_sums_of_any_layout(hosted, layout, recipe, dtypes):
    shape, rng = (6, 8, 10), np.random.default_rng(0)
    x, residual, bias = (
        LAYOUTS[layout](rng.standard_normal(lengths).astype(dtype))
        for lengths, dtype in zip((shape, shape, (6, 1, 10)), dtypes, strict=True)
    )
    mask = Mask.from_seed(shape, 0.3, seed=8, step=2, **recipe)
    kept = keep(shape, 0.3, seed=8, step=2, **recipe)
    wide = "f4" if dtypes[0] == "f2" else dtypes[0]

    def wanted(kept, x, *bias):
        term = sum((b.astype(wide) for b in bias), x.astype(wide)) * np.float32(mask.scale)
        return (residual.astype(wide) + np.where(kept, term, 0)).astype(residual.dtype)

    arrays = [cupy_array(array, OnHost) for array in (x, residual, bias)]
    for kept_, how in (
        (kept, mask),
        (kept, cupy_array(kept[:, ::-1].copy()[:, ::-1], OnHost)),
        (True, None),
    ):
        y = hosted.select_add(*arrays[:2], how, mask.scale)
        assert (y.dtype, y.shape) == (residual.dtype, shape)
        assert bits(numpy_array(y)) == bits(wanted(kept_, x))
        y = hosted.select_add(*arrays[:2], how, mask.scale, arrays[2])
        assert bits(numpy_array(y)) == bits(wanted(kept_, x, bias))
    last = bits(wanted(kept, x, bias))
    y = hosted.select_add(*arrays[:2], mask, mask.scale, arrays[2], out=arrays[1])
    assert y is arrays[1]
    assert bits(numpy_array(y)) == last


@pytest.mark.parametrize("overlapping", range(3))
@pytest.mark.parametrize("shift", [-1, 1, 3])
def test_sums_whose_result_overlaps(hosted, overlapping, shift):
    rng = np.random.default_rng(0)
    buffer, *arrays = (cupy_array(rng.standard_normal(4000).astype("f4"), OnHost) for _ in range(4))
    arrays = [array[3:3900] for array in arrays]
    arrays[overlapping] = buffer[3:3900]
    mask = Mask.from_seed((3897,), 0.5, seed=0)
    x, residual, bias = map(numpy_array, arrays)
    wanted = residual + np.where(keep((3897,), 0.5, seed=0), (x + bias) * np.float32(2), 0)
    out = buffer[3 + shift : 3900 + shift]
    hosted.select_add(*arrays[:2], mask, 2.0, arrays[2], out=out)
    assert bits(numpy_array(out)) == bits(wanted)


@pytest.mark.parametrize("shape", [(0,), (3, 0, 2), ()])
def test_sums_of_few_elements(hosted, shape):
    x = cupy_array(np.ones(shape, "f4"), OnHost)
    y = hosted.select_add(x, x, Mask.from_seed(shape, 2**-34, seed=0), 2.0, x[:1] if shape else x)
    assert np.array_equal(numpy_array(y), np.full(shape, 5, "f4"))


def test_bad_arrays():
    backend = load("cupy")
    x = cupy_array(np.ones((4, 3), "f4"))
    for out, message in (
        (np.ones((4, 3), "f4"), "out must be of the library of x, cupy, got numpy.ndarray"),
        (cupy_array(np.ones((3, 4), "f4")), r"out must have the shape of x, \(4, 3\), got"),
        (cupy_array(np.ones((4, 3), "f8")), "out must have the dtype of x, float32, got float64"),
        (cupy.broadcast_to(x[:1], (4, 3)), "out must have memory of its own for every element"),
    ):
        with pytest.raises(ValueError, match=message):
            backend.check_out(out, x)
    backend.check_out(x, x)
    with pytest.raises(TypeError, match=r"dropout needs a floating-point array .* got dtype int64"):
        anydrop.dropout(cupy_array(np.ones(3, "i8")), 0.5, seed=0)
    swapped = cupy_array(np.ones((4, 3), np.dtype("f4").newbyteorder()))
    for call in (
        lambda: anydrop.dropout(swapped, 0.5, seed=0),
        lambda: anydrop.dropout(x, 0.5, seed=0, out=swapped),
        lambda: anydrop.dropout_add(x, swapped, 0.5, seed=0),
        lambda: anydrop.dropout_add(x, x, 0.5, bias=swapped, seed=0),
    ):
        with pytest.raises(TypeError, match="CuPy computes only in the machine's byte order, got"):
            call()
    with pytest.raises(TypeError, match=r"x must be a plain array of .*OnHost"):
        anydrop.dropout(cupy_array(np.ones(3, "f4"), OnHost), 0.5, seed=0)
