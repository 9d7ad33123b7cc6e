"""Contests of PyTorch tensors on the CPU with `torch.nn.functional.dropout`."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from contest import Contest, Contestant, Key, numbers
from contests_numpy import addends
from names import (
    COMPILED,
    CONVERTED,
    CONVERTED_WITHOUT,
    EAGER,
    F_DROPOUT,
    MODULE,
    MULTIPLIED,
    OURS,
    SEEDED,
    STOCK,
    STOCK_WITHOUT,
    UNSEEDED,
    P,
)
from torch.nn import functional

import anydrop
import anydrop.torch

MODULES = (8, 64 * 64, 2**20)
# The shape of a transformer's input: sequences, their length, and the model's width.
TRANSFORMER = (8, 128, 256)


def arrays(sizes: list[int], dtypes: list[str]) -> Iterator[Contest]:
    """Yield the contests of tensors of these sizes."""
    for n, dtype, p in itertools.product(sizes, dtypes, P):
        yield forward(n, dtype, p)
        yield forward_and_backward(n, dtype, p)


def modules() -> Iterator[Contest]:
    """Yield the contests of PyTorch's module and anydrop's modules."""
    for n, p in itertools.product(MODULES, P):
        drops = {
            MODULE: torch.nn.Dropout(p),
            UNSEEDED: anydrop.torch.Dropout(p),
            SEEDED: anydrop.torch.Dropout(p, seed=0),
        }
        x = numbers(n, "float32")
        t = torch.from_numpy(x)
        calls = {name: functools.partial(drop, t) for name, drop in drops.items()}
        yield module_contest("forward", x, p, calls)
        calls = {name: gradient_of(drop, x) for name, drop in drops.items()}
        yield module_contest("forward and backward", x, p, calls)


def module_contest(what: str, x: np.ndarray, p: float, calls: dict[str, Any]) -> Contest:
    """Return the contest of some calls."""
    key = Key("modules", what, x.size, "float32", p)
    return Contest(key, x, {name: Contestant(call, array=numpy) for name, call in calls.items()})


def gradient_of(function: Callable[[torch.Tensor], torch.Tensor], x: np.ndarray) -> Any:
    """Return a call that does a forward and a backward pass and returns the gradient."""
    t, g = torch.from_numpy(x).requires_grad_(), torch.from_numpy(x)

    def call() -> torch.Tensor | None:
        t.grad = None
        function(t).backward(g)
        return t.grad

    return call


def tripled(call: Callable[[], Any]) -> Contestant:
    """Return a multiply by 3."""
    return Contestant(call, array=numpy, p=0.0, scale=3.0, fresh=False)


def numpy(y: torch.Tensor) -> np.ndarray:
    """Return a tensor as a NumPy array."""
    array: np.ndarray = y.detach().numpy()
    return array


def forward(n: int, dtype: str, p: float) -> Contest:
    """Return the contest of forward passes without gradients."""
    x = numbers(n, dtype)
    t, drop = torch.from_numpy(x), anydrop.Dropout(p, seed=0)
    contestants = {
        MULTIPLIED: tripled(lambda: t * 3.0),
        OURS: Contestant(lambda: drop(t), array=numpy),
        F_DROPOUT: Contestant(lambda: functional.dropout(t, p), array=numpy),
    }
    return Contest(Key("torch", "forward", n, dtype, p), x, contestants)


def forward_and_backward(n: int, dtype: str, p: float) -> Contest:
    """Return the contest of forward and backward passes with autograd."""
    x = numbers(n, dtype)
    drop = anydrop.Dropout(p, seed=0)
    contestants = {
        MULTIPLIED: tripled(gradient_of(lambda t: t * 3.0, x)),
        OURS: Contestant(gradient_of(drop, x), array=numpy),
        F_DROPOUT: Contestant(gradient_of(lambda t: functional.dropout(t, p), x), array=numpy),
    }
    return Contest(Key("torch", "forward and backward", n, dtype, p), x, contestants)


def sums(n: int) -> Iterator[Contest]:
    """Yield the contests of dropout with a bias and a residual."""
    x, bias, residual = addends(n, "float32")
    arrays = x, residual, bias

    def eager(x: Any, residual: Any, bias: Any, p: float) -> Any:
        return residual + functional.dropout(x + bias, p)

    for p in P:
        steps = itertools.count()

        def ours(x: Any, residual: Any, bias: Any, p: float, steps: Any = steps) -> Any:
            return anydrop.dropout_add(x, residual, p, bias=bias, seed=0, step=next(steps))

        calls = {EAGER: eager, COMPILED: torch.compile(eager), OURS: ours}
        tensors = [torch.from_numpy(array) for array in arrays]
        forwards = {
            name: Contestant(functools.partial(call, *tensors, p), lambda y: numpy(y) - residual)
            for name, call in calls.items()
        }
        yield Contest(Key("torch", "sum", n, "float32", p), x + bias, forwards)
        gradients = {
            name: Contestant(gradients_of(functools.partial(call, p=p), *arrays), array=numpy)
            for name, call in calls.items()
        }
        yield Contest(Key("torch", "sum, forward and backward", n, "float32", p), x, gradients)


def gradients_of(function: Callable[..., torch.Tensor], *arrays: np.ndarray) -> Any:
    """Return a call that does a forward pass, and a backward pass for the gradients of all arrays.

    It returns the gradient of the first array.
    """
    tensors = [torch.from_numpy(array).requires_grad_() for array in arrays]
    g = torch.from_numpy(arrays[0])

    def call() -> torch.Tensor:
        return torch.autograd.grad(function(*tensors), tensors, g)[0]

    return call


def models() -> Iterator[Contest]:
    """Yield the contest of training steps of PyTorch's transformer and of a converted one.

    The cost of dropout is the time at p = 0.1 minus the time at p = 0. At p = 0 both models do the
    same, and both use PyTorch's fused attention kernel. With dropout, both compute the attention
    weights.
    """
    x = numbers(math.prod(TRANSFORMER), "float32").reshape(TRANSFORMER)
    contestants = {
        STOCK: training_step(x, 0.1, convert=False),
        STOCK_WITHOUT: training_step(x, 0.0, convert=False),
        CONVERTED: training_step(x, 0.1, convert=True),
        CONVERTED_WITHOUT: training_step(x, 0.0, convert=True),
    }
    yield Contest(Key("transformer", "training step", x.size, "float32", 0.1), x, contestants)


def training_step(x: np.ndarray, p: float, convert: bool) -> Contestant:
    """Return a forward and a backward pass of a transformer, without an optimizer step.

    The result applies the mask of the model's last dropout to the input.
    """
    options = {"dim_feedforward": 4 * x.shape[-1], "dropout": p, "batch_first": True}
    layer = torch.nn.TransformerEncoderLayer(x.shape[-1], 4, **options)
    model = torch.nn.TransformerEncoder(layer, 4)
    if convert:
        anydrop.torch.convert(model, seed=0)
    t, last = torch.from_numpy(x), list[tuple[torch.Tensor, torch.Tensor]]()
    drop = model.layers[-1].dropout2
    drop.register_forward_hook(lambda module, inputs, y: last.append((inputs[0], y)))

    def call() -> tuple[torch.Tensor, torch.Tensor]:
        model.zero_grad()
        model(t).sum().backward()
        return last.pop()

    def dropped(result: tuple[torch.Tensor, torch.Tensor]) -> np.ndarray:
        before, after = map(numpy, result)
        return x * (after / before)

    return Contestant(call, array=dropped, p=p, scale=1 / (1 - p))
