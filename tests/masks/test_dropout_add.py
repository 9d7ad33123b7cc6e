"""`dropout_add`: a bias, a mask and a residual in one pass, to the bit of the plain expression."""

import copy
import pickle

import numpy as np
import pytest
from subjects import available

import anydrop
from anydrop import Window
from anydrop.testing.reference import bits, keep, select_add
from anydrop.testing.subject import dtype_of

P = 0.4
BIASES = [None, (), (5,), (6, 1), (1, 5), (6, 5)]
HALVES = ["float16"] + ["bfloat16"] * available("ml_dtypes")


def arrays(shape=(6, 5), dtype="f4", bias=None):
    """Return x, a residual and a bias of random numbers."""
    rng = np.random.default_rng(0)
    x, residual = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    return x, residual, None if bias is None else np.asarray(rng.standard_normal(bias), dtype)


def by_hand(x, residual, bias=None, p=P, **place):
    """Return NumPy's plain expression."""
    kept = keep(x.shape, p, **place)
    moved = x if bias is None else x + bias
    return residual + np.where(kept, moved * x.real.dtype.type(1 / (1 - p)), x.dtype.type(0))


# Values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", BIASES, ids=str)
@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
def test_it_is_the_plain_expression_to_the_bit(dtype, bias):
    x, residual, bias = arrays(dtype=dtype, bias=bias)
    before = bits(x), bits(residual)
    y = anydrop.dropout_add(x, residual, P, bias=bias, seed=3, step=2)
    expected = by_hand(x, residual, bias, seed=3, step=2)
    assert y.dtype == expected.dtype
    assert bits(y) == bits(expected)
    assert (bits(x), bits(residual)) == before


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("bias", BIASES, ids=str)
@pytest.mark.parametrize("wide", [(), ("residual",), ("bias",), ("residual", "bias")], ids=str)
def test_half_types_are_computed_in_float32_and_rounded_once(name, bias, wide):
    x, residual, bias = arrays(dtype=dtype_of(name), bias=bias)
    residual = residual.astype("f4") if "residual" in wide else residual
    bias = bias.astype("f4") if "bias" in wide and bias is not None else bias
    y = anydrop.dropout_add(x, residual, P, bias=bias, seed=3)
    parts = (a if a is None else a.astype("f4") for a in (x, residual, bias))
    assert y.dtype == residual.dtype
    assert bits(y) == bits(by_hand(*parts, seed=3).astype(residual.dtype))


@pytest.mark.parametrize("shape", [(4, 3, 5, 2), (4, 3, 7)])
def test_biases_of_channels_and_of_heads(shape):
    x, residual, _ = arrays(shape)
    for lengths in (
        (shape[1], *(1,) * (len(shape) - 2)),
        (shape[0], *(1,) * (len(shape) - 2), shape[-1]),
    ):
        bias = np.random.default_rng(1).standard_normal(lengths).astype("f4")
        y = anydrop.dropout_add(x, residual, P, bias=bias, seed=1)
        assert bits(y) == bits(by_hand(x, residual, bias, seed=1))


def test_zero_is_added_where_an_element_is_dropped():
    """So a residual of -0.0 becomes +0.0 there, and stays where -0.0 is added."""
    zeros = np.full(40, -0.0, "f4")
    y = anydrop.dropout_add(zeros, zeros, P, seed=0)
    assert np.array_equal(np.signbit(y), keep((40,), P, seed=0))
    assert np.signbit(anydrop.dropout_add(zeros, zeros, P, training=False)).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_dropped_nan_is_none():
    """Of x or of the bias; one of the residual stays."""
    x, residual, bias = arrays(bias=(6, 5))
    kept = keep(x.shape, P, seed=0)
    expected = anydrop.dropout_add(x, residual, P, bias=bias, seed=0)
    for odd in (np.nan, np.inf, -np.inf):
        one, other = np.where(kept, x, odd).astype("f4"), np.where(kept, bias, -odd).astype("f4")
        y = anydrop.dropout_add(one, residual, P, bias=other, seed=0)
        assert bits(y) == bits(expected)
    residual[0, 0] = np.nan
    y = anydrop.dropout_add(x, residual, P, bias=bias, seed=0)
    assert np.array_equal(np.isnan(y), np.isnan(residual))


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0), (1,), (1, 1)])
@pytest.mark.parametrize("biased", [False, True])
def test_empty_arrays_and_those_of_no_dimensions(shape, biased):
    x, residual, bias = arrays(shape, bias=() if biased else None)
    y, mask = anydrop.dropout_add(x, residual, P, bias=bias, seed=5, return_mask=True)
    assert type(y) is np.ndarray
    assert y.shape == shape
    assert bits(y) == bits(np.asarray(by_hand(x, residual, bias, seed=5)))
    gradients = mask.apply(y)
    assert [g.shape for g in gradients] == [shape, shape, *[()] * biased]
    if biased:
        assert gradients[2] == gradients[0].sum()


