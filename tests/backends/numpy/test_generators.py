"""The RNG adapters of NumPy: whose numbers, in which order, and one bit an element."""

import copy
import pickle

import numpy as np
import pytest
from subjects import available, needs_strict, numpy_subjects

import anydrop
from anydrop import Dropout
from anydrop.core.recipe import Affine
from anydrop.testing.reference import bits, select
from anydrop.testing.subject import dtype_of

DTYPES = ["float16", "float32", "float64", "complex64", "complex128"]
DTYPES += ["bfloat16"] * available("ml_dtypes")


def test_textbook_example():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    y = anydrop.dropout(x, 0.2, rng=np.random.RandomState(42))
    assert y.tolist() == [[1.25, 0.0], [3.75, 5.0]]


def generators():
    np.random.seed(7)  # noqa: NPY002 - the module's global state is what is tested
    return [np.random.default_rng(7), np.random.RandomState(7), np.random]


@pytest.mark.parametrize("which", range(3))
def test_the_generators_own_numbers(which):
    """The very numbers that one call of the generator gives, drawn in parts."""
    shape = (70, 1000)
    rng = generators()[which]
    y, mask = anydrop.dropout(np.ones(shape, "f4"), 0.3, rng=rng, return_mask=True)
    after = rng.random_sample(3) if which else rng.random(3)
    rng = generators()[which]
    uniform = rng.random_sample(shape) if which else rng.random(shape)
    assert np.array_equal(mask.keep(like=y), uniform < 0.7)
    assert np.array_equal(y != 0, uniform < 0.7)
    assert np.array_equal(after, rng.random_sample(3) if which else rng.random(3))


def test_it_is_kept_as_one_bit_an_element():
    _, mask = anydrop.dropout(np.ones(1001), 0.5, rng=np.random.default_rng(0), return_mask=True)
    assert mask.bits.dtype == np.uint8
    assert mask.bits.nbytes == 126


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8"])
@pytest.mark.parametrize("shared_axes", [(), (1,), (0, 1)])
def test_forward_and_backward(dtype, shared_axes):
    x = np.random.default_rng(1).standard_normal((30, 20)).astype(dtype)
    drop = Dropout(0.4, rng=np.random.default_rng(0), shared_axes=shared_axes)
    y = drop(x)
    assert drop.mask.shape == tuple(1 if a in shared_axes else n for a, n in enumerate(x.shape))
    assert bits(y) == bits(select(x, drop.mask, 1 / 0.6))
    assert bits(drop.backward(x)) == bits(y)
    assert bits(drop.backward(x)) == bits(y)


@pytest.mark.parametrize("subject", numpy_subjects(), ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_are_applied_in_one_pass(subject, dtype):
    """To arrays of any length and layout, by any threads, from anywhere in a byte."""
    affine = Affine(1.5, 0.25, -3.0)
    for n in (1, 7, 8, 9, 127, 128, 129, 1000, 2**18 + 5):
        rng = np.random.default_rng(n)
        x, kept = rng.standard_normal(n).astype(dtype_of(dtype)), rng.random(n) < 0.6
        packed, expected = subject.kernel.pack(kept), bits(select(x, kept, *affine))
        for view in (x, np.repeat(x, 2)[::2]):
            assert bits(subject.kernel.select_packed(view, packed, (n,), affine)) == expected
        in_place = np.concatenate([x[:1], x, x[:1]])
        out = in_place[1:-1]
        assert subject.kernel.select_packed(out, packed, (n,), affine, out) is out
        assert bits(out) == expected
        assert bits(in_place[[0, -1]]) == bits(x[[0, 0]])
        overlapping = np.concatenate([x, x[:1]])
        subject.kernel.select_packed(overlapping[:-1], packed, (n,), affine, overlapping[1:])
        assert bits(overlapping[1:]) == expected


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2)])
def test_shapes_without_a_full_byte(shape):
    drop = Dropout(0.5, rng=np.random.default_rng(0))
    x = np.ones(shape)
    assert drop(x).shape == shape
    assert drop.mask.shape == shape
    assert drop.backward(x).shape == shape


def test_inference_draws_nothing():
    class Raising(np.random.Generator):
        def random(self, *args, **kwargs):
            raise AssertionError("inference drew a number")

    drop = Dropout(0.5, rng=Raising(np.random.PCG64(0)))
    x = np.ones(3)
    assert drop.forward(x, training=False) is x
    with pytest.raises(AssertionError, match="drew a number"):
        drop(x)


@needs_strict
def test_a_stored_mask_goes_to_another_library():
    import array_api_strict as xp

    drop = Dropout(0.5, rng=np.random.default_rng(0), shared_axes=1)
    y = drop(np.ones((9, 5), "f4"))
    for device in xp.__array_namespace_info__().devices():
        ones = xp.ones((9, 5), dtype=xp.float32, device=device)
        assert np.array_equal(np.from_dlpack(drop.backward(ones)), y)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
@pytest.mark.parametrize("which", range(3))
def test_copies(duplicate, which):
    drop = Dropout(0.5, rng=generators()[which])
    y = drop(np.ones(50))
    twin = duplicate(drop)
    assert np.array_equal(twin.backward(np.ones(50)), y)
    if which < 2:
        assert np.array_equal(twin(np.ones(50)), drop(np.ones(50)))
    else:
        assert twin._rng is np.random


def test_state_of_a_layer_with_a_generator():
    drop = Dropout(0.5, rng=np.random.default_rng(0))
    drop(np.ones(3))
    state = drop.state_dict()
    assert state["seed"] is None
    other = Dropout(0.1, rng=np.random.default_rng(0))
    other.load_state_dict(state)
    assert (other.p, other.step) == (0.5, 1)
    with pytest.raises(ValueError, match="a layer with rng=, and this layer has seed="):
        Dropout(seed=0).load_state_dict(state)
