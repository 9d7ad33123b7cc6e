"""Noise and choices in NumPy: kernels give what the array API defines, wherever elements lie."""

import itertools

import numpy as np
import pytest
from subjects import available, eager

import anydrop
from anydrop.backends.base import Backend
from anydrop.backends.common.threads import Pool
from anydrop.backends.numpy.backend import NumpyBackend
from anydrop.backends.numpy.works import SHORT
from anydrop.core.quantile import numerator
from anydrop.testing.reference import bits
from anydrop.testing.subject import dtype_of

DEFINITION = Backend("numpy", "array_api_compat.numpy")
DTYPES = ["float16", "float32", "float64", "complex64", "complex128"]
DTYPES += ["bfloat16"] * available("ml_dtypes")
# A group of numba's is 128 words.
LENGTHS = [*range(1, 9), 123, *range(127, 134), 641]


@pytest.fixture(params=["numpy", "numba"])
def backend(request):
    if not available(request.param):
        pytest.skip("numba is not installed here; nox -s tests-numpy runs this")
    return NumpyBackend(use_numba=request.param == "numba", pool=Pool(threads=1))


def masked(shape, **place):
    return anydrop.Mask.from_seed(shape, 0.4, **({"seed": 3, "step": 2**40 + 1} | place))


def numbers(shape, dtype, seed=0):
    x = np.random.default_rng(seed).standard_normal((2, *shape)) * 3
    return (x[0] + 1j * x[1] if dtype.startswith("complex") else x[0]).astype(dtype_of(dtype))


def cases(x, other, recipe):
    """Yield what is asked of a backend."""
    yield "multiply", lambda backend, out: backend.perturb(x, recipe, 0.37, True, out)
    if x.dtype.kind != "c":
        yield "add", lambda backend, out: backend.perturb(x, recipe, 0.37, False, out)
    yield "choose", lambda backend, out: backend.choose(x, other, recipe, out)
    yield "new", lambda backend, out: backend.choose(x, None, recipe, out)
    yield "previous", lambda backend, out: backend.choose(None, x, recipe, out)


def check(backend, x, other, recipe):
    for name, case in cases(x, other, recipe):
        got, expected = case(backend, None), case(DEFINITION, None)
        assert got.shape == x.shape
        assert got.dtype == x.dtype, name
        assert bits(got) == bits(expected), name
        out = np.full(x.shape, 7, x.dtype)
        assert case(backend, out) is out
        assert bits(out) == bits(expected), name
    if x.dtype.kind != "c":
        normals = (each.normals(recipe, x) for each in (backend, DEFINITION))
        assert len(set(map(bits, normals))) == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_run_of_any_length_from_anywhere(backend, dtype):
    for length, first in itertools.product(LENGTHS, (0, 1, 2, 3, 130, 2**34 - 300)):
        recipe = masked((length,), window=anydrop.Window((first,), (2**64,)))
        check(backend, numbers((length,), dtype), numbers((length,), dtype, 1), recipe)


PLACES = [
    {},
    {"shared_axes": (0,)},
    {"shared_axes": (1,)},
    {"shared_axes": (2,)},
    {"shared_axes": (0, 2)},
    {"window": anydrop.Window((2, 3, 4), (9, 2**33, 190))},
]
LAYOUTS = {
    "C": lambda x: x,
    "F": np.asfortranarray,
    "reversed": lambda x: x[::-1, :, ::-1],
    "every other": lambda x: np.repeat(x, 2, axis=2)[..., ::2],
    "one for all": lambda x: np.broadcast_to(x[:1], x.shape),
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder(">")),
}


