"""Finds the operators that draw random numbers while a model runs, and the lines that call them."""

from __future__ import annotations

import inspect
import os
import pickle
import random
from types import FrameType
from typing import Any

import numpy as np
import torch

from anydrop.backends.torch.watchers import EachOperator

TORCH = os.path.join(os.path.dirname(inspect.getfile(torch)), "")
# The part of PyTorch with Python code that calls random operators for a user.
NN = os.path.join(TORCH, "nn", "")
# Frames in this folder don't mean that anydrop draws: they call PyTorch's code. Masks are drawn in
# other files.
CONVERSION = os.path.join(os.path.dirname(__file__), "")
ANYDROP = CONVERSION.removesuffix(os.path.join("torch", "conversion", ""))
# Device types whose generators are read before and after each operator.
READ = {"cpu", "cuda"}

# A counted call: operator, name and class of a module, file and line.
Site = tuple[str, str, str, str | None, int | None]


class RandomCalls:
    """Counts the calls of random operators that are not anydrop's, in a block of `watched`.

    Parameters
    ----------
    names : dict of int to tuple of str
        Name and class of each module of the model, by its id.
    end : str
        The file that calls the model. Lines in it, and in its callers, are not listed.
    """

    def __init__(self, names: dict[int, tuple[str, str]], end: str) -> None:
        self.names, self.end = names, end
        self.counts: dict[Site, int] = {}
        self._others = _states_of_others()

    def watched(self) -> EachOperator:
        """Return a block that watches each operator."""
        return EachOperator(self._run)

    def find_others(self, frame: FrameType | None = None) -> None:
        """Record whether NumPy's or Python's global generator moved since the last call."""
        for name, state in _states_of_others().items():
            if state != self._others[name]:
                self._others[name] = state
                self._note(name, frame)

    def _run(self, operator: Any, arguments: Any, keywords: Any) -> Any:
        frame = _caller()
        self.find_others(frame)
        before = _states()
        result = operator(*arguments, **keywords)
        name = operator.name().partition(".")[0]
        if _drew(operator, before, result, (*arguments, *keywords.values())) and not (
            name.startswith("anydrop::") or _is_ours(frame)
        ):
            self._note(name, frame)
        return result

    def _note(self, operator: str, frame: FrameType | None) -> None:
        site = operator, *self._where(frame)
        self.counts[site] = self.counts.get(site, 0) + 1

    def _where(self, frame: FrameType | None) -> tuple[str, str, str | None, int | None]:
        """Return the innermost module's name and class, and the file and line of the call."""
        name, kind = "", ""
        line = own_line = None
        while frame is not None and frame.f_code.co_filename != self.end:
            at = frame.f_code.co_filename, frame.f_lineno
            found = self.names.get(id(_first_argument(frame)))
            if found and not kind:
                (name, kind), own_line = found, at
            if not at[0].startswith((TORCH, ANYDROP)):
                line = line or at
            frame = frame.f_back
        # A PyTorch module inside another, such as nn.Sequential, has no caller outside PyTorch.
        return name, kind, *(line or own_line or (None, None))


def _drew(operator: Any, before: list[torch.Tensor], result: Any, arguments: Any) -> bool:
    """Tell whether an operator drew random numbers. With p = 0 many random operators do not."""
    if not all(map(torch.equal, before, _states())):
        return True
    if torch.Tag.nondeterministic_seeded not in getattr(operator, "tags", ()):
        return False
    first = result[0] if isinstance(result, (tuple, list)) else result
    elsewhere = isinstance(first, torch.Tensor) and first.device.type not in READ
    return elsewhere or any(isinstance(one, torch.Generator) for one in arguments)


def _states() -> list[torch.Tensor]:
    """Return the states of PyTorch's global generators."""
    more = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *more]


def _states_of_others() -> dict[str, object]:
    """Return the states of NumPy's and Python's global generators."""
    state = np.random.get_state(legacy=False)  # noqa: NPY002 - models draw from this one
    return {"numpy.random": pickle.dumps(state), "random": random.getstate()}


def _caller() -> FrameType | None:
    """Return the frame that called an operator."""
    frame = inspect.currentframe()
    for _ in range(3):  # this function, `_run` and the block
        frame = frame and frame.f_back
    return frame


def _is_ours(frame: FrameType | None) -> bool:
    """Tell whether anydrop called an operator: the first caller outside PyTorch is its file.

    A file of ``torch.nn`` counts as the user's.
    """
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(NN) or not file.startswith(TORCH):
            return file.startswith(ANYDROP) and not file.startswith(CONVERSION)
        frame = frame.f_back
    return False


def _first_argument(frame: FrameType) -> object:
    """Return a frame's first argument, which is ``self`` in a method."""
    code = frame.f_code
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
