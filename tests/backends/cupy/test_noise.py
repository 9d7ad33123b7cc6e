"""CuPy's kernels of noise and of choices, on the host: the bits of NumPy's expressions."""

import numpy as np
import pytest
from random_layouts import a_mask, laid_out, normals_of, perturbed
from subjects import available, cuda_on_host_subjects

from anydrop import Mask, Window
from anydrop.backends.base import COMPUTE
from anydrop.backends.cupy import sources
from anydrop.backends.numpy.backend import NumpyBackend
from anydrop.core import quantile
from anydrop.testing.reference import bits, numbers
from anydrop.testing.subject import dtype_of

if not available("cuda_on_host"):
    pytest.skip(
        "no g++ 12 or later is here, nor another compiler that CXX names; nox -s tests-cupy wants "
        "one",
        allow_module_level=True,
    )
from cuda_on_host import HostCuda

DTYPES = cuda_on_host_subjects()[0].dtypes
NUMPY = NumpyBackend(use_numba=False)
GEOMETRIES = [(1, 1), (1, 7), (3, 32), (2, 256), None]

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

# The same source, in which the words of the stream are the indices themselves.
COUNTING = sources.template().replace(
    "return {{c0, c1, c2, c3}};",
    "const u32 low = (u32)block << 2; return {{low, low + 1, low + 2, low + 3}};",
)


@pytest.fixture(scope="module")
def counting():
    assert sources.template() != COUNTING
    return HostCuda(source=COUNTING)


def a_shape(rng):
    if rng.random() < 0.2:
        return (int(rng.integers(1, 3000)),)
    return tuple(int(n) for n in rng.integers(1, 12, rng.integers(0, 5)))


def filled(rng, shape, dtype):
    """Return an array of a random layout with numbers of every kind."""
    x, _ = laid_out(rng, shape, dtype)
    x[...] = numbers(shape, dtype, rng)
    return np.broadcast_to(x[:1], shape) if shape and rng.random() < 0.1 else x


def a_recipe(rng, shape):
    while not isinstance(recipe := a_mask(rng, shape), Mask):
        pass
    return recipe


def check_written(rng, expected, written):
    """Check what `written` returns, and what it writes to an `out` of a random layout."""
    y = written()
    assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
    assert bits(y) == bits(expected)
    out, buffer = laid_out(rng, expected.shape, expected.dtype)
    assert written(out=out) is out
    assert bits(out) == bits(expected)
    # What lies between the elements of out is as it was.
    out[...] = 7
    assert (buffer == 7).all()


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("relative", [True, False])
def test_noise(name, relative):
    if name.startswith("complex") and not relative:
        assert f"plus_{name}" not in sources.FAMILIES  # noise is added to real numbers alone
        return
    dtype = dtype_of(name)
    for case in range(120):
        rng = np.random.default_rng([case, relative, *name.encode()])
        x = filled(rng, a_shape(rng), dtype)
        recipe, std = a_recipe(rng, x.shape), float(rng.choice([0.0, 0.3, 1 / 3, 1e-30, 1e4]))
        cuda = HostCuda(GEOMETRIES[case % len(GEOMETRIES)])
        wide = COMPUTE[name]
        assert bits(cuda.normals(recipe, x)) == bits(normals_of(recipe, wide))

        def written(cuda=cuda, x=x, recipe=recipe, std=std, out=None):
            return cuda.perturb(x, recipe, std, relative, out)

        check_written(rng, perturbed(x, recipe, std, relative), written)


@pytest.mark.parametrize("name", DTYPES)
def test_choices(name):
    dtype = dtype_of(name)
    for case in range(120):
        rng = np.random.default_rng([case, *name.encode()])
        shape = a_shape(rng)
        new, previous = (filled(rng, shape, dtype) for _ in range(2))
        while (keep := a_mask(rng, shape)) is None:
            pass
        kept = NUMPY.keep(keep, new) if isinstance(keep, Mask) else keep
        cuda = HostCuda(GEOMETRIES[case % len(GEOMETRIES)])
        for pair in ((new, previous), (new, None), (None, previous)):
            states = [np.zeros((), dtype) if state is None else state for state in pair]
            expected = np.where(kept, *states).astype(dtype)

            def written(cuda=cuda, pair=pair, keep=keep, out=None):
                return cuda.choose(*pair, keep, out)

            check_written(rng, expected, written)


@pytest.mark.parametrize("name", DTYPES)
def test_in_place(name):
    rng = np.random.default_rng(1)
    recipe = Mask.from_seed((5, 9, 14), 0.4, seed=6)
    kept = NUMPY.keep(recipe, np.ones(1))
    for layout in (np.ascontiguousarray, np.asfortranarray, lambda x: x[::-1, ::-1]):
        new, previous = (layout(numbers((5, 9, 14), dtype_of(name), rng)) for _ in range(2))
        expected = bits(np.where(kept, new, previous))
        for which in range(2):
            pair = [new.copy(order="K"), previous.copy(order="K")]
            assert HostCuda().choose(*pair, recipe, out=pair[which]) is pair[which]
            assert bits(pair[which]) == expected
        expected = bits(perturbed(new, recipe, 0.5, True))
        assert HostCuda().perturb(new, recipe, 0.5, True, out=new) is new
        assert bits(new) == expected


@pytest.mark.parametrize("name", DTYPES)
def test_memory_is_read_and_written_16_bytes_at_a_time(name):
    dtype, cuda, n = dtype_of(name), HostCuda(), 128
    raw = [np.empty(n * dtype.itemsize + 16, np.uint8) for _ in range(3)]
    new, previous, out = (r[-r.ctypes.data % 16 :][: n * dtype.itemsize].view(dtype) for r in raw)
    new[:], previous[:] = 1, 2
    recipe = Mask.from_seed((n,), 0.5, seed=0)
    cuda.perturb(new, recipe, 0.5, True, out)
    assert cuda.seen.bytes_read == new.nbytes
    assert cuda.seen.vectors == 2 * new.nbytes // 16
    cuda.choose(new, previous, recipe, out)
    assert cuda.seen.bytes_read == 2 * new.nbytes
    assert cuda.seen.vectors == 3 * new.nbytes // 16
    cuda.choose(None, previous, recipe, out)
    assert cuda.seen.vectors == 2 * new.nbytes // 16


ENDS = [0, 2**31 - 64, 2**31, 2**32 - 64]
SEAMS = [2**k - 32 for k in range(6, 31)] + [2**32 - 2**k - 32 for k in range(6, 31)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_octave_of_words(counting, dtype):
    """The ends, where the octaves meet, and words between: all by their value."""
    starts = ENDS + SEAMS + np.random.default_rng(0).integers(0, 2**32 - 64, 200).tolist()
    for start in starts:
        recipe = Mask.from_seed((64,), 0.5, seed=0, window=Window((start,), (2**32,)))
        z = counting.normals(recipe, np.ones(1, dtype))
        numerators = [quantile.numerator(word) for word in range(start, start + 64)]
        expected = np.array(numerators, np.float64) * quantile.UNIT
        assert bits(z) == bits(expected.astype(dtype)), start


@pytest.mark.parametrize("word", [0, 31, 32, 2**31 - 1, 2**31, 2**32 - 1])
def test_one_number_for_a_shared_axis(counting, word):
    window = Window((word, 0), (2**32, 5))
    recipe = Mask.from_seed((1, 5), 0.5, seed=0, shared_axes=1, window=window)
    y = counting.perturb(np.zeros((1, 5)), recipe, 1.0, relative=False)
    assert (y == quantile.numerator(word) * quantile.UNIT).all()
