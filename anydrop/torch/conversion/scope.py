"""Who draws for a dropout function that is called now.

It is the converted module whose forward runs. A checkpoint's second run may be outside of every
forward. Its calls are known by the state of PyTorch's CPU generator, which a checkpoint restores,
and by the place in the code.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch

from anydrop.backends.torch.watchers import (
    backward_pass,
    generator_state,
    in_transform,
    let_compilers_look_into,
    may_be_repeated,
)
from anydrop.core.tracing import constant

if TYPE_CHECKING:
    from anydrop.torch.conversion.functional import FunctionalDropout

# How many calls are remembered, of all models.
MEMORY = 2**14

#: All children that live. Without one nothing need be remembered.
DRAWING: WeakSet[FunctionalDropout] = WeakSet()

# Who drew for the last calls that may be repeated. None is PyTorch.
_drew: dict[tuple[object, ...], set[weakref.ref[FunctionalDropout] | None]] = {}
# Where in the code a child drew.
_places = set[tuple[object, ...]]()
_lock = threading.Lock()


#: The functions that stand in the place of PyTorch's, by name.
OURS: dict[str, Callable[..., Any]] = {}


class _Here(threading.local):
    def __init__(self) -> None:
        #: Who draws for the forwards that run in this thread, the innermost last, and the backward
        #: pass in which each began. None: PyTorch.
        self.drawing: list[tuple[FunctionalDropout | None, int]] = []


_here = _Here()


@constant  # when a compiler traces a call of it
def _let_compilers_look() -> None:
    let_compilers_look_into(OURS.values())


@contextmanager
def drawn_by(child: FunctionalDropout | None) -> Iterator[None]:
    """Let a child draw for the functions that are called in this block; None: leave them be."""
    _let_compilers_look()
    _here.drawing.append((child, -1 if torch.compiler.is_compiling() else backward_pass()))
    try:
        yield
    finally:
        _here.drawing.pop()


def drawing() -> FunctionalDropout | None:
    """Return who draws for the call of the function that calls this one.

    Raises
    ------
    RuntimeError
        If a checkpoint's second run calls it, and who drew in the first is not known.
    """
    child, began = _here.drawing[-1] if _here.drawing else (None, -1)
    # Transforms of torch.func take no checkpoints.
    if torch.compiler.is_compiling() or not DRAWING or in_transform():
        return child
    now = backward_pass()
    if now == began if now != -1 else not may_be_repeated():
        return child  # In a backward pass: its own forward runs again, and it knows the step.
    place = _place(sys._getframe(2))  # noqa: SLF001 - as documented
    call = generator_state(), *place
    with _lock:
        if now == -1:
            _remember(call, place, child)
            return child
        return _of_first_run(call, place)


def forget() -> None:
    """Forget all calls, when no child lives."""
    with _lock:
        _drew.clear()
        _places.clear()


def _place(frame: FrameType) -> tuple[object, ...]:
    code = frame.f_code
    return code.co_filename, code.co_firstlineno, frame.f_lasti


def _remember(
    call: tuple[object, ...], place: tuple[object, ...], child: FunctionalDropout | None
) -> None:
    while len(_drew) >= MEMORY:
        del _drew[next(iter(_drew))]
    _drew.setdefault(call, set()).add(None if child is None else weakref.ref(child))
    if child is not None:
        _places.add(place)


def _of_first_run(call: tuple[object, ...], place: tuple[object, ...]) -> FunctionalDropout | None:
    """Return who drew for a call that began in the same state of the generator."""
    refs = _drew.get(call, set())
    children = [child for ref in refs if ref is not None and (child := ref()) is not None]
    # Without a seed all children draw the same mask in one state of the generator.
    by_seed = [child for child in children if child.counts]
    if len(children) + (None in refs) > 1 and (by_seed or None in refs):
        raise RuntimeError(
            "this dropout function is called in a checkpoint's second run, and in this state of "
            "PyTorch's CPU generator several models called it: call torch.manual_seed once and not "
            "before each forward, or let the checkpoint call a module of the converted model"
        )
    if children:
        return children[0]
    if place in _places and None not in refs:
        raise RuntimeError(
            "this dropout function is called within a backward pass, so it looks like a "
            "checkpoint's second run, which needs the mask of the first. But among the last "
            f"{MEMORY} calls no converted model that lives made one in this state of PyTorch's CPU "
            "generator: let the checkpoint restore the state (preserve_rng_state=True, the "
            "default), and keep the model until the backward pass is over"
        )
    return None
