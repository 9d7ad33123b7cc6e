"""CuPy's kernels on the host: the stream's bits and NumPy's outputs, whatever the memory."""

import ctypes

import numpy as np
import pytest
from random_layouts import a_mask, laid_out
from subjects import available, cuda_on_host_subjects

from anydrop import Mask, Window
from anydrop.backends.cupy import launch as cuda
from anydrop.backends.cupy import sources
from anydrop.backends.numpy.backend import NumpyBackend
from anydrop.core import stream
from anydrop.testing.reference import bits, keep, numbers, select
from anydrop.testing.subject import dtype_of

if not available("cuda_on_host"):
    pytest.skip(
        "no g++ 12 or later is here, nor another compiler that CXX names; nox -s tests-cupy wants "
        "one",
        allow_module_level=True,
    )
from cuda_on_host import HostCuda, library, memory, run

DTYPES = cuda_on_host_subjects()[0].dtypes
NUMPY = NumpyBackend(use_numba=False)
# Blocks and threads: alone, fewer than elements, odd, a warp, and as a launch asks for.
GEOMETRIES = [(1, 1), (1, 7), (3, 32), (2, 256), None]

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def a_case(rng, dtype):
    """Return x, a recipe or a keep mask, and the three numbers."""
    shape = tuple(int(n) for n in rng.integers(1, 12, rng.integers(0, 5)))
    if rng.random() < 0.2:
        shape = (int(rng.integers(1, 3000)),)
    x, _ = laid_out(rng, shape, dtype)
    x[...] = numbers(shape, dtype, rng)
    if rng.random() < 0.2:
        x = np.broadcast_to(x[:1], x.shape) if x.ndim else x
    kept = a_mask(rng, shape)
    scale, shift, fill = (float(rng.choice(c)) for c in ([1.5, 1 / 0.9, 1e-3], [-0.0, 0.3], [0, 2]))
    return x, kept, (scale, shift, fill)


@pytest.mark.parametrize("name", DTYPES)
def test_random_cases(name):
    dtype = dtype_of(name)
    for case in range(250):
        rng = np.random.default_rng([case, *name.encode()])
        x, kept, numbers_ = a_case(rng, dtype)
        cuda = HostCuda(GEOMETRIES[case % len(GEOMETRIES)])
        mask = NUMPY.keep(kept, x) if isinstance(kept, Mask) else kept
        if isinstance(kept, Mask):
            assert np.array_equal(cuda.keep(kept, x), mask), case
        expected = select(x, True if mask is None else mask, *numbers_)
        assert bits(cuda.select(x, kept, *numbers_)) == bits(expected), case

        out, buffer = laid_out(rng, x.shape, dtype)
        assert cuda.select(x, kept, *numbers_, out=out) is out
        assert bits(out) == bits(expected), case
        # What lies between the elements of out is as it was.
        out[...] = 7
        assert (buffer == 7).all(), case


@pytest.mark.parametrize("name", DTYPES)
def test_in_place(name):
    dtype = dtype_of(name)
    for layout in (np.ascontiguousarray, np.asfortranarray, lambda x: x[::-1, :, ::2]):
        x = layout(numbers((5, 9, 14), dtype, np.random.default_rng(1)))
        mask = Mask.from_seed(x.shape, 0.4, seed=6)
        expected = NUMPY.select(x, mask, mask.scale)
        assert HostCuda().select(x, mask, mask.scale, out=x) is x
        assert bits(x) == bits(expected)


def test_words_at_the_threshold():
    """The word that equals the threshold is kept, and the one below it is dropped."""
    key = stream.key_of(3)
    x = np.ones(32, "f4")
    for i in range(32):
        p = stream.word(i, 9, key) / 2**32
        recipe = Mask.from_seed((32,), p, seed=3, step=9)
        assert recipe.threshold == stream.word(i, 9, key)
        above = Mask.from_seed((32,), p + 2**-32, seed=3, step=9)
        assert HostCuda().keep(recipe, None)[i]
        assert not HostCuda().keep(above, None)[i]
        assert HostCuda().select(x, recipe, 1.0)[i] == 1
        shared = Mask.from_seed(
            (1, 5), p, seed=3, step=9, shared_axes=1, window=Window((i, 0), (32, 5))
        )
        assert HostCuda().select(np.ones((1, 5), "f4"), shared, 1.0).all()


@pytest.mark.parametrize("name", [d for d in DTYPES if d.endswith("float16") or d == "bfloat16"])
def test_ties_are_rounded_to_even(name):
    """1.5 times an odd significand lies halfway between two numbers."""
    dtype = dtype_of(name)
    x = np.arange(2**16, dtype=np.uint16).view(dtype)
    recipe = Mask.from_seed(x.shape, 0.0, seed=0)
    y = HostCuda().select(x, recipe, 1.5)
    assert bits(y) == bits(select(x, np.array(True), 1.5))
    assert np.array_equal(np.isnan(y), np.isnan(x))


