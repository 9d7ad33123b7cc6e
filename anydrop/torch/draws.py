"""Which step a module draws, and how a checkpoint's recompute finds the step of its forward.

In the backward pass, an activation checkpoint restores PyTorch's CPU generator and runs the forward
again. So each forward draws a token of 64 bits from that generator, and remembers the token with
its step. The recompute draws the same token and looks up the step.
"""

from __future__ import annotations

from array import array
from threading import Lock, local

import numpy as np
import torch
from torch import Tensor

from anydrop.backends.torch.watchers import in_backward, in_transform
from anydrop.core import seeds, stream
from anydrop.core.stream import LAST_STEP, Keyed

# How many forwards a module remembers, at 16 bytes each.
MEMORY = 2**12
# The key of all modules without a seed: their steps are random.
UNSEEDED = Keyed(stream.key_of(seeds.of_place(0, "anydrop.torch")))

_buffers = local()


class Draws:
    """The steps of one module: those it drew, and the next one.

    Parameters
    ----------
    step : int or None
        The next step. None: PyTorch's CPU generator chooses each step.
    """

    def __init__(self, step: int | None) -> None:
        self.step = step
        #: In a block of `steps`: its step, or empty once a forward drew it.
        self.told: list[int] | None = None
        # The tokens and steps of the last forwards, in a ring buffer.
        self._tokens, self._steps = array("Q"), array("Q")
        self._oldest = 0
        self._lock = Lock()

    def next(self, mapped: bool = False) -> int:
        """Return the step of a forward, and count it. A recompute gets the step of its forward.

        `mapped` is for a forward under ``torch.vmap``, whose masks come from random steps instead.

        Raises
        ------
        RuntimeError
            If a recompute's forward is unknown, the step of a `steps` block was drawn before, all
            steps of the seed were drawn, or a forward is mapped in a `steps` block.
        """
        token = _token()
        if in_backward():
            return self._recomputed(token)
        with self._lock:
            if self.told is not None:
                if mapped:
                    raise RuntimeError(
                        "anydrop.torch.steps does not work under torch.vmap, where steps are "
                        "random: pass the step to each call, module(x, step=t)"
                    )
                step = self._one_told()
            elif self.step is None:
                step = token
            elif self.step > LAST_STEP:
                raise RuntimeError("all 2**64 steps of this module's seed are used: reseed it")
            else:
                step, self.step = self.step, self.step + 1
            if len(self._tokens) < MEMORY:
                self._tokens.append(token)
                self._steps.append(step)
            else:
                at = self._oldest
                self._tokens[at], self._steps[at] = token, step
                self._oldest = (at + 1) % MEMORY
        return step

    def check_inference(self) -> None:
        """Raise if this is a recompute in eval mode of a forward that drew a mask.

        PyTorch's generator does not move.
        """
        state = torch.get_rng_state()
        token = _token()
        torch.set_rng_state(state)
        with self._lock:
            drew = token in self._tokens
        if drew:
            raise RuntimeError(
                "a checkpoint recomputes a training forward, but the module is in eval mode now: "
                "call eval() after the backward pass"
            )

    def undo(self, step: int) -> None:
        """Undo the count of a forward that raised."""
        with self._lock:
            if self.told is not None and not self.told:
                self.told.append(step)
            elif self.step is not None and self.step == step + 1:
                self.step = step

    def anew(self, step: int | None) -> Draws:
        """Return `Draws` that start at a step and remember only the step of a block."""
        new = Draws(step)
        new.told = self.told
        return new

    def _one_told(self) -> int:
        """Return the step of the block. Only one forward may draw it."""
        if not self.told:
            raise RuntimeError(
                "this module is called a second time within one block of anydrop.torch.steps and "
                "would draw the same mask again: pass a step to each call, module(x, step=t), or "
                "leave the block out and set the step of the next call, "
                "model.get_submodule(name).step = t"
            )
        return self.told.pop()

    def _recomputed(self, token: int) -> int:
        with self._lock:
            found = np.asarray(self._tokens) == token
            steps = set(np.asarray(self._steps)[found].tolist())
        if not steps:
            raise RuntimeError(
                "this forward runs within a backward pass, so it looks like a checkpoint's second "
                "run, which needs the mask of the first. But none of this module's last "
                f"{MEMORY} forwards began in this state of PyTorch's CPU generator: let the "
                "checkpoint restore the state (preserve_rng_state=True, the default), or make the "
                "module with a seed and pass the step, module(x, step=t)"
            )
        if len(steps) > 1:
            raise RuntimeError(
                "this forward is a checkpoint's second run, which needs the mask of the first, and "
                "several forwards began in this state of PyTorch's CPU generator: call "
                "torch.manual_seed once and not before each forward, or pass the step, "
                "module(x, step=t)"
            )
        return steps.pop()


def _token() -> int:
    """Return 64 bits from PyTorch's CPU generator, which every checkpoint restores."""
    # A transform would track operations on a tensor that was made outside of it.
    bits = _new_bits() if in_transform() else _buffer_of_thread()
    drawn: int = bits.random_(-(2**63), None).item()
    return drawn & LAST_STEP


def _buffer_of_thread() -> Tensor:
    """Return this thread's tensor for tokens. Making one takes as long as drawing a token."""
    bits: Tensor | None = getattr(_buffers, "bits", None)
    if bits is None:
        with torch.inference_mode(False):
            bits = _buffers.bits = _new_bits()
    return bits


def _new_bits() -> Tensor:
    return torch.empty((), dtype=torch.int64, device="cpu")
