"""Situations of plain training."""

from __future__ import annotations

import copy
import pickle

import torch
from torch.utils.checkpoint import checkpoint

from situations.trial import (
    OTHER,
    Make,
    N,
    Net,
    Trial,
    all_differ,
    assert_equal,
    follows_the_generator,
    masks,
)


def plain(make: Make) -> None:
    """Plain training steps."""
    trial = Trial(Net(make))
    trial.step()
    trial.judge()


def called_twice_in_a_forward(make: Make) -> None:
    """One module is called twice in a forward."""
    trial = Trial(Net(make, shared=True))
    trial.step()
    trial.judge()


def not_through_root(make: Make) -> None:
    """Only parts of a model are called, never the model itself."""
    trial = Trial(Net(make))
    trial.step(lambda x: trial.net.first(x) + trial.net.second(x))
    trial.judge()


def microbatches(make: Make) -> None:
    """Gradients are accumulated over several forwards, with one backward pass."""
    trial = Trial(Net(make))
    sum(trial.forward().sum() for _ in range(4)).backward()
    trial.judge()


def same_manual_seed_each_step(make: Make) -> None:
    """``torch.manual_seed`` is called with the same seed before each step."""
    trial = Trial(Net(make))
    for _ in range(3):
        torch.manual_seed(0)
        trial.step(times=1)
    with follows_the_generator():
        trial.judge()


def same_manual_seed_before_two_forwards(make: Make) -> None:
    """``torch.manual_seed`` with the same seed before two checkpointed forwards."""
    trial = Trial(Net(make))
    for _ in range(2):
        torch.manual_seed(0)
        trial.forward(lambda x: checkpoint(trial.net, x, use_reentrant=False))
    trial.backward()
    with follows_the_generator():
        trial.judge()


def same_masks_whatever_torch_seed(make: Make) -> None:
    """A model is made and run twice, with different seeds for ``torch.manual_seed``."""
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        trial = Trial(Net(make))
        trial.step()
        trial.judge()
        found.append(torch.stack([y for _, y in trial.runs]))
    with follows_the_generator():
        assert_equal(*found, OTHER)


def deepcopy_pickle(make: Make) -> None:
    """A deep copy draws different masks, and a pickled model continues with the same ones."""
    net = Net(make)
    trials = [Trial(copy.deepcopy(net)), Trial(copy.deepcopy(net)), Trial(net)]
    for trial in trials:
        trial.step()
        trial.judge()
    all_differ(mask for one in trials for _, y in one.runs for mask in masks(y))
    loaded = pickle.loads(pickle.dumps(net))
    before = torch.get_rng_state()
    y = net(torch.ones(N))
    torch.set_rng_state(before)
    assert_equal(loaded(torch.ones(N)), y, OTHER)


def to_dtype(make: Make) -> None:
    """A model is cast to other dtypes."""
    net, found = Net(make), []
    for dtype in (torch.float64, torch.bfloat16):
        trial = Trial(net.to(dtype))
        net.zero_grad()
        trial.step()
        trial.judge()
        found += [mask for _, y in trial.runs for mask in masks(y)]
    all_differ(found)


SITUATIONS = {
    one.__name__: one
    for one in (
        plain,
        called_twice_in_a_forward,
        not_through_root,
        microbatches,
        same_manual_seed_each_step,
        same_manual_seed_before_two_forwards,
        same_masks_whatever_torch_seed,
        deepcopy_pickle,
        to_dtype,
    )
}
