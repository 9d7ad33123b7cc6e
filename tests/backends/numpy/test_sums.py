"""Sums over rows in NumPy: blocks and threads, and no bit of them in the result."""

import itertools
import math

import numpy as np
import pytest
from subjects import available, eager, numpy_subjects

import anydrop
from anydrop.backends.base import Backend
from anydrop.backends.common.threads import Pool
from anydrop.backends.numpy import sums
from anydrop.backends.numpy.backend import NumpyBackend
from anydrop.testing.reference import bits, keep, select
from anydrop.testing.subject import dtype_of

ROWS = sums.BLOCK // 128  # of a block of rows of 128
HALVES = ["float16"] + ["bfloat16"] * available("ml_dtypes")


def by_array_api(x, shape, dtype):
    """Return the sum in the order that defines it."""
    return Backend.sum_to(NumpyBackend(), x, shape, dtype)


@pytest.mark.parametrize("count", [1, 2, 3, ROWS - 1, ROWS, ROWS + 1, 5 * ROWS + 3])
@pytest.mark.parametrize("length", [1, 100, 128, sums.WIDTH + 1])
def test_any_number_of_blocks(count, length):
    x = np.random.default_rng(0).standard_normal((count, length)).astype("f4")
    for pool in (Pool(threads=1), eager(3)):
        got = NumpyBackend(pool=pool).sum_to(x, (length,), "float32")
        assert bits(got) == bits(by_array_api(x, (length,), "float32"))


AXES = {
    (70, 5, 9): [(5, 1), (70, 1, 9), (9,), ()],
    (4, 3): [(4, 3), (1, 3), (4, 1)],
    (2, 0, 3): [(3,), (0, 1)],
    (0, 3): [(3,)],
    (): [()],
}


@pytest.mark.parametrize(
    ("shape", "to"), [(shape, to) for shape in AXES for to in AXES[shape]], ids=str
)
def test_any_axes(shape, to):
    x = np.random.default_rng(1).standard_normal(shape)
    got = NumpyBackend().sum_to(x, to, "float64")
    assert got.shape == to
    assert bits(got) == bits(by_array_api(x, to, "float64"))
    lengths = (1,) * (len(shape) - len(to)) + to
    axes = tuple(a for a, n in enumerate(lengths) if n == 1)
    assert np.allclose(got, x.sum(axes).reshape(to), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("result", ["float32", "its own"])
def test_half_types_are_added_in_float32(dtype, result):
    """In float16 the sum of 5,000 ones would stop at 2,048, in bfloat16 at 256."""
    x = np.ones((5000, 3), dtype_of(dtype))
    name = dtype if result == "its own" else result
    got = NumpyBackend().sum_to(x, (3,), name)
    assert got.dtype == dtype_of(name)
    assert (got == np.float32(5000).astype(got.dtype)).all()


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f4", "f8", "c8", ">c8"])
@pytest.mark.parametrize("layout", ["C", "F", "reversed"])
def test_any_layout(dtype, layout):
    x = np.random.default_rng(2).standard_normal((600, 40)).astype(dtype)
    name = x.dtype.newbyteorder("=").name
    view = {"C": x, "F": np.asfortranarray(x), "reversed": x[::-1].copy()[::-1]}[layout]
    assert bits(NumpyBackend().sum_to(view, (40,), name)) == bits(by_array_api(x, (40,), name))


@pytest.mark.parametrize("threads", [1, 3])
def test_an_overflow_is_infinite_without_a_warning(threads):
    """In a helper's thread, between the blocks, and in the last rounding."""
    backend, many = NumpyBackend(pool=eager(threads)), 40 * ROWS
    for dtype, result in (("f4", "float32"), ("f2", "float16"), ("f8", "float16")):
        x = np.full((many, 128), np.finfo(dtype).max, dtype)
        assert np.isposinf(backend.sum_to(x, (128,), result)).all()
        assert np.isposinf(backend.sum_to(x[:1], (1, 128), "float16")).all() == (dtype != "f2")


def test_the_error_grows_with_the_logarithm_of_the_count():
    """Row by row, as NumPy sums along a first axis, it grows with the count."""
    x = np.random.default_rng(3).random((2**20, 2)).astype("f4")
    exact = [math.fsum(column) for column in x.T.tolist()]
    errors = [
        np.abs(result.astype("f8") - exact).max()
        for result in (NumpyBackend().sum_to(x, (2,), "float32"), np.add.reduce(x, axis=0))
    ]
    assert errors[0] < 0.1
    assert errors[1] > 20 * errors[0]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", *HALVES])
@pytest.mark.parametrize("count", [*range(1, 10), 31])
def test_rows_that_are_selected_and_added_at_once(dtype, count):
    """By any kernels and threads, in pieces of a row, and in the order of all sums."""
    shape = (3, sums.PIECE // 2 + 5)
    x = np.random.default_rng(3).standard_normal((count, *shape)).astype(dtype_of(dtype))
    mask = anydrop.Mask.from_seed(x.shape, 0.3, seed=1, step=2)
    for subject, threads in itertools.product(numpy_subjects(), (1, 3)):
        fast = subject.name == "numba"
        pool = Pool(threads=1) if threads == 1 else eager(threads)
        backend = NumpyBackend(use_numba=fast, pool=pool)
        expected = by_array_api(backend.select(x, mask, 1.5), shape, dtype)
        got = backend.sum_selected(x, mask, 1.5, shape, dtype)
        assert got.dtype == x.dtype
        assert bits(got) == bits(expected)


@pytest.mark.parametrize("length", [sums.SHORTEST - 1, sums.SHORTEST, 3 * sums.PIECE + 1])
def test_the_gradient_of_copies_is_the_sum_over_the_examples(length):
    """In any layout, of any length, with and without shared examples, at p = 0 as well."""
    gradient = np.random.default_rng(4).standard_normal((6, length)).astype("f4")
    weights = np.zeros(length, "f4")
    for p, shared in itertools.product((0.0, 0.4), ((), (0,), (1,))):
        place = {"seed": 1, "step": 3, "shared_axes": shared}
        _, mask = anydrop.drop_connect(weights, p, examples=6, return_mask=True, **place)
        kept = np.broadcast_to(keep(gradient.shape, p, **place), gradient.shape)
        copies = select(gradient, kept, 1 / (1 - p))
        expected = by_array_api(copies, (length,), "float32")
        for view in (gradient, np.asfortranarray(gradient), gradient.astype(">f4")):
            assert bits(mask.apply(view)) == bits(expected)
