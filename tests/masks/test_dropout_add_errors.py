"""Arrays that `dropout_add` refuses: before anything is drawn, written or counted."""

import numpy as np
import pytest
from subjects import available

import anydrop

P = 0.4


X = np.ones((2, 3), "f4")
LAYERS = [anydrop.DropoutAdd(P, seed=0), anydrop.DropoutAdd(P, seed=0).eval()]
WRONG = {
    "None": (X, None, None, "residual must be of the library of x, numpy, got NoneType"),
    "list": (X, [[0.0]], None, "residual must be of the library of x, numpy, got list"),
    "shape": (X, X.T, None, r"residual must have the shape of x, \(2, 3\), got \(3, 2\)"),
    "0-d": (X, X[0, 0], None, r"residual must have the shape of x, \(2, 3\), got \(\)"),
    "row": (X, X[:1], None, r"residual must have the shape of x, \(2, 3\), got \(1, 3\)"),
    "wider": (X, X.astype("f8"), None, "residual must have the dtype of x, float32, got float64"),
    "narrower": (
        X,
        X.astype("f2"),
        None,
        "residual must have the dtype of x, float32, got float16",
    ),
    "complex": (X, X * 1j, None, "residual must have the dtype of x, float32, got complex64"),
    "half": (
        X.astype("f2"),
        X.astype("f8"),
        None,
        "residual must have the dtype of x, float16 or float32, got",
    ),
    "bias, number": (X, X, 0.5, "bias must be of the library of x, numpy, got float"),
    "bias, axes": (
        X,
        X,
        X[None],
        r"bias must broadcast to the shape of x, \(2, 3\), without making",
    ),
    "bias, length": (X, X, X[:, :2], r"bias must broadcast .* larger, got \(2, 2\)"),
    "bias, larger": (X[:1], X[:1], X, r"bias must broadcast to the shape of x, \(1, 3\)"),
    "bias, wider": (X, X, X.astype("f8"), "bias must have the dtype of x, float32, got float64"),
    "bias, whole": (X, X, X[0].astype(int), "bias must have the dtype of x, float32, got int64"),
    "bias, complex": (X, X, X[0] * 1j, "bias must have the dtype of x, float32, got complex64"),
}


@pytest.mark.parametrize(("x", "residual", "bias", "message"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("layer", LAYERS, ids=["training", "inference"])
def test_arrays_that_do_not_go_together(layer, x, residual, bias, message):
    """Before anything is drawn or written, and no step is spent."""
    rng, out = np.random.default_rng(0), np.full(x.shape, 7, x.dtype)
    before = layer.state_dict()
    calls = (
        lambda: anydrop.dropout_add(x, residual, P, bias=bias, rng=rng, out=out),
        lambda: anydrop.dropout_add(x, residual, P, bias=bias, training=False, out=out),
        lambda: layer(x, residual, bias),
    )
    for call in calls:
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert layer.state_dict() == before
    assert layer.mask is None
    assert np.all(out == 7)
    assert rng.random() == np.random.default_rng(0).random()


def test_whole_numbers_are_refused():
    whole = np.ones(3, int)
    for training in (True, False):
        with pytest.raises(TypeError, match="got dtype int64; convert it first"):
            anydrop.dropout_add(whole, whole, P, seed=0, training=training)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.empty((3, 2), "f4"), r"out must have the shape of x, \(2, 3\), got \(3, 2\)"),
        (np.empty((2, 3), "f8"), "out must have the dtype of residual, float32, got float64"),
        ([[0.0] * 3] * 2, "out must be of the library of x, numpy, got list"),
        (np.broadcast_to(np.float32(0), (2, 3)), "out can't be written to"),
    ],
)
def test_out_that_can_not_hold_it(out, message):
    for keywords in ({"seed": 0}, {"training": False}, {"p": 0.0, "seed": 0}):
        with pytest.raises(ValueError, match=message):
            anydrop.dropout_add(X, X, **({"p": P} | keywords), out=out)


def test_arrays_of_two_libraries():
    if not available("array_api_strict"):
        pytest.skip("array-api-strict is not installed here; nox -s tests-strict runs this")
    import array_api_strict as xp

    x = xp.asarray(X)
    with pytest.raises(ValueError, match=r"residual must be of the library of x, array_api_strict"):
        anydrop.dropout_add(x, X, P, seed=0)
    with pytest.raises(ValueError, match=r"bias must be of the library of x, numpy, got array_api"):
        anydrop.dropout_add(X, X, P, bias=x, seed=0)
    there = xp.asarray(X, device=xp.Device("device1"))
    with pytest.raises(ValueError, match=r"bias must have the device of x"):
        anydrop.dropout_add(x, x, P, bias=there, seed=0)
