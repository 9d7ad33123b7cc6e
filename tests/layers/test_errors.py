"""Every bad input: its message is read, and nothing is changed by it."""

import copy
import json
import re

import numpy as np
import pytest
from subjects import needs_strict

import anydrop
from anydrop import Dropout, Mask, Window, dropout
from anydrop.backends import UNSERVED

X = np.ones((2, 3), "f4")


class Quantity(np.ndarray):
    """An array that means more than its numbers."""


class Frame:
    """Stands for any type that is no array."""


def error(kind, message, call, *args, **kwargs):
    with pytest.raises(kind, match=re.escape(message)):
        call(*args, **kwargs)


def bad(kind, message, x=X, p=0.5, seed=0, **kwargs):
    """The function and, where it takes the same arguments, the layer give the same answer."""
    error(kind, message, anydrop.dropout, x, p, seed=seed, **kwargs)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("p", [1.5, 1.0, 1, -0.1, float("inf"), -1])
def test_p_out_of_range(p, training):
    shown = repr(float(p))
    bad(ValueError, f"p must satisfy 0 <= p < 1, got {shown}", p=p, training=training)
    error(ValueError, f"p must satisfy 0 <= p < 1, got {shown}", Dropout, p)


@pytest.mark.parametrize("p", [10**400, -(10**400)])
def test_p_beyond_a_float(p):
    bad(ValueError, "p must satisfy 0 <= p < 1, got ", p=p)


def test_p_nan():
    bad(ValueError, "p must satisfy 0 <= p < 1, got nan", p=float("nan"))


@pytest.mark.parametrize(
    ("p", "named"),
    [
        (True, "bool True"),
        ("0.5", "str '0.5'"),
        (None, "NoneType None"),
        (np.array(0.5), "numpy.ndarray array(0.5)"),
        (np.array([0.5]), "numpy.ndarray array([0.5])"),
        (0.5j, "complex 0.5j"),
    ],
)
def test_p_of_another_kind(p, named):
    message = f"p must be a real number with 0 <= p < 1, got {named}"
    bad(TypeError, message, p=p)
    error(TypeError, message, Dropout, p)


@pytest.mark.parametrize("p", [np.float32(0.5), np.float64(0.5), 0, np.int64(0)])
def test_p_may_be_any_real_scalar(p):
    assert anydrop.dropout(X, p, seed=0).dtype == X.dtype


@pytest.mark.parametrize("dtype", ["i8", "u1", "?", "i2", "U3", "O", "M8[s]", "g"])
def test_dtype_without_dropout(dtype):
    x = np.ones((2, 3)).astype(dtype)
    message = f"got dtype {x.dtype.name}; convert it first, e.g. with astype(float32)"
    bad(TypeError, message, x=x)
    bad(TypeError, message, x=x, training=False, scaling="inference")
    assert anydrop.dropout(x, 0.5, training=False) is x
    drop = Dropout(seed=0)
    error(TypeError, message, drop, x)
    assert drop.step == 0
    assert drop.mask is None
    drop(X)
    error(TypeError, message, drop.backward, x)


