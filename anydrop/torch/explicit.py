"""Steps said from outside: for a whole model in a block, and states of a model without them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from anydrop.core import place
from anydrop.torch.module import Module


@contextmanager
def steps(model: torch.nn.Module, step: int) -> Iterator[None]:
    """Have each module with a seed draw the mask of one step in its next forward.

    Within the block no step is counted. A module may be called once; a checkpoint's second run,
    within the block or after it, draws the mask of the first.

    Parameters
    ----------
    model : torch.nn.Module
        Which holds the modules.
    step : int
        ``0 <= step < 2**64``.

    Raises
    ------
    ValueError
        If no module of the model has a seed, or `step` is out of range.
    RuntimeError
        By a module's second forward in one block.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> model = torch.nn.Sequential(anydrop.torch.Dropout(0.5, seed=0))
    >>> with anydrop.torch.steps(model, 7):
    ...     y = model(torch.ones(4))
    >>> y
    tensor([2., 2., 2., 0.])
    >>> model[0].step
    0
    """
    number = place.known_step(place.step(step))
    modules = [m for m in model.modules() if isinstance(m, Module) and m.counts]
    if not modules:
        raise ValueError("no dropout module of this model has a seed, so none has steps")
    before = [module.tell(number) for module in modules]
    try:
        yield
    finally:
        for module, said in zip(modules, before, strict=True):
            module.restore(said)


def without_steps(state: Mapping[str, Any], model: torch.nn.Module) -> dict[str, Any]:
    """Return a state without the steps of a model's dropout modules.

    A model with PyTorch's own dropout loads it strictly, and so does one whose dropout has
    another seed, and goes on counting as before.

    Parameters
    ----------
    state : mapping of str to Any
        What ``model.state_dict()`` returned, now or earlier.
    model : torch.nn.Module
        Whose modules' names those of the state are.

    Returns
    -------
    dict of str to Any

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), anydrop.torch.Dropout(0.5, seed=0))
    >>> list(model.state_dict())
    ['0.weight', '0.bias', '1.step']
    >>> list(anydrop.torch.without_steps(model.state_dict(), model))
    ['0.weight', '0.bias']
    """
    named = model.named_modules(remove_duplicate=False)
    names = {f"{name}.step".removeprefix(".") for name, m in named if isinstance(m, Module)}
    return {name: value for name, value in state.items() if name not in names}
