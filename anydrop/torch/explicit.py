"""`steps` sets the step of a whole model, and `without_steps` removes steps from a state."""

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
    """Set the step of all modules of a model, in a ``with`` block.

    Each module with a seed draws the mask of `step` in the block, whatever its count. Use it to
    draw the masks of one training step again, or to number the steps yourself, such as by the
    microbatch of a pipeline.

    In the block no step is counted, and each module may be called once. The backward pass of a
    checkpoint (``torch.utils.checkpoint``) draws the same masks, in the block or after it.

    Parameters
    ----------
    model : torch.nn.Module
        The model that contains the modules.
    step : int
        Which masks to draw, ``0 <= step < 2**64``.

    Raises
    ------
    ValueError
        If no module of the model has a seed, or `step` is out of range.
    RuntimeError
        If a module is called a second time in the block.

    See Also
    --------
    Module.forward : Takes the step of a single call, ``module(x, step=7)``.

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
            "no dropout module of this model has a seed, so none counts steps: make them with "
            "seed=, or call anydrop.seed_layers(model, 0)"
        )
    with ExitStack() as blocks:
        for module in modules:
            blocks.enter_context(module.at_step(number))
        yield


def without_steps(state: dict[str, Any], model: torch.nn.Module) -> dict[str, Any]:
    """Return a ``state_dict`` without the steps of the dropout modules.

    Use it to load the weights alone. A model with PyTorch's own dropout loads the result with
    ``strict=True``. So does a model with other seeds, and its modules keep their steps.

    Parameters
    ----------
    state : dict of str to Any
        The result of ``state_dict()``.
    model : torch.nn.Module
        The model that loads the state, or the model that saved it.

    Returns
    -------
    dict of str to Any
        A new dict with the other keys and the same values.

    See Also
    --------
    anydrop.seed_layers : Give each module of a model a seed, and so a step to save.

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
    # A model with PyTorch's dropout does not have our names. Its own tensors stay.
    tensors = *model.named_parameters(remove_duplicate=False), *model.named_buffers()
    held = {name for name, _ in tensors}
    kept = copy.copy(state)  # keeps its attribute `_metadata`, PyTorch's versions
    for name, value in state.items():
        is_ours = name.rpartition(".")[2] == "step" and is_words(value) and name not in held
        if is_ours or name in ours:
            del kept[name]
    return kept