@pytest.mark.parametrize(
    ("x", "named"),
    [
        ([1.0, 2.0], "got list"),
        ((1.0,), "got tuple"),
        (1.0, "got float"),
        (None, "got NoneType"),
        ("array", "got str"),
        (Frame(), "test_errors.Frame"),
        (np.ma.masked_array([1.0], [True]), "got numpy.ma.MaskedArray"),
        (np.ones(3).view(Quantity), "test_errors.Quantity"),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
@pytest.mark.parametrize("training", [True, False])
def test_no_array(x, named, training):
    bad(TypeError, named, x=x, training=training)
    with pytest.raises(TypeError, match=r"^x must be an? (plain )?array of .*numpy.*convert it"):
        anydrop.dropout(x, 0.5, seed=0, training=training)
    drop = Dropout(seed=0)
    error(TypeError, named, drop, x, training)
    assert drop.step == 0


def test_a_library_without_a_backend(monkeypatch):
    """Its arrays have no namespace, and nobody has written a backend."""
    monkeypatch.setattr("anydrop.backends._library", lambda x: ("other", ""))
    monkeypatch.setattr("anydrop.backends._BY_TYPE", {})
    bad(TypeError, "anydrop has no backend for other arrays (", x=Frame())


@pytest.mark.parametrize("name", UNSERVED)
def test_a_library_that_is_not_served(monkeypatch, name):
    monkeypatch.setattr("anydrop.backends._library", lambda x: (name, ""))
    monkeypatch.setattr("anydrop.backends._BY_TYPE", {})
    bad(TypeError, f"anydrop does not support {name} arrays", x=Frame())
    bad(TypeError, f"test_errors.Frame): {UNSERVED[name]}", x=Frame())


def test_backward_before_forward():
    drop = Dropout(seed=0)
    message = "Dropout.backward() belongs to the last forward in training mode"
    error(RuntimeError, message, drop.backward, X)
    drop.forward(X, training=False)
    error(RuntimeError, message, drop.backward, X)


def test_gradient_of_another_shape():
    drop = Dropout(seed=0)
    y = drop(X)
    message = "the mask belongs to an array of shape (2, 3), got one of (3, 2)"
    error(ValueError, message, drop.backward, X.T)
    assert np.array_equal(drop.backward(X), y)


def test_shared_axes():
    bad(ValueError, "shared axis 2 is out of range for an array of 2 dimensions", shared_axes=2)
    bad(ValueError, "shared axis -3 is out of range", shared_axes=(0, -3))
    message = "shared_axes names an axis twice: (0, -2) with 2 dimensions"
    bad(ValueError, message, shared_axes=(0, -2))
    message = "shared_axes must be an int, got float 0.5"
    bad(TypeError, message, shared_axes=0.5)
    error(TypeError, message, Dropout, shared_axes=0.5)
    bad(TypeError, "shared_axes must be an int, got str '01'", shared_axes="01")
    drop = Dropout(seed=0, shared_axes=2)
    error(ValueError, "shared axis 2 is out of range", drop, X)
    assert drop.step == 0


def test_a_switch_may_be_numpys():
    """Of no dimensions, as what a comparison of arrays of none returns."""
    for true in (np.True_, np.array(True), np.asarray([1, 2]).sum() > 2):
        assert np.array_equal(dropout(X, 0.5, seed=0, training=true), dropout(X, 0.5, seed=0))
        assert dropout(X, 0.5, training=np.array(False)) is X
    for wrong in (np.array([True]), np.array(1), 1, "yes", None):
        bad(TypeError, "training must be True or False, got ", training=wrong)


@pytest.mark.parametrize(
    ("seed", "kind", "message"),
    [
        (-1, ValueError, "seed must be an int >= 0, got -1"),
        ((1, -2), ValueError, "seed must be an int >= 0, got -2"),
        (0.5, TypeError, "numpy SeedSequence, got float 0.5"),
        (True, TypeError, "numpy SeedSequence, got bool True"),
        ("seed", TypeError, "numpy SeedSequence, got str 'seed'"),
        ([], ValueError, "seed must not be empty"),
        (np.random.default_rng(0), TypeError, "got numpy.random._generator.Generator"),
    ],
)
def test_seed(seed, kind, message):
    bad(kind, message, seed=seed)
    error(kind, message, Dropout, seed=seed)
    error(kind, message, Mask.from_seed, (3,), 0.5, seed=seed)


def test_seed_may_be_any_sequence_of_ints():
    for seed in ([1, 2], (1, 2), np.array([1, 2]), range(1, 3)):
        assert Mask.from_seed((3,), 0.5, seed=seed) == Mask.from_seed((3,), 0.5, seed=(1, 2))
    assert Mask.from_seed((3,), 0.5, seed=np.int64(5)) == Mask.from_seed((3,), 0.5, seed=5)


def test_inference_checks_too():
    """What would be wrong in training; a layer that is never trained may be wrong for years."""
    bad(ValueError, "seed must be an int >= 0, got -1", seed=-1, training=False)
    bad(ValueError, "step must satisfy", step=-1, training=False)
    bad(ValueError, "shared axis 9 is out of range", shared_axes=9, training=False)
    bad(ValueError, "does not fit", window=((5, 5), (6, 6)), training=False)
    bad(ValueError, "give either seed= or rng=", rng=np.random.default_rng(0), training=False)
    bad(TypeError, "return_mask must be True or False, got str 'no'", return_mask="no")


def test_what_apply_refuses_is_refused_before_a_generator_draws():
    rng = np.random.default_rng(0)
    bad(ValueError, "out must have the shape of x", seed=None, rng=rng, out=np.ones(5, "f4"))
    bad(TypeError, "got dtype int64", x=np.ones(3, int), seed=None, rng=rng)
    assert rng.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        ({"shape": 3}, TypeError, "shape must be a sequence of ints, got int 3"),
        ({"shape": (2, -3)}, ValueError, "shape must have no negative entry, got (2, -3)"),
        ({"shape": (2.0, 3)}, TypeError, "shape must be an int, got float 2.0"),
        ({"scale": "a"}, TypeError, "scale must be a real number, got str 'a'"),
        ({"shape": (2**32, 2**32 + 1)}, ValueError, "at most 2**64 elements"),
    ],
)
def test_mask_from_seed(wrong, kind, message):
    error(kind, message, Mask.from_seed, **({"shape": (2, 3), "p": 0.5, "seed": 0} | wrong))


