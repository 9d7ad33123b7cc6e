"""Situations of activations that are checkpointed: a forward runs again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from situations.trial import WRONG, Checkpointed, Make, N, Net, Trial, assert_equal

WITHOUT_RNG = {"use_reentrant": False, "preserve_rng_state": False}


def save_random(context: Any, operator: Any, *arguments: Any, **keywords: Any) -> CheckpointPolicy:
    """Have a selective checkpoint keep what random operators return, and compute the rest again."""
    is_random = torch.Tag.nondeterministic_seeded in operator.tags
    return CheckpointPolicy.MUST_SAVE if is_random else CheckpointPolicy.PREFER_RECOMPUTE


SELECTIVE = {
    **WITHOUT_RNG,
    "context_fn": partial(create_selective_checkpoint_contexts, save_random),
}


def around(net: Callable[[Tensor], Tensor], **options: Any) -> Callable[[Tensor], Tensor]:
    """Return a checkpointed model."""
    return lambda x: checkpoint(net, x, **{"use_reentrant": False, **options})


def by_step(net: Net, **options: Any) -> None:
    trial = Trial(net)
    trial.step(around(net, **options))
    trial.judge()


def forwards_first(net: Net, **options: Any) -> None:
    trial = Trial(net)
    for _ in range(3):
        trial.forward(around(net, **options))
    trial.backward()
    trial.judge()


def inside(net: Net) -> None:
    trial = Trial(net)
    trial.step()
    trial.judge()


def ckpt_nonreentrant(make: Make) -> None:
    """A checkpointed model, ``use_reentrant=False``."""
    by_step(Net(make))


def ckpt_reentrant(make: Make) -> None:
    """A checkpointed model, ``use_reentrant=True``."""
    by_step(Net(make), use_reentrant=True)


def ckpt_no_rng(make: Make) -> None:
    """A checkpointed model, ``preserve_rng_state=False``."""
    by_step(Net(make), **WITHOUT_RNG)


def ckpt_twice_in_a_forward(make: Make) -> None:
    """A module that is called twice in a forward, within one checkpoint."""
    by_step(Net(make, shared=True))


def ckpt_context_fn(make: Make) -> None:
    """A selective checkpoint that saves what random operators return, without the random state."""
    by_step(Net(make), **SELECTIVE)


def ckpt_inside_model(make: Make) -> None:
    """A model that checkpoints its parts."""
    inside(Checkpointed(make))


def ckpt_reentrant_inside_model(make: Make) -> None:
    """A model that checkpoints its parts, ``use_reentrant=True``."""
    inside(Checkpointed(make, use_reentrant=True))


def ckpt_fffbbb(make: Make) -> None:
    """Three checkpointed forwards, then their backward passes."""
    forwards_first(Net(make))


def ckpt_fffbbb_reentrant(make: Make) -> None:
    """Three checkpointed forwards, then their backward passes, ``use_reentrant=True``."""
    forwards_first(Net(make), use_reentrant=True)


def ckpt_fffbbb_context_fn(make: Make) -> None:
    """Three forwards in such selective checkpoints, then their backward passes."""
    forwards_first(Net(make), **SELECTIVE)


def ckpt_shared_module(make: Make) -> None:
    """Two checkpointed parts share a module."""
    inside(Checkpointed(make, shared=True))


def ckpt_nested(make: Make) -> None:
    """Checkpoints within a checkpoint."""
    by_step(Checkpointed(make))


def ckpt_nested_reentrant(make: Make) -> None:
    """Checkpoints within a checkpoint, ``use_reentrant=True``."""
    by_step(Checkpointed(make, use_reentrant=True), use_reentrant=True)


def ckpt_nested_context_fn(make: Make) -> None:
    """Such a selective checkpoint within another one."""
    by_step(Checkpointed(make, **SELECTIVE), **SELECTIVE)


def ckpt_mixed(make: Make) -> None:
    """Forwards with both kinds of checkpoint and without, then their backward passes."""
    trial = Trial(Net(make))
    trial.forward(around(trial.net))
    trial.forward()
    trial.net.eval()
    trial.net(torch.ones(N))
    trial.net.train()
    trial.forward(around(trial.net, use_reentrant=True))
    trial.backward(reverse=True)
    trial.judge()


def ckpt_double_backward(make: Make) -> None:
    """A gradient penalty on a checkpointed model."""
    trial = Trial(Net(make))
    x = torch.ones(N, requires_grad=True)
    y = around(lambda x: trial.net(x) * x)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    gradient.sum().backward()
    assert_equal(gradient, 2 * y, WRONG)
    assert_equal(x.grad, 2 * y, WRONG)


def ckpt_vmap(make: Make, **options: Any) -> None:
    """``vmap`` in a checkpoint."""
    for randomness in ("same", "different"):
        trial = Trial(Net(make))
        batched = vmap(trial.net, randomness=randomness)
        x = torch.ones(3, N, requires_grad=True)
        y = around(batched, **options)(x)
        y.sum().backward()
        assert_equal(x.grad, y, WRONG)
        assert_equal(trial.net.w.grad + trial.net.v.grad, y.sum(0), WRONG)


def ckpt_vmap_no_rng(make: Make) -> None:
    """``vmap`` in a checkpoint, ``preserve_rng_state=False``."""
    ckpt_vmap(make, **WITHOUT_RNG)


def ckpt_retain_graph(make: Make) -> None:
    """A checkpointed model, whose backward pass runs twice."""
    trial = Trial(Net(make))
    x = torch.ones(N, requires_grad=True)
    y = around(trial.net)(x)
    y.sum().backward(retain_graph=True)
    trial.net.zero_grad()
    x.grad = None
    y.sum().backward()
    trial.runs.append((x, y))
    trial.judge()


def other_random_between(make: Make) -> None:
    """Other random numbers are drawn between a checkpointed forward and its backward pass."""
    trial = Trial(Net(make))
    for _ in range(3):
        y = trial.forward(around(trial.net))
        torch.rand(5)
        y.sum().backward()
    trial.judge()


SITUATIONS = {
    one.__name__: one
    for one in (
        ckpt_nonreentrant,
        ckpt_reentrant,
        ckpt_no_rng,
        ckpt_twice_in_a_forward,
        ckpt_context_fn,
        ckpt_inside_model,
        ckpt_reentrant_inside_model,
        ckpt_fffbbb,
        ckpt_fffbbb_reentrant,
        ckpt_fffbbb_context_fn,
        ckpt_shared_module,
        ckpt_nested,
        ckpt_nested_reentrant,
        ckpt_nested_context_fn,
        ckpt_mixed,
        ckpt_double_backward,
        ckpt_vmap,
        ckpt_vmap_no_rng,
        ckpt_retain_graph,
        other_random_between,
    )
}
