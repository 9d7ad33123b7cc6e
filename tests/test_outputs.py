"""Masks and outputs of every subject, bit by bit, against `reference`."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import bits, keep, numbers

import anydrop
from anydrop import Mask, Window

quiet = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@st.composite
def recipes(draw):
    """Shapes with shared axes and windows, of few elements."""
    shape = draw(st.lists(st.integers(0, 7), max_size=4).map(tuple))
    shared = draw(st.lists(st.sampled_from(range(len(shape))), unique=True)) if shape else []
    window = None
    if draw(st.booleans()):
        offset = tuple(draw(st.integers(0, 2 ** (40 // max(1, len(shape))))) for _ in shape)
        beyond = tuple(draw(st.integers(0, 9)) for _ in shape)
        extent = tuple(o + n + b for o, n, b in zip(offset, shape, beyond, strict=True))
        window = Window(offset, extent)
    return {
        "shape": shape,
        "p": draw(st.sampled_from([0.0, 1e-9, 0.1, 0.5, 0.9, 1 - 2**-32, 1 - 2**-53])),
        "seed": draw(st.sampled_from([0, 42, 2**70, (1, 2)])),
        "step": draw(st.sampled_from([0, 7, 2**32, 2**64 - 1])),
        "shared_axes": tuple(sorted(shared)),
        "window": window,
    }


@quiet
def test_any_recipe(subject_and_dtype):
    subject, dtype = subject_and_dtype

    @settings(max_examples=6 if subject.compiles else 60)
    @given(recipe=recipes(), draw=st.integers(0, 2**32))
    def check(recipe, draw):
        check_recipe(subject, dtype, recipe, draw)

    check()


def check_recipe(subject, dtype, recipe, draw):
    x = numbers(recipe["shape"], dtype, np.random.default_rng(draw))
    kept = keep(**recipe)
    mask = Mask.from_seed(**recipe)
    array = subject.array(x)
    drawn = mask.keep(like=array)
    assert subject.backend.owns(drawn)
    assert subject.numpy(drawn).dtype == bool
    assert np.array_equal(subject.numpy(drawn), kept)

    y = mask.apply(array)
    assert type(y) is type(array)
    assert y.dtype == array.dtype
    assert subject.backend.device(y) == subject.backend.device(array)
    assert y.shape == array.shape
    assert bits(subject.numpy(y)) == bits(subject.select(x, kept, mask.scale))


FACTORS = list(
    itertools.product(
        (1.5, 1 / 0.9, 0.8862), (-0.0, 0.0, 0.3), (0.0, -0.0, 0.7, -1.7580993408473766)
    )
)


@quiet
@pytest.mark.parametrize("shared_axes", [(), (1,)])
def test_contract_of_select(subject_and_dtype, shared_axes):
    """What later layers stand on: an affine map and a fill, with one rounding."""
    subject, dtype = subject_and_dtype
    x = numbers((9, 31), dtype, np.random.default_rng(5))
    mask = Mask.from_seed(x.shape, 0.4, seed=3, shared_axes=shared_axes)
    kept = keep(x.shape, 0.4, seed=3, shared_axes=shared_axes)
    # Where every call compiles, every seventh: each scale, shift and fill is among them.
    for scale, shift, fill in FACTORS[:: 7 if subject.recompiles else 1]:
        y = subject.backend.select(subject.array(x), mask, scale, shift, fill)
        expected = subject.select(x, kept, scale, shift, fill)
        assert bits(subject.numpy(y)) == bits(expected), (scale, shift, fill)


@quiet
def test_any_length(subject_and_dtype):
    subject, dtype = subject_and_dtype
    lengths = [0, 1, 65, 1000] if subject.compiles else [0, 1, 63, 64, 65, 1000]
    if subject.name.startswith(("numpy", "numba")):
        lengths.append(2**17 - 1)
    for length in lengths:
        rng = np.random.default_rng(length)
        x = numbers((length,), dtype, rng)
        y = subject.numpy(anydrop.dropout(subject.array(x), 0.3, seed=1, step=2))
        mask = Mask.from_seed((length,), 0.3, seed=1, step=2)
        kept = subject.numpy(mask.keep(like=subject.array(x)))
        assert bits(y) == bits(subject.select(x, kept, mask.scale)), length
        for i in rng.integers(0, length, 40).tolist() if length else []:
            assert kept[i] == keep((1,), 0.3, seed=1, step=2, window=((i,), (length,)))[0]


@pytest.mark.parametrize("lead", range(4))
def test_any_tail(subject, lead):
    """Every way in which a run can begin and end within a kernel's 64 elements."""
    whole = keep((140,), 0.5, seed=9)
    for n in (0, 1, 3, 4, 5, 67) if subject.compiles else range(68):
        mask = Mask.from_seed((n,), 0.5, seed=9, window=Window((lead,), (140,)))
        y = subject.numpy(mask.apply(subject.array(np.ones(n, "f4"))))
        assert np.array_equal(y, 2.0 * whole[lead : lead + n])


def test_indices_past_2_34(subject):
    """A block's number outgrows 32 bits; also within one row of short runs."""
    edge = 2**34
    recipe = {"shape": (30,), "seed": 0, "window": Window((edge - 13,), (2**41,))}
    mask = Mask.from_seed(p=0.5, **recipe)
    like = subject.array(np.empty(0, "f4"))
    assert np.array_equal(subject.numpy(mask.keep(like)), keep(p=0.5, **recipe))
    recipe = {"shape": (9, 5), "seed": 0, "window": Window((2**30 - 4, 3), (2**33, 16))}
    mask = Mask.from_seed(p=0.5, **recipe)
    assert np.array_equal(subject.numpy(mask.keep(like)), keep(p=0.5, **recipe))