def test_indices_of_64_bits():
    """Beyond 2**34 a block's number has a high word; strides may not fit a signed word."""
    for shape, window in (
        ((40,), Window((2**34 - 17,), (2**41,))),
        ((3, 21), Window((2**30, 2**33 - 30), (2**31, 2**33))),
        ((2, 5), Window((0, 2**63 - 5), (2, 2**63))),
        ((2, 5), Window((2**32 - 2, 2**32 - 5), (2**32, 2**32))),
    ):
        expected = keep(shape, 0.5, seed=2, window=window)
        recipe = Mask.from_seed(shape, 0.5, seed=2, window=window)
        x = np.ones(shape, "f4")
        assert np.array_equal(HostCuda().keep(recipe, None), expected)
        assert np.array_equal(HostCuda().select(x, recipe, 1.0), expected)
        assert np.array_equal(HostCuda().select(np.asfortranarray(x), recipe, 1.0), expected)


@pytest.mark.parametrize("stride", [4, 8], ids=["flat", "any"])
def test_threads_past_2_32(stride):
    """One block of a launch that is too large for any memory but the part which it works on."""
    x, y = np.ones(2048, "f4"), np.full(2048, 7, "f4")
    block, first = 2**24 + 3, 4 * 256 * (2**24 + 3)
    n = 2**35
    recipe = Mask.from_seed((n,), 0.5, seed=1)
    at = [cuda.Memory(a.ctypes.data - first * stride, (stride,)) for a in (x, y)]
    launch = cuda.select("float32", (n,), *at, recipe, 2.0, -0.0, 0.0)
    run(launch, y, [x], (2**25, 256), only=(block, block + 1))
    expected = 2.0 * keep((1024,), 0.5, seed=1, window=((first,), (n,)))
    step = stride // 4
    assert np.array_equal(y[: 1024 * step : step], expected)
    assert (y[1024 * step :] == 7).all()
    # The same block, of a grid of half the threads, comes to it in the second turn.
    y[:] = 7
    run(launch, y, [x], (2**24, 256), only=(3, 4))
    assert np.array_equal(y[: 1024 * step : step], expected)