def layouts(x):
    """Yield an array in every layout of memory."""
    yield x
    yield np.asfortranarray(x)
    yield np.repeat(x, 2, axis=1)[:, ::2]
    yield x[::-1, ::-1].copy()[::-1, ::-1]
    yield x.astype(x.dtype.newbyteorder())
    yield np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape)  # read-only
    raw = np.frombuffer(b"0" + x.tobytes(), "u1")
    yield raw[1:].view(x.dtype).reshape(x.shape)  # not aligned


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8"])
def test_any_layout_of_memory(dtype):
    x, residual, bias = arrays(dtype=dtype, bias=(6, 5))
    expected = anydrop.dropout_add(x, residual, P, bias=bias, seed=2)
    for one in layouts(x):
        for other in layouts(residual):
            y = anydrop.dropout_add(one, other, P, seed=2, bias=bias)
            assert bits(y) == bits(expected)
            assert y.dtype == other.dtype
    for other in layouts(bias):
        assert bits(anydrop.dropout_add(x, residual, P, seed=2, bias=other)) == bits(expected)


@pytest.mark.parametrize("dtype", ["f2", "f4", "c8"])
@pytest.mark.parametrize("call", [{"seed": 0}, {"rng": 0}, {"training": False}], ids=str)
def test_out_may_be_any_array_and_each_of_the_two(call, dtype):
    def run(*given, **out):
        keywords = call | ({"rng": np.random.default_rng(0)} if "rng" in call else {})
        return anydrop.dropout_add(*given, P, bias=bias, **keywords, **out)

    x, residual, bias = arrays(dtype=dtype, bias=(5,))
    expected = bits(run(x, residual))
    for out in (np.empty_like(x), np.empty((5, 6), dtype).T, np.empty((12, 5), dtype)[::2]):
        assert run(x, residual, out=out) is out
        assert bits(out) == expected
    for n in (0, 1):
        pair = [x.copy(), residual.copy()]
        assert run(*pair, out=pair[n]) is pair[n]
        assert bits(pair[n]) == expected
        assert bits(pair[1 - n]) == bits((residual, x)[n])
    same = x.copy()
    assert bits(run(same, same, out=same)) == bits(run(x, x))


def test_out_of_two_dtypes():
    x, residual, _ = arrays(dtype="f2")
    residual = residual.astype("f4")
    expected = anydrop.dropout_add(x, residual, P, seed=0)
    with pytest.raises(ValueError, match="out must have the dtype of residual, float32, got float"):
        anydrop.dropout_add(x, residual, P, seed=0, out=x)
    assert anydrop.dropout_add(x, residual, P, seed=0, out=residual) is residual
    assert bits(residual) == bits(expected)


# Masks -------------------------------------------------------------------------------------------


def test_shared_axes_and_noise_shapes():
    x, residual, bias = arrays(bias=(5,))
    expected = by_hand(x, residual, bias, seed=0, shared_axes=(0,))
    for keywords in ({"shared_axes": -2}, {"noise_shape": (1, None)}):
        assert bits(anydrop.dropout_add(x, residual, P, bias=bias, seed=0, **keywords)) == bits(
            expected
        )


def test_a_window():
    place = {"seed": (1, 2), "step": 2**40, "window": Window((2**33 - 3, 1), (2**34, 7))}
    x, residual, bias = arrays(bias=(6, 1))
    y = anydrop.dropout_add(x, residual, P, bias=bias, **place)
    assert bits(y) == bits(by_hand(x, residual, bias, **place))


