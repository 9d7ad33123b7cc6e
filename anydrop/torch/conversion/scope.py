"""Finds the child that draws for a call of a dropout function.

It is the child of the innermost converted module that is running. A checkpoint's recompute may run
outside of every module's forward. Such a call is recognized by its place in the code and by the
state of PyTorch's CPU generator, which a checkpoint restores.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING
from weakref import WeakSet

import torch

from anydrop.backends.torch.watchers import (
    backward_pass,
    generator_state,
    in_transform,
    may_be_repeated,
)

if TYPE_CHECKING:
    from anydrop.torch.conversion.child import FunctionalDropout

# How many calls are remembered, over all models.
MEMORY = 2**14

#: All living children. If there is none, nothing is remembered.
CHILDREN: WeakSet[FunctionalDropout] = WeakSet()

# A place in the code that calls a function: file, first line of the caller, and instruction.
Site = tuple[object, ...]

# The children that drew for the last calls that may be repeated, by generator state and site. None
# stands for PyTorch.
_drew: dict[tuple[object, ...], set[weakref.ref[FunctionalDropout] | None]] = {}
# The sites where a child drew.
_sites = set[Site]()
_lock = threading.Lock()


class _Thread(threading.local):
    def __init__(self) -> None:
        #: The child that draws for each forward that runs in this thread, the innermost last, and
        #: the backward pass in which the forward began, or -1. None stands for PyTorch.
        self.forwards: list[tuple[FunctionalDropout | None, int]] = []


_thread = _Thread()


@contextmanager
def drawn_by(child: FunctionalDropout | None) -> Iterator[None]:
    """Have a child draw for the functions that this block calls. None: have PyTorch draw."""
    _thread.forwards.append((child, -1 if torch.compiler.is_compiling() else backward_pass()))
    try:
        yield
    finally:
        _thread.forwards.pop()


def drawing() -> FunctionalDropout | None:
    """Return the child that draws for the function that calls this one, or None for PyTorch.

    Raises
    ------
    RuntimeError
        If a checkpoint's recompute calls it, and it is not known who drew in the forward.
    """
    child, began = _thread.forwards[-1] if _thread.forwards else (None, -1)
    # Checkpoints do not work in transforms of torch.func.
    if torch.compiler.is_compiling() or not CHILDREN or in_transform():
        return child
    now = backward_pass()
    repeats = now != -1
    if not repeats and not may_be_repeated():
        return child
    if repeats and now == began:
        return child  # The module's whole forward is recomputed, and the child knows its steps.
    site = _site(sys._getframe(2))  # noqa: SLF001 - as documented
    call = generator_state(), *site
    with _lock:
        if repeats:
            return _of_first_run(call, site)
        _remember(call, site, child)
    return child


def forget() -> None:
    """Forget all calls, once no child is alive."""
    with _lock:
        _drew.clear()
        _sites.clear()


def _site(frame: FrameType) -> Site:
    code = frame.f_code
    return code.co_filename, code.co_firstlineno, frame.f_lasti


def _remember(call: tuple[object, ...], site: Site, child: FunctionalDropout | None) -> None:
    while len(_drew) >= MEMORY:
        del _drew[next(iter(_drew))]
    _drew.setdefault(call, set()).add(None if child is None else weakref.ref(child))
    if child is not None:
        _sites.add(site)


def _of_first_run(call: tuple[object, ...], site: Site) -> FunctionalDropout | None:
    """Return the child that drew for a call that began in the same state of the generator."""
    refs = _drew.get(call, set())
    children = [child for ref in refs if ref is not None and (child := ref()) is not None]
    # Without a seed, all children draw the same mask in the same state of the generator.
    by_seed = [child for child in children if child.counts]
    if len(children) + (None in refs) > 1 and (by_seed or None in refs):
        raise RuntimeError(
            "a checkpoint recomputes this dropout function, and several models called it in this "
            "state of PyTorch's CPU generator: call torch.manual_seed once and not before each "
            "forward, or have the checkpoint call a module of the converted model"
        )
    if children:
        return children[0]
    if site in _sites and None not in refs:
        raise RuntimeError(
            "a checkpoint seems to recompute this dropout function, which needs the mask of its "
            "forward, but no living converted model called it in this state of PyTorch's CPU "
            f"generator, among the last {MEMORY} calls: let the checkpoint restore the state "
            "(preserve_rng_state=True, the default), and keep the model until the backward pass "
            "is over"
        )
    return None
