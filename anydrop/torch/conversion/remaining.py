"""`remaining`: lists the random operators of a training forward that are not anydrop's."""

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
    """A place in a model that draws random numbers without anydrop: one row of a `Remaining`."""

    #: Such as ``aten::bernoulli_``. ``numpy.random`` or ``random`` for these global generators.
    operator: str
    #: Name of the innermost module that ran, or an empty string for the model itself.
    module: str
    #: Name of the module's class.
    kind: str
    #: File that called it. None if no PyTorch operator ran after a draw of ``numpy.random`` or
    #: ``random``.
    file: str | None
    #: Line in that file, or None.
    line: int | None
    #: How often it was called.
    times: int


class Remaining(tuple[RandomCall, ...]):
    """The result of `remaining`: a tuple of `RandomCall`, which prints as a table."""

    def __repr__(self) -> str:
        if not self:
            return "No random operator is left that is not anydrop's."
        rows = [(one.operator, _module(one), one.kind, _line(one), str(one.times)) for one in self]
        return lines(("operator", "module", "class", "called at", "times"), rows)


def remaining(model: torch.nn.Module, *inputs: Any, **keywords: Any) -> Remaining:
    """Run a model and list the random operators that are not anydrop's.

    Use it after `convert` to see whether any dropout is left. A deep copy of the model runs one
    forward in training mode, without gradients, on copies of the inputs. Compiled parts run
    uncompiled. Afterwards the model, the inputs and the global generators of PyTorch, NumPy and
    Python are as they were.

    Parameters
    ----------
    model : torch.nn.Module
        The model, in any mode and on any device. The copy is in training mode.
    *inputs, **keywords
        Arguments of the model's forward.

    Returns
    -------
    Remaining
        A tuple of `RandomCall`: each operator, its module, file and line, and how often it ran. It
        prints as a table. If nothing is left, it is empty, and so false.

    Raises
    ------
    TypeError
        If ``model`` is no module, or contains scripted modules, or if it or an input can't be
        copied.

    See Also
    --------
    convert : Make every dropout of a model draw anydrop's masks.

    Notes
    -----
    **One forward.** It lists only what this forward runs. If random numbers decide whether a layer
    runs, as in LayerDrop, it lists that draw, but not the draws of a skipped layer.

    **Lines.** The line is that of the innermost call outside PyTorch's own files. A PyTorch module
    inside ``torch.nn.Sequential`` has none, so its line in PyTorch's file is given. Draws of
    ``numpy.random`` and ``random`` are noticed at the next PyTorch operator, whose line is given.
    NumPy or Python generators that the model makes itself are not seen.

    **Threads.** Call it while no other thread draws random numbers. All threads share the global
    generators. It would list their draws, and they would draw the same numbers again once the
    generators are restored.

    **Side effects.** The copy runs the model's hooks, and their effects outside the model remain.
    If a function that refers to the original module was set as a module's ``forward``, the original
    runs.

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
        raise TypeError(f"model must be a torch.nn.Module, got {check.described(model)}")
    while (held := _held(model)) is not None:
        model = getattr(model, held)
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise TypeError(
                f"{name or 'the model'} is scripted, so it has no lines of Python to list: call "
                "remaining before torch.jit.script"
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
    """Restore the global generators after a block."""
    numpy_state, state = np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices), warnings.catch_warnings():
        # Checkpoints give this warning, as there are no gradients here.
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
            "that it keeps from earlier passes, remove locks and open files, and call remaining "
            "before a model is sharded"
        ) from error


def _tensors(thing: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of inputs. A deep copy would refuse those that autograd tracks."""
    if isinstance(thing, torch.Tensor):
        yield thing
    elif isinstance(thing, (list, tuple, dict)):
        for one in thing.values() if isinstance(thing, dict) else thing:
            yield from _tensors(one)


def _cloned(x: torch.Tensor) -> torch.Tensor:
    return x.detach().clone().requires_grad_(x.requires_grad)


def _held(module: torch.nn.Module) -> str | None:
    """Return the attribute in which a wrapper of PyTorch's keeps the model, or None."""
    kind = type(module)
    return WRAPPERS.get(kind.__name__) if kind.__module__.startswith("torch.") else None


def _names(model: torch.nn.Module) -> dict[int, tuple[str, str]]:
    """Return the first name of each module, and its class, by its id."""
    names: dict[int, tuple[str, str]] = {}
    for name, module in _named(model):
        names.setdefault(id(module), (name, type(module).__name__))
    return names


def _named(module: torch.nn.Module, name: str = "") -> Iterator[tuple[str, torch.nn.Module]]:
    """Yield the modules with their names in the user's model, without those of wrappers."""
    yield name, module
    for part, child in module.named_children():
        own = name if part == _held(module) else f"{name}.{part}" if name else part
        yield from _named(child, own)


def _module(call: RandomCall) -> str:
    return call.module or ("(the model)" if call.kind else "")


def _line(call: RandomCall) -> str:
    """Return file and line, with the file relative to where imports find it."""
    if call.file is None:
        return "(after the last operator)"
    roots = [root for root in (os.getcwd(), *sys.path) if call.file.startswith(root + os.sep)]
    short = os.path.relpath(call.file, max(roots, key=len)) if roots else call.file
    return f"{short}:{call.line}"