def test_a_shape_may_be_any_sequence():
    assert Mask.from_seed([2, np.int64(3)], 0.5, seed=0) == Mask.from_seed((2, 3), 0.5, seed=0)


def test_shared_axes_may_be_any_ints():
    expected = Mask.from_seed((2, 3), 0.5, seed=0, shared_axes=(0, 1))
    for axes in ([1, 0], np.array([0, 1]), (np.int8(-1), 0), range(2)):
        assert Mask.from_seed((2, 3), 0.5, seed=0, shared_axes=axes) == expected
    assert anydrop.dropout(X, 0.5, seed=0, shared_axes=np.int64(0)).shape == (2, 3)


def test_seed_and_rng():
    rng = np.random.default_rng(0)
    bad(ValueError, "give either seed= or rng=, not both", rng=rng)
    error(ValueError, "give either seed= or rng=, not both", Dropout, seed=0, rng=rng)


def test_neither_seed_nor_rng():
    bad(TypeError, "a training call needs seed=", seed=None)


def test_rng_of_another_library():
    message = "rng must be a numpy.random.Generator, a numpy.random.RandomState"
    bad(TypeError, f"{message} or the module numpy.random", seed=None, rng=Frame())
    drop = Dropout(rng=Frame())
    error(TypeError, message, drop, X)
    assert drop.step == 0


def test_rng_has_no_place_in_the_stream():
    rng = np.random.default_rng(0)
    bad(ValueError, "use seed= instead of rng=", seed=None, rng=rng, step=3)
    bad(ValueError, "use seed= instead", seed=None, rng=rng, window=Window((0, 0), (2, 3)))


@pytest.mark.parametrize("step", [-1, 2**64])
def test_step_out_of_range(step):
    bad(ValueError, f"step must satisfy 0 <= step < 2**64, got {step}", step=step)
    drop = Dropout(seed=0)
    with pytest.raises(ValueError, match="step must satisfy"):
        drop.step = step


def test_step_of_another_kind():
    bad(TypeError, "step must be an int, got float 1.0", step=1.0)
    bad(TypeError, "step must be an int, got bool True", step=True)


def test_the_last_step():
    drop = Dropout(seed=0)
    drop.step = 2**64 - 1
    drop(X)
    loaded = Dropout(seed=1)
    loaded.load_state_dict(json.loads(json.dumps(drop.state_dict())))
    for spent in (drop, loaded, copy.deepcopy(drop)):
        assert spent.step == 2**64
        error(ValueError, "step must satisfy 0 <= step < 2**64", spent, X)
        assert spent(X, training=False) is X
    beyond = drop.state_dict() | {"step": 2**64 + 1}
    error(ValueError, "step must satisfy 0 <= step <= 2**64", loaded.load_state_dict, beyond)
    assert np.array_equal(drop.backward(X), dropout(X, 0.5, seed=0, step=2**64 - 1))


@pytest.mark.parametrize(
    ("window", "kind", "message"),
    [
        (Window((1, 0), (2, 3)), ValueError, "does not fit in the window's global shape (2, 3)"),
        (Window((-1, 0), (9, 9)), ValueError, "an array of shape (2, 3) at offset (-1, 0)"),
        (Window((0,), (9,)), ValueError, "must have one entry for each dimension"),
        (Window((0, 0.5), (9, 9)), TypeError, "window offset must be an int, got float 0.5"),
        (Window(0, 9), TypeError, "window offset must be a sequence of ints, got int 0"),
        (Window((0, 0), (2**33, 2**32)), ValueError, "at most 2**64 elements"),
        (((0, 0), (2, 3), (4, 5)), TypeError, "window must be a Window or a pair"),
        (7, TypeError, "window must be a Window or a pair (offset, shape), got int 7"),
    ],
)
def test_window(window, kind, message):
    bad(kind, message, window=window)


