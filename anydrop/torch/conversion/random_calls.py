"""Which operators draw random numbers while a model runs, and from which line each is called."""

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
# Frames of this folder are no sign of our own draws: they run PyTorch's code, and the masks are
# drawn in other files.
CONVERSION = os.path.join(os.path.dirname(__file__), "")
ANYDROP = CONVERSION.removesuffix(os.path.join("torch", "conversion", ""))
# Kinds of devices with generators that are read before and after each operator.
READ = {"cpu", "cuda"}

# What is counted: an operator, the name and class of a module, and the file and line of the call.
Site = tuple[str, str, str, str | None, int | None]


class RandomCalls:
    """The calls of random operators that are not anydrop's, in the block of `watched`.

    Parameters
    ----------
    names : dict of int to tuple of str
        Name and class of each module of the model, by its id.
    end : str
        The file that calls the model. No line in it, or in what called it, is named.
    """

    def __init__(self, names: dict[int, tuple[str, str]], end: str) -> None:
        self.names, self.end = names, end
        self.counts: dict[Site, int] = {}
        self._others = _states_of_others()

    def watched(self) -> EachOperator:
        """Return a block in which each operator is looked at."""
        return EachOperator(self._run)

    def find_others(self, frame: FrameType | None = None) -> None:
        """Note whether NumPy's or Python's global generator moved since this was last asked."""
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
        # A module of PyTorch's in another, such as nn.Sequential, is called by PyTorch alone.
        return name, kind, *(line or own_line or (None, None))


def _drew(operator: Any, before: list[torch.Tensor], result: Any, arguments: Any) -> bool:
    """Tell whether an operator drew random numbers. With p = 0 many random ones do not."""
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
    state = np.random.get_state(legacy=False)  # noqa: NPY002 - the one that models draw from
    return {"numpy.random": pickle.dumps(state), "random": random.getstate()}


def _caller() -> FrameType | None:
    """Return the frame that called an operator."""
    frame = inspect.currentframe()
    for _ in range(3):  # this function, `_run` and the block
        frame = frame and frame.f_back
    return frame


def _is_ours(frame: FrameType | None) -> bool:
    """Tell whether a file of anydrop's is the first above the operator that is not PyTorch's.

    A file of ``torch.nn`` counts as the user's.
    """
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(NN) or not file.startswith(TORCH):
            return file.startswith(ANYDROP) and not file.startswith(CONVERSION)
        frame = frame.f_back
    return False


def _first_argument(frame: FrameType) -> object:
    """Return a frame's first argument: of a method, ``self``."""
    code = frame.f_code
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
