"""Which step a module draws, and how a recompute finds the step that its forward had.

In the backward pass a checkpoint of activations restores PyTorch's CPU generator and runs a forward
again. So each forward draws a token of 64 bits from that generator, and remembers the token and its
step. The second run draws the same token, and looks the step up.

In compiled programs the operator ``anydrop::draw`` does the same when the program runs. Compilers
can't look inside, and take it as random, so they never leave it out, repeat it or reorder it.
"""

from __future__ import annotations

import os
from array import array
from itertools import count
from threading import Lock, local
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from anydrop.backends import resolve
from anydrop.backends.torch.int64 import signed
from anydrop.backends.torch.watchers import in_backward, in_transform, is_fake
from anydrop.core import seeds, stream
from anydrop.core.stream import LAST_STEP, Keyed
from anydrop.core.tracing import constant

if TYPE_CHECKING:
    from anydrop.torch.module import Module

# How many forwards a module remembers. Each takes 16 bytes.
MEMORY = 2**12
# The key of all modules without a seed. Their steps are random.
UNSEEDED = Keyed(stream.key_of(seeds.of_place(0, "anydrop.torch")))

# Modules, by the number in their handle: a tensor that compiled programs take as an argument.
_MODULES: WeakValueDictionary[int, Module] = WeakValueDictionary()
# Draws of modules without a seed, in programs that another process exported.
_FOREIGN: dict[int, Draws] = {}
_sites = count()
# Programs are compiled again when `resolve` first sees a type, so it sees the usual ones here.
for _first in (torch.empty(0), torch.nn.Parameter(torch.empty(0)), np.empty(0)):
    resolve(_first)


