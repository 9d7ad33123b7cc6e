"""PyTorch tensors in the host's memory, beside `torch.nn.functional.dropout`."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from contest import Contest, Contestant, Key, numbers
from names import F_DROPOUT, MODULE, MULTIPLIED, OURS, SEEDED, UNSEEDED, P
from torch.nn import functional

import anydrop
import anydrop.torch

MODULES = (8, 64 * 64, 2**20)


def arrays(sizes: list[int], dtypes: list[str]) -> Iterator[Contest]:
    """Yield the contests of tensors of a size."""
    for n, dtype, p in itertools.product(sizes, dtypes, P):
        yield forward(n, dtype, p)
        yield forward_and_backward(n, dtype, p)


def modules() -> Iterator[Contest]:
    """Yield the contests of modules, that of PyTorch's beside ours."""
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
    """Return a call that goes forward and backward, and returns the gradient."""
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
    """Return the contest of forward passes that no gradient runs through."""
    x = numbers(n, dtype)
    t, drop = torch.from_numpy(x), anydrop.Dropout(p, seed=0)
    contestants = {
        MULTIPLIED: tripled(lambda: t * 3.0),
        OURS: Contestant(lambda: drop(t), array=numpy),
        F_DROPOUT: Contestant(lambda: functional.dropout(t, p), array=numpy),
    }
    return Contest(Key("torch", "forward", n, dtype, p), x, contestants)


def forward_and_backward(n: int, dtype: str, p: float) -> Contest:
    """Return the contest of a forward pass and of the backward pass that autograd makes of it."""
    x = numbers(n, dtype)
    drop = anydrop.Dropout(p, seed=0)
    contestants = {
        MULTIPLIED: tripled(gradient_of(lambda t: t * 3.0, x)),
        OURS: Contestant(gradient_of(drop, x), array=numpy),
        F_DROPOUT: Contestant(gradient_of(lambda t: functional.dropout(t, p), x), array=numpy),
    }
    return Contest(Key("torch", "forward and backward", n, dtype, p), x, contestants)
