"""Sets the step of a whole model in a block, and leaves the steps out of a state."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from anydrop.core import place
from anydrop.torch.module import Module
from anydrop.torch.saved import is_words


@contextmanager
def steps(model: torch.nn.Module, step: int) -> Iterator[None]:
    """Have each module with a seed draw the mask of one step in its next forward.

    Within the block no step is counted, and a module may be called once. A checkpoint's second run,
    within the block or after it, draws the mask of the first.

    Parameters
    ----------
    model : torch.nn.Module
        The model that holds the modules.
    step : int
        ``0 <= step < 2**64``.

    Raises
    ------
    ValueError
        If no module of the model has a seed, or `step` is out of range.
    RuntimeError
        If a module is called a second time in one block.

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
        raise ValueError(
            "no dropout module of this model has a seed, so none has steps: make them with seed=, "
            "or call anydrop.seed_layers(model, 0)"
        )
    with ExitStack() as blocks:
        for module in modules:
            blocks.enter_context(module.at_step(number))
        yield


def without_steps(state: dict[str, Any], model: torch.nn.Module) -> dict[str, Any]:
    """Return a state without the steps of a model's dropout modules.

    A model with PyTorch's own dropout loads the result strictly. So does a model with other seeds
    or places, and its modules keep their steps.

    Parameters
    ----------
    state : dict of str to Any
        A result of a model's ``state_dict()``.
    model : torch.nn.Module
        The model that loads the state, or the one that it is from.

    Returns
    -------
    dict of str to Any
        A new dict with the same values.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), anydrop.torch.Dropout(0.5, seed=0))
    >>> list(model.state_dict())
    ['0.weight', '0.bias', '1.step']
    >>> list(anydrop.torch.without_steps(model.state_dict(), model))
    ['0.weight', '0.bias']
    """
    ours = {
        f"{name}.step".removeprefix(".")
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, Module)
    }
    # A model with other dropout does not have our names. What it holds itself stays.
    tensors = *model.named_parameters(remove_duplicate=False), *model.named_buffers()
    held = {name for name, _ in tensors}
    kept = copy.copy(state)  # with the versions that PyTorch keeps beside the values
    for name, value in state.items():
        is_ours = name.rpartition(".")[2] == "step" and is_words(value) and name not in held
        if is_ours or name in ours:
            del kept[name]
    return kept
