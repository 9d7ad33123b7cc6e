"""Global shapes up to 2**64 elements are drawn, to their last index; one more is refused."""

import numpy as np
import pytest
from subjects import available

import anydrop
from anydrop import Mask, Window
from anydrop.testing.reference import keep

LARGEST = (2**32, 2**32)  # 2**64 elements
REFUSED = "a mask may have at most 2\\*\\*64 elements, got the shape"
P, SHAPE = 0.5, (3, 5)


def corner(extent):
    return Window(tuple(n - m for n, m in zip(extent, SHAPE, strict=True)), extent)


def arrays():
    yield "numpy", np.ones(SHAPE)
    if available("torch"):
        import torch

        yield "torch", torch.ones(SHAPE, dtype=torch.float64)
        yield "torch, followed", torch.ones(SHAPE, dtype=torch.float64, requires_grad=True)
    if available("jax"):
        import jax.numpy as jnp

        yield "jax", jnp.ones(SHAPE)
    if available("dask"):
        import dask.array as da

        yield "dask", da.ones(SHAPE, chunks=(2, 3))
    if available("array_api_strict"):
        import array_api_strict as xp

        yield "array_api_strict", xp.ones(SHAPE)


ARRAYS = dict(arrays())
# Where an index needs its 33rd bit, its 34th, its 64th, and all of them.
EXTENTS = [(2**16, 2**16), (2**17, 2**16), (2**16 + 1, 2**16 + 1), (2**32, 2**31), LARGEST]


@pytest.mark.parametrize("shared", [(), (0,), (1,)], ids=str)
@pytest.mark.parametrize("extent", EXTENTS, ids=str)
@pytest.mark.parametrize("x", ARRAYS.values(), ids=ARRAYS)
def test_the_last_corner(x, extent, shared):
    recipe = {"seed": 5, "step": 2**40, "shared_axes": shared, "window": corner(extent)}
    y = anydrop.dropout(x, P, **recipe)
    kept = np.broadcast_to(keep(SHAPE, P, **recipe), SHAPE)
    assert np.array_equal(anydrop.resolve(y).to_numpy(y) != 0, kept)
    mask = Mask.from_seed(SHAPE, P, **recipe)
    assert np.array_equal(np.broadcast_to(mask.keep(np.empty(0)), SHAPE), kept)


@pytest.mark.parametrize("extent", [(2**32, 2**32 + 1), (2**33, 2**32), (2**60, 2**60)], ids=str)
def test_one_element_more(extent):
    for make in (
        lambda: Mask.from_seed(SHAPE, P, seed=0, window=corner(extent)),
        lambda: anydrop.dropout(np.ones(SHAPE), P, seed=0, window=corner(extent)),
        lambda: anydrop.gaussian_dropout(np.ones(SHAPE), P, seed=0, window=corner(extent)),
    ):
        with pytest.raises(ValueError, match=REFUSED):
            make()
    with pytest.raises(ValueError, match=REFUSED):
        Mask.from_seed(extent, P, seed=0)


def test_blocks_need_room_beyond_the_edges():
    """The places where blocks begin are more than the elements, by a block less one."""
    x = np.ones((1, 1, 9))
    fits = Window((0, 0, 2**64 - 9 - 2), (1, 1, 2**64 - 2))
    y, mask = anydrop.drop_block1d(x, P, 3, seed=0, window=fits, return_mask=True)
    begins = keep((1, 1, 11), mask.seeds.p, seed=0, window=((0, 0, 2**64 - 11), (1, 1, 2**64)))
    kept = begins[..., :-2] & begins[..., 1:-1] & begins[..., 2:]
    assert np.array_equal(y != 0, kept)
    assert 0 < kept.sum() < 9
    for extent in (2**64 - 1, 2**64):
        window = Window((0, 0, 0), (1, 1, extent))
        with pytest.raises(ValueError, match=REFUSED):
            anydrop.drop_block1d(x, P, 3, seed=0, window=window)


@pytest.mark.parametrize("axis", [0, 1])
def test_blocks_that_are_shared_within_a_window(axis):
    """The caller's shared axes, and the window, are those of the places where blocks begin."""
    x = np.ones((4, 3, 8, 8))
    whole = anydrop.drop_block2d(x, P, 3, seed=2, shared_axes=axis)
    assert np.array_equal(whole, np.broadcast_to(whole.take([0], axis), x.shape))
    window = Window((1, 1, 2, 3), x.shape)
    part = anydrop.drop_block2d(x[1:3, 1:, 2:7, 3:], P, 3, seed=2, shared_axes=axis, window=window)
    assert np.array_equal(part, whole[1:3, 1:, 2:7, 3:])
    assert 0 < (whole == 0).mean() < 1


def test_the_tokens_of_a_dtype():
    ids = np.arange(200, dtype=np.uint8)
    for token in (0, 255):
        y = anydrop.token_dropout(ids, P, token=token, protected=(255, 0), seed=0)
        kept = keep((200,), P, seed=0) | (ids == 0)
        assert np.array_equal(y, np.where(kept, ids, token))
    for wrong in (-1, 256):
        message = f"the token {wrong} does not fit in dtype uint8, which holds 0 to 255"
        with pytest.raises(ValueError, match=message):
            anydrop.token_dropout(ids, P, token=wrong, seed=0)
        with pytest.raises(ValueError, match=message):
            anydrop.token_dropout(ids, P, token=0, protected=(3, wrong), seed=0)


@pytest.mark.parametrize("use_numba", [False, True])
def test_a_field_of_a_record(use_numba):
    """Its elements lie 12 bytes apart, which is no multiple of their own 8."""
    if use_numba and not available("numba"):
        pytest.skip("numba is not installed here; nox -s tests-numpy has it")
    from anydrop.backends.numpy.backend import NumpyBackend

    records = np.zeros((6, 7), [("index", "i4"), ("value", "c8")])
    x = records["value"]
    x[...] = np.arange(42).reshape(6, 7) + 1j
    assert (x.strides[-1], x.itemsize) == (12, 8)
    mask = Mask.from_seed(x.shape, P, seed=0)
    backend = NumpyBackend(use_numba=use_numba)
    expected = np.where(keep(x.shape, P, seed=0), x * 2, 0)
    assert np.array_equal(backend.select(x, mask, 2.0), expected)
    backend.select(x, mask, 2.0, out=x)
    assert np.array_equal(records["value"], expected)
    assert not records["index"].any()
