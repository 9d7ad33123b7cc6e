"""Contests of small arrays, where almost all time goes to the call and not to the kernel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from contest import Contest, Contestant, Key, numbers
from contests_torch import numpy
from names import (
    EXPRESSION,
    F_DROPOUT,
    F_FOLLOWED,
    FOLLOWED,
    FUNCTION,
    LAYER,
    MODULE,
    TENSOR,
    P,
)
from torch.nn import functional

import anydrop

SHAPES = ((8,), (64, 256))


def calls() -> Iterator[Contest]:
    """Yield the contests of forward passes, and of forward and backward passes."""
    for shape, p in itertools.product(SHAPES, P):
        yield forward(shape, p)
        yield forward_and_backward(shape, p)


def contest(what: str, x: np.ndarray, p: float, calls: dict[str, Callable[[], Any]]) -> Contest:
    """Return the contest of calls; NumPy's expression returns float64."""
    contestants = {
        name: Contestant(call, array=array, dtype="float64" if name == EXPRESSION else None)
        for name, call in calls.items()
    }
    return Contest(Key("small", what, x.size, "float32", p), x, contestants)


def array(y: Any) -> np.ndarray:
    """Return a library's result as a NumPy array."""
    return numpy(y) if isinstance(y, torch.Tensor) else y


def forward(shape: tuple[int, ...], p: float) -> Contest:
    """Return the contest of forward passes."""
    x = numbers(math.prod(shape), "float32").reshape(shape)
    rng, keep = np.random.default_rng(0), 1 - p
    t, steps = torch.from_numpy(x), itertools.count()
    followed = torch.from_numpy(x).requires_grad_()
    layer, tensors, gradients = (anydrop.Dropout(p, seed=0) for _ in range(3))
    module = torch.nn.Dropout(p)
    return contest(
        "forward",
        x,
        p,
        {
            LAYER: lambda: layer(x),
            FUNCTION: lambda: anydrop.dropout(x, p, seed=0, step=next(steps)),
            EXPRESSION: lambda: x * ((rng.random(x.shape) < keep) / keep),
            TENSOR: lambda: tensors(t),
            F_DROPOUT: lambda: functional.dropout(t, p),
            MODULE: lambda: module(t),
            FOLLOWED: lambda: gradients(followed),
            F_FOLLOWED: lambda: functional.dropout(followed, p),
        },
    )


def forward_and_backward(shape: tuple[int, ...], p: float) -> Contest:
    """Return the contest of forward and backward passes."""
    x = numbers(math.prod(shape), "float32").reshape(shape)
    rng, keep = np.random.default_rng(0), 1 - p
    t, g = torch.from_numpy(x).requires_grad_(), torch.from_numpy(x)
    layer, tensors = anydrop.Dropout(p, seed=0), anydrop.Dropout(p, seed=0)

    def ours() -> np.ndarray:
        layer(x)
        dx: np.ndarray = layer.backward(x)
        return dx

    def expression() -> np.ndarray:
        factor = (rng.random(x.shape) < keep) / keep
        y = x * factor
        assert y.size
        dx: np.ndarray = x * factor
        return dx

    def autograd(function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor | None:
        t.grad = None
        function(t).backward(g)
        return t.grad

    return contest(
        "forward and backward",
        x,
        p,
        {
            LAYER: ours,
            EXPRESSION: expression,
            TENSOR: lambda: autograd(tensors),
            F_DROPOUT: lambda: autograd(lambda t: functional.dropout(t, p)),
        },
    )