def test_window_may_be_a_pair():
    pair = anydrop.dropout(X, 0.5, seed=0, window=((0, 1), (2, 4)))
    assert np.array_equal(pair, anydrop.dropout(X, 0.5, seed=0, window=Window((0, 1), (2, 4))))


@pytest.mark.parametrize("scaling", ["test", None, True])
def test_scaling(scaling):
    bad(ValueError, "scaling must be 'train' (kept elements times 1/(1-p)", scaling=scaling)
    error(ValueError, f"got {scaling!r}", Dropout, scaling=scaling)


@pytest.mark.parametrize("training", ["no", 1, None])
def test_training(training):
    bad(TypeError, "training must be True or False, got", training=training)
    if training is not None:
        error(TypeError, "training must be True or False", Dropout(seed=0), X, training=training)
        error(TypeError, "mode must be True or False", Dropout(seed=0).train, training)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.empty((3, 2), "f4"), "out must have the shape of x, (2, 3), got (3, 2)"),
        (np.empty((2, 3), "f8"), "out must have the dtype of x, float32, got float64"),
        ([[0.0] * 3] * 2, "out must be of the library of x, numpy, got list"),
        (np.broadcast_to(np.float32(0), (2, 3)), "out can't be written to"),
        (
            np.lib.stride_tricks.as_strided(np.zeros(3, "f4"), (2, 3), (0, 4)),
            "out must have memory of its own for every element",
        ),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_out(out, message, training):
    bad(ValueError, message, out=out, training=training)
    error(ValueError, message, Mask.from_seed((2, 3), 0.5, seed=0).apply, X, out=out)


@needs_strict
def test_out_on_another_device():
    import array_api_strict as xp

    x, out = (
        xp.ones((3,), dtype=xp.float32, device=xp.Device(name)) for name in ("device1", "device2")
    )
    bad(ValueError, "out must have the device of x", x=x, out=out)
    bad(
        ValueError,
        "out must be of the library of x, array_api_strict, got numpy.ndarray",
        x=x,
        out=np.ones(3),
    )


@needs_strict
def test_no_generator_of_its_own():
    import array_api_strict as xp

    message = "rng= is not supported for array_api_strict arrays"
    bad(TypeError, message, x=xp.ones(3), seed=None, rng=np.random.default_rng(0))


def test_state():
    drop = Dropout(0.5, seed=3)
    drop(X)
    good = drop.state_dict()
    for change, message in [
        ({"stream": 2}, "stream is 2, not 1"),
        ({"layer": "Other"}, "layer is 'Other', not 'Dropout'"),
        ({"extra": 1}, "foreign keys ['extra']"),
        ({"p": 1.5}, "p must satisfy 0 <= p < 1, got 1.5"),
        ({"p": "0.5"}, "p must be a real number"),
        ({"step": -1}, "step must satisfy"),
        ({"step": 0.5}, "step must be an int"),
        ({"seed": -1}, "seed must be an int >= 0"),
        ({"seed": "zero"}, "seed must be an int >= 0"),
        ({"seed": {"entropy": "zero"}}, "not a state of this layer"),
        ({"seed": {"salt": 1}}, "a saved SeedSequence has other keys than ['salt']"),
        ({"seed": {}}, "a saved SeedSequence has other keys"),
        ({"stream": True}, "stream is True, not 1"),
        ({"seed": None}, "the state is of a layer with rng=, and this layer has seed="),
        ({"shared_axes": "x"}, "shared_axes must be"),
        ({"scaling": "no"}, "scaling must be"),
    ]:
        error(ValueError, message, drop.load_state_dict, good | change)
    for name in good:
        rest = {k: v for k, v in good.items() if k != name}
        error(ValueError, f"missing keys ['{name}']", drop.load_state_dict, rest)
    error(
        ValueError,
        "a state must be the dict that state_dict() returned",
        drop.load_state_dict,
        None,
    )
    assert drop.state_dict() == good
    assert drop.mask is not None