# bfloat16 has one byte order. Of two dtypes the kernels differ by their lengths alone.
ARRAYS = set(itertools.product(DTYPES, LAYOUTS)) - {("bfloat16", "byte-swapped")}
ARRAYS -= set(itertools.product(["float64", "complex128"], [*LAYOUTS][2:]))


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize(("dtype", "layout"), sorted(ARRAYS))
def test_any_placement_and_layout(backend, dtype, layout, place):
    shape = (5, 7, 150)
    x, other = (numbers(shape, dtype, seed) for seed in (0, 1))
    check(
        backend, LAYOUTS[layout](x), other.astype(LAYOUTS[layout](x).dtype), masked(shape, **place)
    )


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_none_and_one(backend, shape):
    check(backend, numbers(shape, "float32"), numbers(shape, "float32", 1), masked(shape))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_result_may_be_x_itself_and_no_neighbour_is_touched(backend, dtype):
    memory, other = numbers((702,), dtype), numbers((700,), dtype, 1)
    recipe = masked((700,))
    for name, _ in cases(memory, other, recipe):
        changed = memory.copy()
        x = changed[1:-1]
        case = dict(cases(x, other, recipe))[name]
        expected = case(DEFINITION, None)
        assert case(backend, x) is x
        assert bits(x) == bits(expected), name
        assert bits(changed[[0, -1]]) == bits(memory[[0, -1]])


def test_the_result_may_overlap_with_x(backend):
    recipe = masked((700,))
    for name in dict(cases(numbers((700,), "float32"), numbers((700,), "float32", 1), recipe)):
        memory, other = numbers((703,), "float32"), numbers((700,), "float32", 1)
        x, out = memory[:-3], memory[3:]
        case = dict(cases(x, other, recipe))[name]
        expected = case(DEFINITION, None)
        case(backend, out)
        assert bits(out) == bits(expected), name


@pytest.mark.parametrize("threads", [1, 3])
def test_any_threads(backend, threads):
    pool = Pool(threads=1) if threads == 1 else eager(threads)
    fast = backend.kernel == "numba"
    shared = NumpyBackend(use_numba=fast, pool=pool)
    for layout in ("C", "F"):
        x, other = (LAYOUTS[layout](numbers((9, 50, 1000), "float32", seed)) for seed in (0, 1))
        check(shared, x, other, masked(x.shape))


def test_nan_and_infinity_that_are_not_chosen_leave_no_trace(backend):
    x = np.array([np.nan, np.inf, -np.inf, 1.0] * 200, "f4")
    recipe = masked(x.shape)
    kept = backend.keep(recipe, x)
    assert np.array_equal(backend.choose(x, np.ones_like(x), recipe)[~kept], np.ones((~kept).sum()))
    assert not backend.choose(None, x, recipe)[kept].any()
    assert not np.signbit(backend.choose(None, -x, recipe)[kept]).any()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_long_block_that_an_expanded_array_repeats(backend, threads):
    """Pieces of threads begin anywhere in it, and go on at its beginning."""
    pool = Pool(threads=1) if threads == 1 else eager(threads)
    shared = NumpyBackend(use_numba=backend.kernel == "numba", pool=pool)
    for outer in ((4,), (2, 3), (1, 3)):
        x = np.broadcast_to(numbers((SHORT + 5,), "float32"), (*outer, SHORT + 5))
        recipe = masked(x.shape)
        for name, case in cases(x, x, recipe):
            if name != "choose":  # of two arrays
                # Without `out`, the result would be laid out in another order.
                got = case(shared, np.empty(x.shape, x.dtype))
                assert bits(got) == bits(case(DEFINITION, None)), name


def test_words_at_the_seams_of_octaves_and_segments():
    """Where a count becomes a float32 that must not be rounded up to the next octave."""
    if not available("numba"):
        pytest.skip("numba is not installed here; nox -s tests-numpy runs this")
    from anydrop.backends.numpy.kernels.normals import _normals

    counts = {2**power + by for power in range(32) for by in range(-300, 300)}
    counts = {count for count in counts if 0 <= count < 2**31}
    words = np.array(sorted(counts | {2**32 - 1 - count for count in counts}), "u4")
    numbers_of = words.copy()
    _normals(numbers_of, np.uint64(len(words)))
    assert numbers_of.view("i4").tolist() == [numerator(word) for word in words.tolist()]
