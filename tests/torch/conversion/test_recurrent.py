"""Masks between the layers of PyTorch's recurrent modules, against networks written by hand."""

import copy

import numpy as np
import pytest
from subjects import available

import anydrop

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from converted import one_thread  # noqa: F401 - a fixture that all tests use
from recurrent import (
    FORMS,
    HIDDEN,
    IN,
    LAYERS,
    NAME,
    P,
    become,
    by_hand,
    converted,
    gradients,
    inputs,
    stock,
    tensors,
)
from torch import nn
from torch.nn.utils.rnn import PackedSequence
from torch.testing import assert_close

OPTIONS = {
    "plain": {},
    "bidirectional": {"bidirectional": True},
    "batch_first": {"batch_first": True},
    "without-bias": {"bias": False},
    "all": {"bidirectional": True, "batch_first": True, "bias": False},
}


@NAME
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("with_state", [True, False], ids=["state", "no-state"])
def test_it_equals_layers_by_hand(name, options, form, with_state):
    ours = converted(name, **options)
    for forward in range(2):

        def drop(x, gap, first=forward * (LAYERS - 1)):
            return anydrop.dropout(x, P, seed=7, step=first + gap)

        leaf, x, state = inputs(ours, form, with_state)
        result, expected = ours(x, state), by_hand(ours, x, state, drop)
        assert_close(tensors(result), tensors(expected), rtol=0, atol=1e-12)
        assert_close(
            gradients(ours, leaf, state, result),
            gradients(ours, leaf, state, expected),
            rtol=0,
            atol=1e-10,
        )
    assert ours.anydrop.step == 2 * (LAYERS - 1)


@NAME
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("with_state", [True, False], ids=["state", "no-state"])
def test_with_nothing_dropped_it_equals_pytorch(name, options, form, with_state):
    theirs = stock(name, **options, dropout=0.0)
    ours = converted(name, **options)
    ours.anydrop.forward = lambda x: x
    leaf, x, state = inputs(ours, form, with_state)
    (y, end), (wanted, wanted_end) = ours(x, state), theirs(x, state)
    assert type(y) is type(wanted)
    assert type(end) is type(wanted_end)
    assert_close(tensors((y, end)), tensors((wanted, wanted_end)), rtol=0, atol=1e-12)
    if isinstance(y, PackedSequence):
        for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
            assert getattr(y, name) is getattr(x, name)
    assert_close(
        gradients(ours, leaf, state, (y, end)),
        gradients(theirs, leaf, state, (wanted, wanted_end)),
        rtol=0,
        atol=1e-12,
    )


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_direction(x, w_ih, w_hh, b_ih, b_hh):
    """Run an LSTM of one layer and direction over a sequence of batches."""
    h = c = np.zeros((x.shape[1], HIDDEN))
    ys = []
    for step in x:
        i, f, g, o = np.split(step @ w_ih.T + b_ih + h @ w_hh.T + b_hh, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        ys.append(h)
    return np.stack(ys)


def test_an_lstm_equals_numpy():
    ours = converted(bidirectional=True)
    weights = [w.detach().numpy() for w in ours.parameters()]
    _, x, _ = inputs(ours)
    for forward in range(2):
        y = x.detach().numpy()
        for k in range(LAYERS):
            forth, back = (weights[8 * k + 4 * d : 8 * k + 4 * d + 4] for d in range(2))
            sides = numpy_direction(y, *forth), numpy_direction(y[::-1], *back)[::-1]
            y = np.concatenate(sides, axis=-1)
            if k < LAYERS - 1:
                y = anydrop.dropout(y, P, seed=7, step=forward * (LAYERS - 1) + k)
        np.testing.assert_allclose(ours(x)[0].detach().numpy(), y, rtol=0, atol=1e-10)


@NAME
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("why", ["eval", "dropout-0", "one-layer"])
@pytest.mark.filterwarnings("ignore:dropout option adds dropout after all but last")
def test_what_drops_nothing_is_pytorchs(name, dtype, why):
    options = {"dropout": 0.0} if why == "dropout-0" else {}
    theirs = stock(name, 1 if why == "one-layer" else LAYERS, dtype, **options)
    ours = become(copy.deepcopy(theirs))
    if why == "eval":
        theirs.eval(), ours.eval()
    _, x, state = inputs(ours)
    for result, wanted in zip(tensors(ours(x, state)), tensors(theirs(x, state)), strict=True):
        assert torch.equal(result, wanted)
    assert ours.anydrop.step == 0


def test_its_child_alone_in_eval_mode_drops_nothing():
    ours = converted()
    ours.anydrop.eval()
    _, x, _ = inputs(ours)
    assert_close(ours(x)[0], stock(dropout=0.0)(x)[0], rtol=0, atol=1e-12)
    assert ours.anydrop.step == 0


def test_its_dropout_may_be_set():
    ours = converted()
    _, x, _ = inputs(ours)
    ours.dropout = 0.8
    wanted = by_hand(ours, x, None, lambda x, k: anydrop.dropout(x, 0.8, seed=7, step=k))
    assert_close(ours(x)[0], wanted[0], rtol=0, atol=1e-12)
    assert ours.anydrop.p == 0.8
    ours.dropout = 1
    assert torch.equal(ours(x)[0], by_hand(ours, x, None, lambda x, k: 0 * x)[0])
    ours.dropout = 1.5
    with pytest.raises(ValueError, match=r"^p must satisfy 0 <= p <= 1, got 1.5$"):
        ours(x)
    ours.dropout = "half"
    with pytest.raises(TypeError, match="received an invalid combination of arguments"):
        ours(x)


def wrong(dtype=torch.float64, **shapes):
    """Return arguments of a call: an input and a state."""
    made = {name: torch.zeros(shape, dtype=dtype) for name, shape in shapes.items()}
    return made["x"], (made["h"], made["h"]) if "h" in made else None


WRONG = {
    "axes": wrong(x=(5, 3, IN, 1)),
    "features": wrong(x=(5, 3, IN + 1)),
    "dtype": wrong(torch.float32, x=(5, 3, IN)),
    "state": wrong(x=(5, 3, IN), h=(LAYERS, 2, HIDDEN)),
    "layers-of-state": wrong(x=(5, 3, IN), h=(1, 3, HIDDEN)),
    "axes-of-state": wrong(x=(5, 3, IN), h=(LAYERS, HIDDEN)),
    "axes-of-unbatched-state": wrong(x=(5, IN), h=(LAYERS, 1, HIDDEN)),
    "length": wrong(x=(0, 3, IN)),
    "no-tensor": (np.zeros((5, 3, IN)), None),
}


@NAME
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_errors_are_pytorchs(name, mode, arguments):
    theirs, ours = stock(name).train(mode == "train"), converted(name).train(mode == "train")
    x, state = arguments
    if state is not None and not isinstance(theirs, nn.LSTM):
        state = state[0]
    with pytest.raises((TypeError, ValueError, RuntimeError, AttributeError)) as wanted:
        theirs(x, state)
    with pytest.raises(type(wanted.value)) as got:
        ours(x, state)
    assert str(got.value) == str(wanted.value)
    assert ours.anydrop.step == 0