@pytest.mark.parametrize("step", [np.int64(7), np.asarray(7, "u4")])
def test_a_step_may_be_numpys(step):
    x, residual, _ = arrays()
    y = anydrop.dropout_add(x, residual, P, seed=0, step=step)
    assert bits(y) == bits(by_hand(x, residual, seed=0, step=7))


def test_a_generator():
    """Draws the mask that it draws for `dropout`, and moves as far."""
    x, residual, bias = arrays(bias=(5,))
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    y, mask = anydrop.dropout_add(x, residual, P, bias=bias, rng=one, return_mask=True)
    dropped, stored = anydrop.dropout(x + bias, P, rng=other, return_mask=True)
    assert bits(y) == bits(residual + dropped)
    assert np.array_equal(mask.keep(like=x), stored.keep(like=x))
    assert np.array_equal(mask.apply(y)[0], stored.apply(y))
    assert one.random() == other.random()


def test_a_generator_and_a_residual_of_another_dtype():
    """The sum has the dtype of the residual, and is not rounded to that of x on its way."""
    x, residual, bias = arrays(dtype="f2", bias=(5,))
    residual = residual.astype("f4") * np.float32(1.1)
    kept = np.random.default_rng(3).random(x.shape) < 1 - P
    moved = (x.astype("f4") + bias) * np.float32(1 / (1 - P))
    expected = residual + np.where(kept, moved, np.float32(0))
    for out in (None, np.empty_like(residual)):
        y = anydrop.dropout_add(x, residual, P, bias=bias, rng=np.random.default_rng(3), out=out)
        assert y.dtype == residual.dtype
        assert bits(y) == bits(expected)


def test_what_is_returned_is_a_value():
    x, residual, bias = arrays(dtype="f2", bias=(1, 5))
    calls = {"p": P, "seed": 0, "return_mask": True}
    _, mask = anydrop.dropout_add(x, residual, bias=bias.astype("f4"), **calls)
    assert mask == anydrop.DropoutAddMask(mask.mask, "float16", ((1, 5), "float32"))
    assert mask.mask == anydrop.dropout(x, P, seed=0, return_mask=True)[1]
    assert pickle.loads(pickle.dumps(mask)) == copy.deepcopy(mask) == mask
    assert anydrop.dropout_add(x, residual, **calls)[1].bias is None
    assert anydrop.dropout_add(x, residual, P, training=False, return_mask=True)[1] is None


def test_the_mask_of_a_layer_is_the_boolean_array():
    x, residual, bias = arrays(bias=(5,))
    add = anydrop.DropoutAdd(P, seed=1, shared_axes=0)
    assert add.mask is None
    add(x, residual, bias)
    assert add.mask.dtype == bool
    assert np.array_equal(add.mask, keep(x.shape, P, seed=1, shared_axes=(0,)))
    assert isinstance(add.recipe, anydrop.DropoutAddMask)


# p = 0 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["train", "inference"])
def test_at_p_0_it_is_the_bare_sum(scaling, monkeypatch):
    x, residual, bias = arrays(bias=(5,))
    for name in ("keep", "draw"):
        monkeypatch.setattr(anydrop.resolve(x), name, None)
    add = anydrop.DropoutAdd(0.0, seed=0, scaling=scaling)
    assert bits(add(x, residual, bias)) == bits(residual + (x + bias))
    assert add.step == 1
    dx, dresidual, _ = add.backward(x)
    assert dx is dresidual is x
    with pytest.raises(TypeError, match="a training call needs seed="):
        anydrop.dropout_add(x, residual, 0.0)


def test_extreme_numbers_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    odd = np.asarray([np.nan, np.inf, -np.inf, -0.0, 0.0, 3e38, -3e38, 1e-45, 1.0], "f4")
    x, residual, bias = (rng.choice(odd, 2000) for _ in range(3))
    with np.errstate(all="ignore"):
        y = anydrop.dropout_add(x, residual, 0.5, bias=bias, seed=0)
    assert bits(y) == bits(select_add(x, residual, keep((2000,), 0.5, seed=0), 2.0, bias))
