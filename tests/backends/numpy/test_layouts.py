"""Memory: any strides, byte order, overlap and ownership give the mask of the logical index."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from subjects import cuda_on_host_subjects, numpy_subjects, serving

import anydrop
from anydrop import Window
from anydrop.backends.numpy.backend import NumpyBackend
from anydrop.testing.reference import keep

# Draws masks in C order whatever the arrays' layout, and is itself tested elsewhere.
WITHOUT = NumpyBackend(use_numba=False)
SHAPE = (6, 8, 10)
DTYPES = ("f2", "f4", "f8", "c8", "c16")


@pytest.fixture(
    params=numpy_subjects() + cuda_on_host_subjects(), ids=lambda s: s.name, autouse=True
)
def kernels(request, monkeypatch):
    return serving(monkeypatch, request.param)


def unaligned(x):
    raw = np.empty(x.nbytes + 1, np.uint8)[1:]
    view = raw.view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def strided(x):
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


LAYOUTS = {
    "contiguous": lambda x: x,
    "fortran": np.asfortranarray,
    "strided": strided,
    "negative": lambda x: x[::-1, :, ::-1].copy()[::-1, :, ::-1],
    "permuted": lambda x: np.ascontiguousarray(x.transpose(2, 0, 1)).transpose(1, 2, 0),
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "unaligned": unaligned,
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
}


def example(dtype):
    return np.random.default_rng(0).standard_normal(SHAPE).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "recipe", [{}, {"shared_axes": (0, 2)}, {"window": Window((2, 3, 4), (9, 20, 31))}], ids=str
)
def test_layout(layout, dtype, recipe):
    x = LAYOUTS[layout](example(dtype))
    before = x.copy()
    kept = keep(SHAPE, 0.5, seed=8, step=2, **recipe)
    y = anydrop.dropout(x, 0.5, seed=8, step=2, **recipe)
    assert np.array_equal(y, np.where(kept, example(dtype) * 2, 0))
    assert y.dtype == x.dtype
    assert y.flags.writeable
    assert np.array_equal(x, before)

    out = LAYOUTS["contiguous" if layout == "read-only" else layout](np.full(SHAPE, 7, dtype))
    assert anydrop.dropout(x, 0.5, seed=8, step=2, out=out, **recipe) is out
    assert np.array_equal(out, y)


@pytest.mark.parametrize("dtype", ["f2", "f4"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_sums_of_arrays_in_layouts_of_their_own(layout, dtype):
    """With a bias and without, and a step of more than 32 bits."""
    x, bias, place = example(dtype), example("f4")[0].astype(dtype), {"seed": 8, "step": 2**40 + 3}
    wide = [a.astype("f4") for a in (x, x[::-1], bias)]
    kept = keep(SHAPE, 0.5, **place)
    for its, added in ((bias, wide[2]), (None, np.float32(0))):
        expected = wide[1] + np.where(kept, (wide[0] + added) * 2, np.float32(0))
        for other in LAYOUTS.values():
            pair = LAYOUTS[layout](x), other(x[::-1].copy())
            y = anydrop.dropout_add(*pair, 0.5, bias=its, **place)
            assert np.array_equal(y, expected.astype(dtype))


def test_a_fortran_array_stays_one():
    assert anydrop.dropout(np.asfortranarray(example("f4")), 0.5, seed=0).flags.f_contiguous


@pytest.mark.parametrize("shift", [1, -1, 3])
@pytest.mark.parametrize("shared_axes", [(), (0,)])
def test_out_that_overlaps(shift, shared_axes):
    buffer = np.arange(200_010, dtype="f4")
    x = buffer[3:200_003].reshape(2, -1)
    out = buffer[3 + shift : 200_003 + shift].reshape(2, -1)
    expected = anydrop.dropout(x.copy(), 0.5, seed=0, shared_axes=shared_axes)
    anydrop.dropout(x, 0.5, seed=0, shared_axes=shared_axes, out=out)
    assert np.array_equal(out, expected)


def test_reversed_in_place():
    buffer = np.arange(1, 1001, dtype="f4")
    expected = anydrop.dropout(buffer.copy(), 0.5, seed=0)
    anydrop.dropout(buffer, 0.5, seed=0, out=buffer[::-1])
    assert np.array_equal(buffer[::-1], expected)


def test_large_and_not_contiguous():
    """More than one piece of the buffered iterator."""
    x = np.random.default_rng(0).standard_normal((700, 900)).astype("f4")
    expected = anydrop.dropout(x, 0.5, seed=3)
    assert np.array_equal(anydrop.dropout(np.asfortranarray(x), 0.5, seed=3), expected)
    assert np.array_equal(anydrop.dropout(strided(x), 0.5, seed=3), expected)
    assert np.array_equal(anydrop.dropout(x.T.copy().T, 0.5, seed=3), expected)


@pytest.mark.parametrize("shape", [(400, 700, 3), (3, 700_000), (250_000, 4, 1)])
def test_windows_of_many_and_of_long_runs(shape):
    extent = tuple(n + 3 for n in shape)
    window = Window((1, 2, 1)[: len(shape)], extent)
    region = tuple(slice(o, o + n) for o, n in zip(window.offset, shape, strict=True))
    whole = anydrop.Mask.from_seed(extent, 0.5, seed=5).keep(like=np.empty(0))
    part = anydrop.Mask.from_seed(shape, 0.5, seed=5, window=window)
    assert np.array_equal(part.keep(like=np.empty(0)), whole[region])
    assert np.array_equal(part.apply(np.ones(shape, "f4")) != 0, whole[region])


@st.composite
def views(draw):
    """Return how to cut a view of a shape out of memory: order of axes, strides, directions."""
    shape = draw(st.lists(st.sampled_from([1, 2, 3, 64, 65, 128, 130]), min_size=1, max_size=3))
    order = draw(st.permutations(range(len(shape))))
    strides = draw(st.lists(st.sampled_from([1, 1, 2, 3, -1, -2]), min_size=3, max_size=3))
    return tuple(shape), tuple(order), tuple(strides)


def cut(shape, order, strides, values):
    """Return a view as `views` describes it, with the values in C order."""
    memory = np.zeros([shape[a] * abs(strides[a]) for a in order], values.dtype)
    view = memory.transpose(np.argsort(order))
    view = view[tuple(slice(None, None, step) for step in strides[: len(shape)])]
    view[...] = values
    assert view.base is not None
    return view


def test_any_strides():
    """Of input and output, each in an order and of directions of its own."""

    @settings(max_examples=60)
    @given(
        source=views(),
        target=st.permutations(range(3)),
        directions=st.lists(st.sampled_from([1, 2, -1]), min_size=3, max_size=3),
        dtype=st.sampled_from(["f2", "f4", "f8", "c8"]),
        shared=st.sets(st.integers(0, 2)),
        inside=st.booleans(),
        repeated=st.booleans(),
    )
    def check(source, target, directions, dtype, shared, inside, repeated):
        shape, order, strides = source
        ndim = len(shape)
        values = np.random.default_rng(0).standard_normal(shape).astype(dtype)
        x = cut(shape, order, strides, values)
        if repeated:  # an input may have one element in many places
            x = np.broadcast_to(x[:1], shape)
        sevens = np.full(shape, 7, dtype)
        out = cut(shape, tuple(a for a in target if a < ndim), directions, sevens)
        shared = tuple(sorted(a for a in shared if a < ndim))
        window = Window((3,) * ndim, tuple(n + 7 for n in shape)) if inside else None
        recipe = {"seed": 4, "shared_axes": shared, "window": window}
        kept = WITHOUT.keep(anydrop.Mask.from_seed(shape, 0.5, **recipe), x)
        expected = np.where(kept, x * np.asarray(2, dtype), np.asarray(0, dtype))
        assert np.array_equal(anydrop.dropout(x, 0.5, **recipe), expected)
        assert anydrop.dropout(x, 0.5, out=out, **recipe) is out
        assert np.array_equal(out, expected)
        # Nothing beside it was written to: all that is left of the memory is zeros.
        out[...] = 0
        memory = out
        while memory.base is not None:
            memory = memory.base
        assert not memory.any()

    check()


def test_memmap_and_scalars(tmp_path):
    stored = np.memmap(tmp_path / "x", np.float32, "w+", shape=(50,))
    stored[:] = 1
    y = anydrop.dropout(stored, 0.5, seed=0)
    assert type(y) is np.ndarray
    assert np.array_equal(y, 2.0 * keep((50,), 0.5, seed=0))
    y = anydrop.dropout(np.float32(3), 0.5, seed=0)
    assert type(y) is np.ndarray
    assert y.shape == ()
    assert y == 6 * keep((), 0.5, seed=0)


def test_no_warning_where_the_arithmetic_overflows():
    """pytest turns warnings into errors here; and the results are those of the arithmetic."""
    assert np.isposinf(anydrop.dropout(np.full(50, 3e38, "f4"), 0.5, seed=0)).any()
    assert np.isposinf(anydrop.dropout(np.full(50, 6e4, "f2"), 0.5, seed=0)).any()
    assert np.isposinf(anydrop.dropout(np.full(50, 1e308), 0.5, seed=0)).any()
    x, mask = np.ones(50, "f4"), anydrop.Mask.from_seed((50,), 0.5, seed=0)
    assert np.isposinf(anydrop.resolve(x).select(x, mask, 1e300)).any()
