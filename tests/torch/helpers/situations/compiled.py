"""Situations of ``torch.compile``, with a backend that compiles nothing and with Inductor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch._functorch.config
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from situations.checkpoints import SELECTIVE, around
from situations.trial import OTHER, Checkpointed, Make, N, Net, SilentError, Trial, assert_equal


def compiled(net: Net, backend: str) -> tuple[Callable[[Tensor], Tensor], Callable[[], None]]:
    """Return a compiled model, and what raises if it was compiled more than once."""
    counter = CompileCounterWithBackend(backend)

    def compiled_once() -> None:
        if counter.frame_count > 1:
            raise SilentError("recompiles")

    return torch.compile(net, backend=counter, fullgraph=True), compiled_once


def by_step(net: Net, backend: str) -> None:
    trial = Trial(net)
    call, compiled_once = compiled(net, backend)
    trial.step(call, times=5)
    trial.judge()
    compiled_once()


def alone(backend: str, make: Make) -> None:
    """A compiled model."""
    by_step(Net(make), backend)


def equals_eager(backend: str, make: Make) -> None:
    """A compiled model draws the masks of eager code."""
    ones, found = torch.ones(N), []
    for net in (Net(make), compiled(Net(make), backend)[0]):
        torch.manual_seed(0)
        found.append(torch.stack([net(ones) for _ in range(3)]))
    assert_equal(*found, OTHER)


def ckpt_inside(backend: str, make: Make) -> None:
    """A compiled model that checkpoints its parts."""
    by_step(Checkpointed(make), backend)


def ckpt_inside_twice(backend: str, make: Make) -> None:
    """A compiled model that checkpoints two parts, which share a module."""
    by_step(Checkpointed(make, shared=True), backend)


def selective_ckpt_inside(backend: str, make: Make) -> None:
    """A compiled model with selective checkpoints that save what random operators return."""
    by_step(Checkpointed(make, **SELECTIVE), backend)


def eager_ckpt_around(backend: str, make: Make) -> None:
    """A checkpoint around a compiled model."""
    trial = Trial(Net(make))
    trial.step(around(compiled(trial.net, backend)[0]))
    trial.judge()


def eager_ckpt_around_ffbb(backend: str, make: Make) -> None:
    """A checkpoint around a compiled model: two forwards, then two backward passes."""
    for reverse in (False, True):
        trial = Trial(Net(make))
        call = around(compiled(trial.net, backend)[0])
        for _ in range(2):
            trial.forward(call)
        trial.backward(reverse)
        trial.judge()


def ffbb(backend: str, make: Make) -> None:
    """A compiled model: two forwards, then two backward passes."""
    for reverse in (False, True):
        trial = Trial(Net(make))
        call, _ = compiled(trial.net, backend)
        for _ in range(2):
            trial.forward(call)
        trial.backward(reverse)
        trial.judge()


def memory_budget(make: Make) -> None:
    """A compiled model with an ``activation_memory_budget`` of 0.1 (``inductor``)."""
    with torch._functorch.config.patch(activation_memory_budget=0.1):
        alone("inductor", make)


SITUATIONS: dict[str, Callable[[Make], None]] = {}
for _backend in ("aot_eager", "inductor"):
    for _name, _function in {
        "compile_{}": alone,
        "compile_{}_equals_eager": equals_eager,
        "compile_{}_ckpt_inside": ckpt_inside,
        "compile_{}_ckpt_inside_twice": ckpt_inside_twice,
        "compile_{}_selective_ckpt_inside": selective_ckpt_inside,
        "eager_ckpt_around_compiled_{}": eager_ckpt_around,
        "eager_ckpt_around_compiled_{}_ffbb": eager_ckpt_around_ffbb,
        "compile_{}_ffbb": ffbb,
    }.items():
        SITUATIONS[_name.format(_backend)] = _one = partial(_function, _backend)
        _one.__doc__ = f"{_function.__doc__.removesuffix('.')} (``{_backend}``)."
SITUATIONS["compile_inductor_memory_budget"] = memory_budget
