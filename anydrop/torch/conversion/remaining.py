"""`remaining`: which random operators of a model's training forward are not anydrop's."""

from __future__ import annotations

import copy
import os
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

from anydrop.core import check
from anydrop.seeding import WRAPPERS
from anydrop.torch.conversion.random_calls import RandomCalls
from anydrop.torch.conversion.table import lines
from anydrop.torch.module import UNCOUNTED


class RandomCall(NamedTuple):
    """A place in a model that draws random numbers which are not anydrop's."""

    #: Such as ``aten::bernoulli_``, or ``numpy.random`` or ``random`` for a global generator.
    operator: str
    #: Name of the innermost module that ran; "" is the model itself.
    module: str
    #: Name of its class.
    kind: str
    #: Where it was called; None if no operator of PyTorch's came after.
    file: str | None
    line: int | None
    #: How many times.
    times: int


class Remaining(tuple[RandomCall, ...]):
    """The random operators that `remaining` found: a tuple that prints as a table."""

    def __repr__(self) -> str:
        if not self:
            return "No random operator is left that is not anydrop's."
        rows = [(one.operator, _module(one), one.kind, _line(one), str(one.times)) for one in self]
        return lines(("operator", "module", "class", "called at", "times"), rows)


def remaining(model: torch.nn.Module, *inputs: Any, **keywords: Any) -> Remaining:
    """Return which random operators of a model's training forward are not anydrop's.

    One forward of a deep copy of the model runs in training mode, without gradients, on copies of
    the inputs. Compiled parts run uncompiled. The model, the inputs and the global generators of
    PyTorch, NumPy and Python are afterwards as they were.

    Parameters
    ----------
    model : torch.nn.Module
        The model, in any mode and on any device. All its modules are in training mode here.
    *inputs, **keywords
        What the model's forward takes.

    Returns
    -------
    tuple of RandomCall
        Each operator, its module, file and line, and how many times it ran. It prints as a table.
        Without any, it is empty, and so false.

    Raises
    ------
    TypeError
        If the model is no module, or holds scripted modules, or it or the inputs can't be copied.

    Notes
    -----
    It sees what this one forward runs. Where random numbers decide whether a layer runs, as in
    LayerDrop, it names that draw, but not those of the layer that it skips.

    The line is that of the innermost call outside of PyTorch's own files. A module of PyTorch's
    within ``torch.nn.Sequential`` has none, and its line in PyTorch's file is given instead. Draws
    of ``numpy.random`` and ``random`` are noticed at the next operator of PyTorch's, and the line
    is that operator's. Generators of NumPy's or Python's that a model makes itself are not seen.

    Call it while no other thread draws random numbers. The generators are those of all threads: it
    would name their draws, and they would draw the same numbers again once the generators are put
    back.

    The copy runs the model's hooks, and what they do outside of the model stays done. If a function
    was set as a module's ``forward`` and holds on to the original module, the original runs.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> class Network(torch.nn.Module):
    ...     def forward(self, x):
    ...         return torch.nn.functional.dropout(x, 0.5, self.training)
    >>> found = anydrop.torch.remaining(Network(), torch.ones(4))
    >>> found[0].operator, found[0].kind, found[0].times
    ('aten::bernoulli_', 'Network', 1)
    >>> anydrop.torch.remaining(anydrop.torch.Dropout(0.5), torch.ones(4))
    No random operator is left that is not anydrop's.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"remaining takes a torch.nn.Module, got {check.described(model)}")
    while (held := _held(model)) is not None:
        model = getattr(model, held)
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise TypeError(
                f"{name or 'the model'} is scripted, and a scripted module has no lines of Python "
                "to name: call remaining before torch.jit.script"
            )
    with _unchanged(), torch.inference_mode(False), torch.no_grad():
        memo: dict[Any, Any] = {UNCOUNTED: True}
        twin = _copied(model, memo, "the model")
        memo = {id(x): _cloned(x) for x in _tensors((inputs, keywords))} | memo
        inputs, keywords = _copied((inputs, keywords), memo, "an input")
        calls = RandomCalls(_names(twin), __file__)
        with torch.compiler.set_stance("force_eager"), calls.watched():
            twin.train()(*inputs, **keywords)
        calls.find_others()
    return Remaining(RandomCall(*site, times) for site, times in calls.counts.items())


@contextmanager
def _unchanged() -> Iterator[None]:
    """Put the global generators back after a block."""
    numpy_state, state = np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices), warnings.catch_warnings():
        # Checkpoints warn of this, as there are no gradients here.
        warnings.filterwarnings("ignore", "None of the inputs have requires_grad=True")
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(state)


def _copied(thing: Any, memo: dict[Any, Any], what: str) -> Any:
    try:
        return copy.deepcopy(thing, memo)
    except Exception as error:
        raise TypeError(
            f"remaining runs a deep copy, and {what} can't be copied ({error}): detach tensors "
            "that it keeps of earlier passes, take out locks, files and the like, and call "
            "remaining before a model is sharded"
        ) from error


def _tensors(thing: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of inputs. A deep copy refuses those that autograd follows."""
    if isinstance(thing, torch.Tensor):
        yield thing
    elif isinstance(thing, (list, tuple, dict)):
        for one in thing.values() if isinstance(thing, dict) else thing:
            yield from _tensors(one)


def _cloned(x: torch.Tensor) -> torch.Tensor:
    return x.detach().clone().requires_grad_(x.requires_grad)


def _held(module: torch.nn.Module) -> str | None:
    """Return the name under which a module of PyTorch's holds the model that it wraps."""
    kind = type(module)
    return WRAPPERS.get(kind.__name__) if kind.__module__.startswith("torch.") else None


def _names(model: torch.nn.Module) -> dict[int, tuple[str, str]]:
    """Return the first name of each module, and its class, by its id."""
    names: dict[int, tuple[str, str]] = {}
    for name, module in _named(model):
        names.setdefault(id(module), (name, type(module).__name__))
    return names


def _named(module: torch.nn.Module, name: str = "") -> Iterator[tuple[str, torch.nn.Module]]:
    """Yield the modules with their names in the user's model, which has no wrappers."""
    yield name, module
    for part, child in module.named_children():
        own = name if part == _held(module) else f"{name}.{part}" if name else part
        yield from _named(child, own)


def _module(call: RandomCall) -> str:
    return call.module or ("(the model)" if call.kind else "")


def _line(call: RandomCall) -> str:
    """Return file and line, the file as imports find it."""
    if call.file is None:
        return "(after the last operator)"
    roots = [root for root in (os.getcwd(), *sys.path) if call.file.startswith(root + os.sep)]
    short = os.path.relpath(call.file, max(roots, key=len)) if roots else call.file
    return f"{short}:{call.line}"
