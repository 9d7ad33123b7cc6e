"""The operators ``anydrop::draw`` and ``anydrop::key``: a module's draws in compiled programs.

They ask the module for its step and key when the program runs. Compilers don't look inside. They
treat a draw as random, so they neither repeat nor merge draws whose results are used.
"""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from anydrop.backends import resolve
from anydrop.backends.torch.int64 import signed
from anydrop.backends.torch.watchers import is_fake
from anydrop.core.stream import Keyed
from anydrop.core.tracing import constant
from anydrop.torch.draws import UNSEEDED, Draws

if TYPE_CHECKING:
    from anydrop.torch.module import Module

# Modules, by the number in their handle, a tensor that compiled programs take as an argument.
_MODULES: WeakValueDictionary[int, Module] = WeakValueDictionary()
# Draws of modules without a seed in programs that another process exported, by that number.
_FOREIGN: dict[int, Draws] = {}
_sites = count()
# A program is compiled again when `resolve` first sees a type, so show it the usual ones now.
for _first in (torch.empty(0), torch.nn.Parameter(torch.empty(0)), np.empty(0)):
    resolve(_first)

LIBRARY = torch.library.Library("anydrop", "FRAGMENT")
LIBRARY.define(
    "draw(Tensor handle, int site, bool counts, bool mapped=False) -> Tensor",
    tags=(torch.Tag.nondeterministic_seeded, torch.Tag.pt2_compliant_tag),
)
LIBRARY.define("key(Tensor handle) -> Tensor", tags=(torch.Tag.pt2_compliant_tag,))


def draw(module: Module, mapped: bool = False) -> tuple[Keyed, Tensor]:
    """Return the key and step of a module's next draw. They have values once the program runs."""
    words = torch.ops.anydrop.draw(module.handle, _site(), module.counts, mapped)
    return Keyed((words[0], words[1])), words[2]


def key(module: Module) -> Keyed:
    """Return a module's key. It has a value once the program runs."""
    words = torch.ops.anydrop.key(module.handle)
    return Keyed((words[0], words[1]))


@constant
def _site() -> int:
    """Return a new number for each traced call, so that the compiler does not merge two calls."""
    return next(_sites)


def handle_of(module: Module) -> Tensor:
    """Return a tensor that identifies a module in this process."""
    number = int.from_bytes(os.urandom(8), "big") >> 1
    _MODULES[number] = module
    return torch.tensor(number, dtype=torch.int64, device="cpu")


def usable_handle(module: Module) -> Tensor:
    """Return a module's handle, or a new one if it is fake: results would be fake, too."""
    return handle_of(module) if is_fake(module.handle) else module.handle


@torch.library.impl(LIBRARY, "draw", "CompositeExplicitAutograd")
def _run(handle: Tensor, site: int, counts: bool, mapped: bool = False) -> Tensor:
    if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "this CUDA graph would repeat the masks of a compiled program at each replay: leave "
            "the program out of the graph, or compile it in eval mode"
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
        "this program counts the steps of a module with a seed, and that module is not in this "
        "process: export the program with a module without a seed, or with a function that takes "
        "the step, anydrop.dropout(x, p, seed=seed, step=step)"
    )


@torch.library.register_fake("anydrop::draw", lib=LIBRARY)
def _shape_of(handle: Tensor, site: int, counts: bool, mapped: bool = False) -> Tensor:
    return torch.empty(3, dtype=torch.int64, device="cpu")


@torch.library.register_fake("anydrop::key", lib=LIBRARY)
def _shape_of_key(handle: Tensor) -> Tensor:
    return torch.empty(2, dtype=torch.int64, device="cpu")