class Draws:
    """The steps of one module: what it drew, and what it draws next.

    Parameters
    ----------
    step : int, optional
        The next step, counted from here. None: PyTorch's CPU generator chooses each step.
    """

    def __init__(self, step: int | None) -> None:
        self.step = step
        #: In a block of `steps`: its step, until a forward draws it.
        self.told: list[int] | None = None
        # The tokens and steps of the last forwards, in a ring.
        self._tokens, self._steps = array("Q"), array("Q")
        self._oldest = 0
        self._lock = Lock()

    def next(self, mapped: bool = False) -> int:
        """Return the step of a forward, and count it. A recompute gets the step of its first run.

        In a mapped forward, one under ``torch.vmap``, masks are drawn of random steps instead.

        Raises
        ------
        RuntimeError
            If a recompute's first run is unknown, a block's step was drawn, all steps were, or a
            block says the step of a mapped forward.
        """
        token = _token()
        if in_backward():
            return self._recomputed(token)
        with self._lock:
            if self.told is not None:
                if mapped:
                    raise RuntimeError(
                        "anydrop.torch.steps says a step, and under torch.vmap the masks are those "
                        "of random steps: pass the step to each call, module(x, step=t)"
                    )
                step = self._one_told()
            elif self.step is None:
                step = token
            elif self.step > LAST_STEP:
                raise RuntimeError("all 2**64 steps of this module's seed were drawn: reseed it")
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
        """Refuse a recompute in eval mode if its first run drew; PyTorch's generator stays."""
        state = torch.get_rng_state()
        token = _token()
        torch.set_rng_state(state)
        with self._lock:
            drew = token in self._tokens
        if drew:
            raise RuntimeError(
                "this forward is a checkpoint's second run of one that drew a mask in training "
                "mode, and the module is in eval mode now: call eval() after the backward pass"
            )

    def undo(self, step: int) -> None:
        """Count back, after a forward that was refused."""
        with self._lock:
            if self.told is not None and not self.told:
                self.told.append(step)
            elif self.step is not None and self.step == step + 1:
                self.step = step

    def anew(self, step: int | None) -> Draws:
        """Return what counts from a step, and remembers nothing but the step of a block."""
        new = Draws(step)
        new.told = self.told
        return new

    def _one_told(self) -> int:
        """Return the step of the block, which only one forward may draw."""
        if not self.told:
            raise RuntimeError(
                "this module is called a second time within one block of anydrop.torch.steps, and "
                "would draw the same mask again: pass a step to each call, module(x, step=t)"
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
    """Return 64 bits of PyTorch's CPU generator, which every checkpoint restores."""
    # A transform would follow what is done with a tensor that was made outside of it.
    bits = _new_bits() if in_transform() else _buffer.bits
    drawn: int = bits.random_(-(2**63), None).item()
    return drawn & LAST_STEP


def _new_bits() -> Tensor:
    return torch.empty((), dtype=torch.int64, device="cpu")


class _Buffer(local):
    """A tensor of each thread, in which it draws tokens."""

    def __init__(self) -> None:
        with torch.inference_mode(False):
            self.bits = _new_bits()


_buffer = _Buffer()


# The operator ------------------------------------------------------------------------------------

LIBRARY = torch.library.Library("anydrop", "FRAGMENT")
LIBRARY.define(
    "draw(Tensor handle, int site, bool counts, bool mapped=False) -> Tensor",
    tags=(torch.Tag.nondeterministic_seeded, torch.Tag.pt2_compliant_tag),
)
LIBRARY.define("key(Tensor handle) -> Tensor", tags=(torch.Tag.pt2_compliant_tag,))


def draw(module: Module, mapped: bool = False) -> tuple[Keyed, Tensor]:
    """Return key and step of a module's next draw. Their values are known when the program runs."""
    words = torch.ops.anydrop.draw(module.handle, _site(), module.counts, mapped)
    return Keyed((words[0], words[1])), words[2]


def key(module: Module) -> Keyed:
    """Return a module's key. Its value is known when the program runs."""
    words = torch.ops.anydrop.key(module.handle)
    return Keyed((words[0], words[1]))


@constant
def _site() -> int:
    """Return a new number for each traced call, so that the compiler merges no two of them."""
    return next(_sites)


def handle_of(module: Module) -> Tensor:
    """Return a tensor that stands for a module in this process."""
    number = int.from_bytes(os.urandom(8), "big") >> 1
    _MODULES[number] = module
    return torch.tensor(number, dtype=torch.int64, device="cpu")


def usable_handle(module: Module) -> Tensor:
    """Return a module's handle, or a new one if it is fake: all results would be fake, too."""
    return handle_of(module) if is_fake(module.handle) else module.handle


@torch.library.impl(LIBRARY, "draw", "CompositeExplicitAutograd")
def _run(handle: Tensor, site: int, counts: bool, mapped: bool = False) -> Tensor:
    if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "a CUDA graph that is captured now would repeat the masks of this compiled program at "
            "each replay: leave the program out of the graph, or compile it in eval mode"
        )
    number = int(handle.item())
    module = _MODULES.get(number)
    if module is not None:
        seed, step = module.next_draw(mapped=mapped)
    elif counts:
        raise _not_here()
    else:
        seed, step = UNSEEDED, _FOREIGN.setdefault(number, Draws(None)).next()
    return torch.tensor([*seed.key, signed(step)], dtype=torch.int64, device="cpu")


@torch.library.impl(LIBRARY, "key", "CompositeExplicitAutograd")
def _key(handle: Tensor) -> Tensor:
    module = _MODULES.get(int(handle.item()))
    if module is None:
        raise _not_here()
    return torch.tensor(module.key().key, dtype=torch.int64, device="cpu")


def _not_here() -> RuntimeError:
    return RuntimeError(
        "this program draws the masks of a module with a seed, which counts its steps, and "
        "that module is not in this process: a program that was exported in training mode "
        "goes on only where its module lives. Export it with a module without a seed, or with "
        "a function that takes the step: anydrop.dropout(x, p, seed=seed, step=step)"
    )


@torch.library.register_fake("anydrop::draw", lib=LIBRARY)
def _shape_of(handle: Tensor, site: int, counts: bool, mapped: bool = False) -> Tensor:
    return torch.empty(3, dtype=torch.int64, device="cpu")


@torch.library.register_fake("anydrop::key", lib=LIBRARY)
def _shape_of_key(handle: Tensor) -> Tensor:
    return torch.empty(2, dtype=torch.int64, device="cpu")