@pytest.mark.parametrize("shape", [(0, 40), (40, 0), (0, 0), (0,), (3, 0, 5)])
def test_an_empty_array_whose_empty_axis_is_shared(subject, shape):
    """Its mask is not empty."""
    for shared in ((), (0,), tuple(range(len(shape)))):
        mask = Mask.from_seed(shape, 0.5, seed=1, shared_axes=shared)
        kept = subject.numpy(mask.keep(subject.array(np.empty(0, "f4"))))
        assert np.array_equal(kept, keep(shape, 0.5, seed=1, shared_axes=shared))
        assert mask.apply(subject.array(np.empty(shape, "f4"))).shape == shape


def test_the_last_index(subject):
    window = Window((2**32 - 2, 2**32 - 3), (2**32, 2**32))
    mask = Mask.from_seed((2, 3), 0.5, seed=1, window=window)
    kept = subject.numpy(mask.keep(subject.array(np.empty(0, "f4"))))
    assert np.array_equal(kept, keep((2, 3), 0.5, seed=1, window=window))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (8,), (3, 11), (2, 0, 3)])
def test_packed_bits(subject, shape):
    kept = np.random.default_rng(0).random(shape) < 0.5
    bits = subject.backend.pack(subject.array(kept))
    assert np.array_equal(subject.numpy(bits), np.packbits(kept, bitorder="little"))
    back = subject.backend.unpack(bits, shape, subject.array(np.empty(0, "f4")))
    assert np.array_equal(subject.numpy(back), kept)


def test_select_takes_a_keep_mask_or_none(subject):
    """What layers of computed masks stand on."""
    x = np.arange(1, 13, dtype="f4").reshape(3, 4)
    kept = np.array([[True], [False], [True]])
    y = subject.backend.select(subject.array(x), subject.array(kept), 2.0, 1.0, 7.0)
    assert np.array_equal(subject.numpy(y), np.where(kept, x * 2 + 1, 7))
    y = subject.backend.select(subject.array(x), None, 0.5)
    assert np.array_equal(subject.numpy(y), x / 2)


def test_windows_tile_the_global_mask(subject):
    shape = (5, 12, 7)
    x = np.arange(1, 421, dtype="f4").reshape(shape)
    for shared in ((), (1,)) if subject.compiles else ((), (0,), (1,), (2,), (0, 2)):
        whole = anydrop.dropout(subject.array(x), 0.5, seed=4, shared_axes=shared)
        tiles = np.full(shape, np.nan, "f4")
        for a, b in ((0, 2), (2, 5)):
            for c, d in ((0, 1), (1, 7), (7, 12)):
                tiles[a:b, c:d] = subject.numpy(
                    anydrop.dropout(
                        subject.array(x[a:b, c:d].copy()),
                        0.5,
                        seed=4,
                        shared_axes=shared,
                        window=Window((a, c, 0), shape),
                    )
                )
        assert np.array_equal(tiles, subject.numpy(whole))


def test_dropped_nan_and_inf_are_zero_and_kept_ones_stay(subject):
    x = np.array([np.nan, np.inf, -np.inf, 1.0] * 25, "f4")
    kept = keep(x.shape, 0.5, seed=0)
    y = subject.numpy(anydrop.dropout(subject.array(x), 0.5, seed=0))
    assert np.all(y[~kept] == 0)
    assert not np.signbit(y[~kept]).any()
    assert np.array_equal(y[kept], x[kept] * 2, equal_nan=True)


@quiet
def test_inference_scaling(subject_and_dtype):
    subject, dtype = subject_and_dtype
    x = numbers((50,), dtype, np.random.default_rng(0))
    array = subject.array(x)
    assert anydrop.dropout(array, 0.3, training=False) is array
    y = anydrop.dropout(array, 0.3, training=False, scaling="inference")
    assert bits(subject.numpy(y)) == bits(subject.select(x, np.ones(50, bool), 1 - 0.3))
    y = anydrop.dropout(array, 0.3, seed=0, scaling="inference")
    assert bits(subject.numpy(y)) == bits(subject.select(x, keep((50,), 0.3, seed=0), 1.0))


def test_out(subject):
    if subject.immutable:
        pytest.skip(f"{subject.backend.name} arrays are immutable: out= is refused")
    x = subject.array(np.linspace(-1, 1, 24, dtype="f4").reshape(4, 6))
    expected = subject.numpy(anydrop.dropout(x, 0.5, seed=2)).copy()
    out = subject.array(np.zeros((4, 6), "f4"))
    assert anydrop.dropout(x, 0.5, seed=2, out=out) is out
    assert np.array_equal(subject.numpy(out), expected)
    assert anydrop.dropout(x, 0.5, training=False, out=out) is out
    assert np.array_equal(subject.numpy(out), subject.numpy(x))
    assert anydrop.dropout(x, 0.5, seed=2, out=x) is x
    assert np.array_equal(subject.numpy(x), expected)


def test_mask_keeps_its_scale_for_the_gradient(subject):
    x = subject.array(np.ones(100, "f4"))
    for scaling, scale in (("train", 2.0), ("inference", 1.0)):
        y, mask = anydrop.dropout(x, 0.5, seed=2, scaling=scaling, return_mask=True)
        assert mask.scale == scale
        assert np.array_equal(subject.numpy(mask.apply(x)), subject.numpy(y))
    y, mask = anydrop.dropout(x, 0.5, training=False, return_mask=True)
    assert y is x
    assert mask is None
