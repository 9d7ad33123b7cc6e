"""Situations of a model's state: saved, loaded, and made elsewhere."""

from __future__ import annotations

import torch
from torch import nn

from anydrop.torch import without_steps
from situations.trial import OTHER, Make, N, Net, Trial, assert_equal, follows_the_generator


def stock(seed: int) -> nn.Module:
    return nn.Dropout(0.5)


def old_checkpoint_strict(make: Make) -> None:
    """A state that was saved with ``nn.Dropout`` is loaded strictly."""
    trial = Trial(Net(make))
    trial.net.load_state_dict(Net(stock).state_dict())
    trial.step()
    trial.judge()


def new_checkpoint_into_old_model_strict(make: Make) -> None:
    """A state without its steps is loaded strictly into a model with ``nn.Dropout``."""
    net = Net(make)
    trial = Trial(Net(stock))
    trial.net.load_state_dict(without_steps(net.state_dict(), net))
    trial.step()
    trial.judge()


def goes_on(make: Make, restore: bool) -> None:
    unbroken = Trial(Net(make))
    unbroken.step(times=2)
    state, before = unbroken.net.state_dict(), torch.get_rng_state()
    unbroken.step(times=2)
    unbroken.judge()
    torch.manual_seed(7)
    resumed = Net(make)
    resumed.load_state_dict(state)
    if restore:
        torch.set_rng_state(before)
    for _, y in unbroken.runs[2:]:
        assert_equal(resumed(torch.ones(N)), y, OTHER)


def resume_goes_on(make: Make) -> None:
    """A run resumes from its state and PyTorch's random state."""
    goes_on(make, restore=True)


def resume_without_rng(make: Make) -> None:
    """A run resumes from its state alone."""
    with follows_the_generator():
        goes_on(make, restore=False)


def meta_then_to_empty(make: Make) -> None:
    """A model is made on the meta device, then ``to_empty``."""
    with torch.device("meta"):
        net = Net(make)
    net.to_empty(device=torch.get_default_device())
    net.load_state_dict(dict.fromkeys(("w", "v"), torch.ones(N)))
    trial = Trial(net)
    trial.step()
    trial.judge()


SITUATIONS = {
    one.__name__: one
    for one in (
        old_checkpoint_strict,
        new_checkpoint_into_old_model_strict,
        resume_goes_on,
        resume_without_rng,
        meta_then_to_empty,
    )
}
