"""DropBlock by numba, band by band: the bits of the mask that is drawn and stored as a whole."""

import numpy as np
import pytest
from subjects import available, eager

import anydrop

if not available("numba"):
    pytest.skip(
        "numba is not installed here; nox -s tests-numpy runs this", allow_module_level=True
    )

from anydrop.backends.common.blocks import eroded
from anydrop.backends.common.threads import Pool
from anydrop.backends.numpy import blocks, compiled
from anydrop.backends.numpy.backend import NumpyBackend
from anydrop.testing.reference import bits
from anydrop.testing.subject import dtype_of

DTYPES = ["float16", "float32", "float64", "complex64", "complex128"]
DTYPES += ["bfloat16"] * available("ml_dtypes")
# Shapes of x, sizes of blocks and shared axes.
CASES = {
    "1d": ((3, 4, 50), (1, 1, 5), ()),
    "1d, long": ((2, 1, 70_000), (1, 1, 301), ()),
    "1d, channels last": ((3, 50, 4), (1, 5, 1), ()),
    "1d, shared channels last": ((3, 50, 4), (1, 5, 1), (2,)),
    "2d": ((3, 5, 14, 17), (1, 1, 7, 3), ()),
    "2d, many small": ((40, 30, 3, 4), (1, 1, 2, 2), ()),
    "2d, large": ((2, 400, 200), (1, 7, 7), ()),
    "2d, wide": ((1, 3, 40_000), (1, 2, 3), ()),
    "2d, larger than x": ((2, 2, 5, 6), (1, 1, 9, 8), ()),
    "2d, one axis": ((2, 3, 20, 30), (1, 1, 4, 1), ()),
    "2d, shared channels": ((4, 5, 14, 17), (1, 1, 3, 3), (1,)),
    "2d, shared batch": ((4, 5, 14, 17), (1, 1, 3, 3), (0,)),
    "2d, both shared": ((4, 5, 14, 17), (1, 1, 3, 3), (0, 1)),
    "2d, channels last": ((4, 14, 17, 5), (1, 3, 3, 1), ()),
    "2d, shared channels last": ((4, 14, 17, 200), (1, 3, 3, 1), (3,)),
    "3d": ((2, 3, 9, 8, 7), (1, 1, 3, 2, 4), ()),
    "3d, large": ((2, 40, 30, 50), (1, 7, 7, 7), ()),
    "3d, hollow": ((2, 9, 8, 7), (1, 3, 1, 2), ()),
    "3d, shared channels last": ((2, 9, 8, 7, 6), (1, 3, 2, 4, 1), (0, 4)),
}
each_case = pytest.mark.parametrize(("shape", "sizes", "shared"), CASES.values(), ids=list(CASES))
each_pool = pytest.mark.parametrize("pool", [Pool(threads=1), eager(3)], ids=["one", "three"])


def seeds(shape, sizes, shared=(), window=False):
    """Return where blocks begin: a third of the elements is dropped, or nearly so."""
    places = tuple(n + size - 1 for n, size in zip(shape, sizes, strict=True))
    p = 1 - (2 / 3) ** (1 / np.prod(sizes))
    where = None
    if window:
        whole = tuple(n if a in shared else n + 3 for a, n in enumerate(places))
        offset = tuple(0 if a in shared else 1 + a % 2 for a in range(len(places)))
        where = anydrop.Window(offset, whole)
    return anydrop.Mask.from_seed(places, p, seed=3, step=2, shared_axes=shared, window=where)


def array(shape, dtype):
    rng = np.random.default_rng(0)
    parts = rng.standard_normal((2, *shape))
    x = parts[0] + 1j * parts[1] if "complex" in dtype else parts[0]
    x = x.astype(dtype_of(dtype))
    x.reshape(-1)[::5] = np.nan
    x.reshape(-1)[::7] = -0.0
    return x


def expected(x, recipe, sizes, scale):
    backend = NumpyBackend(use_numba=True, pool=Pool(threads=1))
    kept = eroded(np, backend.keep(recipe, x), sizes)
    return kept, backend.select(x, kept, scale)


@each_case
@each_pool
@pytest.mark.parametrize("window", [False, True], ids=["whole", "window"])
def test_masks_and_what_they_select(shape, sizes, shared, pool, window):
    recipe, x = seeds(shape, sizes, shared, window), array(shape, "float32")
    kept, y = expected(x, recipe, sizes, 1.5)
    assert 0.1 < kept.mean() < 0.9
    assert bits(blocks.keep(compiled, pool, recipe, sizes)) == bits(kept)
    assert bits(blocks.select(compiled, pool, x, recipe, sizes, 1.5, None)) == bits(y)
    assert blocks.select(compiled, pool, x, recipe, sizes, 1.5, x) is x
    assert bits(x) == bits(y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", ["2d", "2d, shared channels last", "1d, long"])
def test_dtypes(dtype, case):
    shape, sizes, shared = CASES[case]
    recipe, x = seeds(shape, sizes, shared), array(shape, dtype)
    _, y = expected(x, recipe, sizes, 1e30)
    assert bits(blocks.select(compiled, Pool(threads=1), x, recipe, sizes, 1e30, None)) == bits(y)


@pytest.mark.parametrize("seed", range(30))
def test_any_shape(seed):
    rng = np.random.default_rng(seed)
    ndim = int(rng.integers(1, 6))
    shape = tuple(int(n) for n in rng.integers(1, 12, ndim))
    first, last = sorted(rng.integers(0, ndim, 2))
    sizes = tuple(int(rng.integers(1, 5)) if first <= axis <= last else 1 for axis in range(ndim))
    shared = tuple(a for a in range(ndim) if not first <= a <= last and rng.random() < 0.4)
    recipe, x = seeds(shape, sizes, shared, bool(rng.integers(2))), array(shape, "float32")
    kept, y = expected(x, recipe, sizes, 1.5)
    mask = blocks.keep(compiled, Pool(threads=1), recipe, sizes)
    selected = blocks.select(compiled, Pool(threads=1), x, recipe, sizes, 1.5, None)
    has_blocks = [axis for axis, size in enumerate(sizes) if size > 1]
    if not has_blocks:
        assert mask is None
        assert selected is None
        return
    assert bits(mask) == bits(kept)
    # Of axes behind the blocks the kernel serves those of one kind, shared or not.
    behind = {axis in shared for axis in range(has_blocks[-1] + 1, ndim) if shape[axis] > 1}
    assert selected is None if len(behind) == 2 else bits(selected) == bits(y)


def test_other_layouts_are_left_to_others():
    shape, sizes, shared = CASES["2d"]
    recipe, x = seeds(shape, sizes, shared), array(shape, "float32")
    pool = Pool(threads=1)
    for other in x.T.copy().T, x.astype(x.dtype.newbyteorder()), x[:, :, :, ::-1]:
        assert blocks.select(compiled, pool, other, recipe, sizes, 1.5, None) is None
    long = np.zeros((4, *shape[1:]), x.dtype)
    assert blocks.select(compiled, pool, long[:3], recipe, sizes, 1.5, long[1:]) is None
