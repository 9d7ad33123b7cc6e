"""Masks of recipes at random, of any length and tail: more than the conformance suite tries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anydrop
from anydrop import Mask, Window
from anydrop.testing.reference import bits, keep, numbers

# Where each shape is compiled, interpreted or cut to chunks, fewer of them are tried.
SLOW = ("jax", "torch-triton", "torch-cuda", "dask")
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
        "p": draw(st.sampled_from([0.0, 1e-9, 0.1, 0.5, 0.9, 1 - 2**-32])),
        "seed": draw(st.sampled_from([0, 42, 2**70, (1, 2)])),
        "step": draw(st.sampled_from([0, 7, 2**32, 2**64 - 1])),
        "shared_axes": tuple(sorted(shared)),
        "window": window,
    }


def test_any_recipe(subject_and_dtype):
    subject, dtype = subject_and_dtype

    @settings(max_examples=4 if subject.name.startswith(SLOW) else 60)
    @given(recipe=recipes(), draw=st.integers(0, 2**32))
    def check(recipe, draw):
        with np.errstate(all="ignore"):
            subject.check_recipe(dtype, recipe, draw)

    check()


@quiet
def test_any_length(subject_and_dtype):
    subject, dtype = subject_and_dtype
    lengths = [0, 1, 65, 1000] if subject.name.startswith(SLOW) else [0, 1, 63, 64, 65, 1000]
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
    """Every way in which a run can begin and end within a kernel's 128 elements."""
    whole = keep((140,), 0.5, seed=9)
    for n in (0, 1, 3, 4, 5, 131) if subject.name.startswith(SLOW) else range(132):
        mask = Mask.from_seed((n,), 0.5, seed=9, window=Window((lead,), (140,)))
        y = subject.numpy(mask.apply(subject.array(np.ones(n, "f4"))))
        assert np.array_equal(y, 2.0 * whole[lead : lead + n])


def test_mask_keeps_its_scale_for_the_gradient(subject):
    x = subject.array(np.ones(100, "f4"))
    for scaling, scale in (("train", 2.0), ("inference", 1.0)):
        y, mask = anydrop.dropout(x, 0.5, seed=2, scaling=scaling, return_mask=True)
        assert mask.scale == scale
        assert np.array_equal(subject.numpy(mask.apply(x)), subject.numpy(y))
    y, mask = anydrop.dropout(x, 0.5, training=False, return_mask=True)
    assert y is x
    assert mask is None
