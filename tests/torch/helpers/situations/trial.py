"""A model of which every mask and every gradient can be told from what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

N = 64

REPEATS, OTHER, WRONG = "repeats a mask", "other masks", "wrong gradients"
Make = Callable[[int], nn.Module]


class SilentError(Exception):
    """What went wrong without an error: the verdict of a situation."""


@contextmanager
def follows_the_generator() -> Iterator[None]:
    """Say of masks that repeat or differ that this is what PyTorch's generator was told."""
    try:
        yield
    except SilentError as error:
        if str(error) not in (REPEATS, OTHER):
            raise
        raise SilentError("follows the generator") from error


class Net(nn.Module):
    """Two dropouts side by side.

    An input of ones gives 0 or 2 for the first mask, plus 0 or 16 for the second. The model is
    linear in its input and in its weights, which are ones: their gradients are the output, too.
    """

    def __init__(self, make: Make, shared: bool = False) -> None:
        super().__init__()
        self.one = make(1)
        self.two = self.one if shared else make(2)
        self.w = nn.Parameter(torch.ones(N))
        self.v = nn.Parameter(torch.ones(N))

    def first(self, x: Tensor) -> Tensor:
        return self.one(x) * self.w

    def second(self, x: Tensor) -> Tensor:
        return self.two(x) * self.v * 8

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x)


class Checkpointed(Net):
    """Its two parts are checkpointed inside the model."""

    def __init__(self, make: Make, shared: bool = False, **options: Any) -> None:
        super().__init__(make, shared)
        self.options = {"use_reentrant": False, **options}

    def forward(self, x: Tensor) -> Tensor:
        first = checkpoint(self.first, x, **self.options)
        return first + checkpoint(self.second, x, **self.options)


class Trial:
    """The forwards and backward passes of one model, and what is wrong with them.

    Parameters
    ----------
    net : Net
        Whose weights' gradients are judged.
    """

    def __init__(self, net: Net) -> None:
        self.net = net
        self.runs: list[tuple[Tensor, Tensor]] = []

    def forward(self, call: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        x = torch.ones(N, requires_grad=True, dtype=self.net.w.dtype)
        y = (self.net if call is None else call)(x)
        self.runs.append((x, y))
        return y

    def step(self, call: Callable[[Tensor], Tensor] | None = None, times: int = 3) -> None:
        """Run forward and backward, several times."""
        for _ in range(times):
            self.forward(call).sum().backward()

    def backward(self, reverse: bool = False) -> None:
        for _, y in self.runs[:: -1 if reverse else 1]:
            y.sum().backward()

    def judge(self) -> None:
        """Raise if a gradient is not that of the forward's masks, or a mask was drawn twice."""
        for x, y in self.runs:
            assert_equal(x.grad, y, WRONG)
        weights = [w.grad for w in (self.net.w, self.net.v) if w.grad is not None]
        assert_equal(sum(weights), sum(y for _, y in self.runs), WRONG)
        all_differ(mask for _, y in self.runs for mask in masks(y))


def masks(y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two masks of an output."""
    return y % 16 > 0, y >= 16


def all_differ(found: Any) -> None:
    seen = [tuple(mask.tolist()) for mask in found]
    if len(set(seen)) < len(seen):
        raise SilentError(REPEATS)


def assert_equal(a: Any, b: Any, otherwise: str) -> None:
    if a is None or not torch.equal(a, b):
        raise SilentError(otherwise)
