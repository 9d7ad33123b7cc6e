"""PyTorch: steps and offsets as tensors, of which layers and masks keep none of the caller's."""

import re

import numpy as np
import pytest
from process import python
from subjects import available

import anydrop
from anydrop import Dropout, Window
from anydrop.testing.reference import keep

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )
import torch
from torch.fx.experimental.proxy_tensor import make_fx

X = torch.ones(8)


def drop(step, x=X):
    return anydrop.dropout(x, 0.5, seed=0, step=step)


def test_a_layer_counts_a_step_of_two_words():
    layer = Dropout(0.5, seed=0)
    layer.step = torch.tensor([2**32 - 1, 0])
    for step in range(2**32 - 1, 2**32 + 2):
        assert torch.equal(layer(X), drop(step))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint32", "int32"])
def test_a_narrow_step_does_not_wrap(dtype):
    layer, most = Dropout(0.5, seed=0), torch.iinfo(getattr(torch, dtype)).max
    layer.step = torch.tensor(most, dtype=getattr(torch, dtype))
    for step in range(most, most + 2):
        assert torch.equal(layer(X), drop(step))


def test_a_layers_step_is_its_own():
    layer, step = Dropout(0.5, seed=0), torch.tensor(0)
    layer.step = step
    y = layer(X)
    step += 1
    assert torch.equal(layer.backward(X), y)


@pytest.mark.parametrize(
    ("offset", "kind", "message"),
    [
        (15, ValueError, "an array of shape (8,) at offset (15,) does not fit"),
        (-1, ValueError, "an array of shape (8,) at offset (-1,) does not fit"),
        (1.9, TypeError, "window offset must be an int, or an integer array, got torch.Tensor"),
        (True, TypeError, "window offset must be an int, or an integer array, got torch.Tensor"),
    ],
)
def test_an_offset_of_known_value_is_checked(offset, kind, message):
    window = Window((torch.tensor(offset),), (20,))
    for x in (X, X.clone().requires_grad_(), np.ones(8)):
        with pytest.raises(kind, match=re.escape(message)):
            anydrop.dropout(x, 0.5, seed=0, window=window)


def test_a_place_without_a_value():
    nowhere = torch.tensor(0, device="meta")
    with pytest.raises(TypeError, match="on the meta device has no value"):
        drop(nowhere)
    with pytest.raises(TypeError, match="on the meta device has no value"):
        anydrop.dropout(X, 0.5, seed=0, window=Window((nowhere,), (20,)))


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.* is deprecated:DeprecationWarning")
@pytest.mark.parametrize("trace", [torch.jit.trace, lambda f, x: make_fx(f)(x)])
def test_a_layer_that_is_traced_once(trace):
    layer = Dropout(0.5, seed=0)
    with pytest.raises(TypeError, match="a layer counts its steps in Python"):
        trace(lambda x: layer(x), X)
    assert layer.step == 0


def test_a_conjugated_out():
    x = torch.ones(8, dtype=torch.complex64)
    out = torch.zeros_like(x).conj()
    assert anydrop.dropout(x, 0.5, seed=0, out=out) is out
    assert torch.equal(out, drop(0, x))


@pytest.mark.parametrize("transform", ["functionalize(f)(x)", "grad(lambda x: f(x).sum())(x)"])
def test_the_first_call_of_a_process_is_within_a_transform(transform):
    printed = python(f"""
        import torch, anydrop
        from torch.func import functionalize, grad

        def f(x):
            return x * anydrop.dropout(torch.ones(8), 0.5, seed=0)

        x = torch.ones(8)
        first = {transform}
        assert torch.equal(first, {transform})
        print(*(first != 0).int().tolist())
    """)
    assert printed.split() == [str(int(y > 0)) for y in drop(0)]


def test_the_end_of_the_largest_window():
    window = Window((2**64 - 40,), (2**64,))
    for x in (torch.ones(33), torch.ones(33, requires_grad=True)):
        y = anydrop.dropout(x, 0.5, seed=0, window=window)
        assert np.array_equal(y.detach() != 0, keep((33,), 0.5, seed=0, window=window))