@pytest.mark.parametrize("name", DTYPES)
def test_memory_is_read_and_written_16_bytes_at_a_time(name):
    """All of it, where it is aligned; and nothing but the elements, where it is not."""
    dtype = dtype_of(name)
    cuda, n = HostCuda(), 128
    x = np.ones(n + 16, dtype)
    start = -x.ctypes.data // dtype.itemsize % (16 // min(16, dtype.itemsize))
    x = x[start : start + n]
    assert x.ctypes.data % 16 == 0
    y = x.copy() if x.copy().ctypes.data % 16 == 0 else np.ones_like(x)
    recipe = Mask.from_seed((n,), 0.5, seed=0)
    cuda.select(x, recipe, 2.0, out=y)
    if y.ctypes.data % 16 == 0:
        assert cuda.seen.vectors == 2 * n * dtype.itemsize // 16
    cuda.select(x, recipe, 2.0, out=x)
    assert cuda.seen.vectors == 2 * n * dtype.itemsize // 16
    assert cuda.seen.bytes_read == x.nbytes
    # Rows of a larger array, and a spatial mask: contiguous runs are as wide.
    for recipe in (
        Mask.from_seed((4, n // 4), 0.5, seed=0, window=Window((0, 4), (4, 256))),
        Mask.from_seed((4, n // 4), 0.5, seed=0, shared_axes=1),
    ):
        rows = x.reshape(4, n // 4)
        cuda.select(rows, recipe, 2.0, out=rows)
        assert cuda.seen.vectors == 2 * n * dtype.itemsize // 16
    if dtype.itemsize < 16:
        off = x[1:]
        cuda.select(off, Mask.from_seed((n - 1,), 0.5, seed=0), 2.0, out=off)
        assert cuda.seen.vectors == 0
        assert cuda.seen.bytes_read == off.nbytes


def test_the_keep_mask_is_written_16_bytes_at_a_time():
    cuda = HostCuda()
    kept = cuda.keep(Mask.from_seed((1024,), 0.5, seed=0), None)
    assert cuda.seen.vectors == (64 if kept.ctypes.data % 16 == 0 else 0)
    assert cuda.seen.bytes_read == 0
    kept = cuda.keep(Mask.from_seed((1024,), 0.5, seed=0, window=Window((4,), (2000,))), None)
    assert cuda.seen.vectors == (64 if kept.ctypes.data % 16 == 0 else 0)


def arguments(x, y, recipe):
    launch = cuda.select("float32", x.shape, memory(x), memory(y), recipe, 1.0, -0.0, 0.0)
    return launch, cuda.Args.from_buffer_copy(launch.args.tobytes())


def test_neighbouring_threads_work_on_neighbouring_memory():
    recipe = Mask.from_seed((30, 40, 50), 0.5, seed=0)
    x = np.zeros((50, 30, 40), "f4").transpose(1, 2, 0)  # channels last
    launch, args = arguments(x, np.empty_like(x), recipe)
    assert launch.kernel == "anydrop_float32_any"
    assert [args.axes[a].y for a in range(args.ndim)] == [4 * 1200, 4]
    assert args.run == 0
    launch, args = arguments(x, x.copy(), recipe)
    assert args.axes[args.ndim - 1].y == 4


@pytest.mark.parametrize("name", sources.ELEMENTS)
def test_a_thread_serves_a_block_and_moves_16_bytes_or_more(name):
    """More threads than that would find nothing to do, which no output shows."""
    element = sources.ELEMENTS[name]
    assert element.width == max(4, 16 // element.size)


def test_axes_that_run_on_are_one():
    x = np.zeros((3, 4, 1, 5), "f4")
    launch, args = arguments(x, x, Mask.from_seed(x.shape, 0.5, seed=0))
    assert launch.kernel == "anydrop_float32_flat"
    assert (args.ndim, args.axes[0].length, args.items) == (1, 60, 15)
    launch, args = arguments(x, x, Mask.from_seed(x.shape, 0.5, seed=0, shared_axes=(2, 3)))
    assert launch.kernel == "anydrop_float32_any"
    assert [(args.axes[a].length, args.axes[a].mask) for a in range(args.ndim)] == [(12, 1), (5, 0)]


def test_launches_of_any_size():
    x = np.broadcast_to(np.zeros(1, "f4"), (2**40,))
    launch = cuda.select(
        "float32",
        x.shape,
        cuda.Memory(64, (4,)),
        cuda.Memory(64, (4,)),
        Mask.from_seed(x.shape, 0.5, seed=0),
        1.0,
        -0.0,
        0.0,
    )
    assert (launch.blocks, launch.threads) == (cuda.MOST_BLOCKS, cuda.THREADS)
    launch, args = arguments(x[:1], np.zeros(1, "f4"), Mask.from_seed((1,), 0.5, seed=0))
    assert (launch.blocks, args.items) == (1, 1)


@pytest.mark.parametrize("name", [d for d in DTYPES if d != "bfloat16"])
def test_memory_that_cuda_can_not_read(name):
    x = np.zeros(9 * 16, np.uint8)
    whole = cuda.Memory(x.ctypes.data, (np.dtype(name).itemsize,))
    shifted = cuda.Memory(x.ctypes.data + 1, whole.strides)
    odd = cuda.Memory(x.ctypes.data, (17,))
    recipe = Mask.from_seed((3,), 0.5, seed=0)
    for pair in ((whole, shifted), (shifted, whole), (whole, odd), (odd, whole)):
        message = rf"CUDA reads and writes {name} only at multiples of \d"
        with pytest.raises(ValueError, match=message):
            cuda.select(name, (3,), *pair, recipe, 1.0, -0.0, 0.0)


def test_a_number_beyond_float32_is_infinite_there():
    x = np.ones(8, "f4")
    recipe = Mask.from_seed((8,), 0.0, seed=0)
    assert np.isposinf(HostCuda().select(x, recipe, 1e300)).all()
    assert (HostCuda().select(np.ones(8), recipe, 1e300) == 1e300).all()


SOURCE = sources.template()
PLANTED = {
    "a store past the end": ("length - begin < WIDTH", "length - begin + 1 < WIDTH", "bounds"),
    "a load before the start": (
        "const bool inside = from <= j &&",
        "const bool inside =",
        "bounds",
    ),
    "vectors at any address": ("&& (u64)at % 16 == 0", "", "misaligned"),
    "a grid that does not go on": ("item += threads) {", "item = a.items) {", "bytes written"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_that_bad_accesses_are_seen(planted):
    right, wrong, message = PLANTED[planted]
    assert right in SOURCE
    broken = HostCuda((1, 2), SOURCE.replace(right, wrong))
    x = np.ones(40, "f4")[1:39]
    recipe = Mask.from_seed(x.shape, 0.5, seed=0, window=Window((1,), (50,)))
    with pytest.raises(AssertionError, match=message):
        broken.select(x, recipe, 2.0)


@pytest.mark.parametrize(
    ("symbol", "kind"), [("size_of_args", cuda.Args), ("size_of_more_args", cuda.MoreArgs)]
)
def test_the_kernels_arguments_are_what_the_source_says(symbol, kind):
    size = ctypes.c_uint64.in_dll(library(), symbol).value
    assert size == ctypes.sizeof(kind) == cuda.BYTES[kind].itemsize
    assert size <= 4096  # what CUDA passes by value
