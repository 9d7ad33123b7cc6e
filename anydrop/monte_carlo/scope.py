"""Finds what a function runs that has a mode: dropout layers, and other libraries' modules."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from types import (
    CellType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, Protocol

from anydrop.backends import UNSERVED, registered
from anydrop.layers.base import Layer


class HasMode(Protocol):
    """What is in training or at inference: a layer of anydrop, or a module of PyTorch's kind."""

    @property
    def training(self) -> bool:
        """Whether it is in training."""

    def train(self, mode: bool = True, /) -> Any:
        """Set it to training, or to inference with False."""

    def eval(self) -> Any:
        """Set it to inference."""


# Nothing is within these, and arrays have many.
ATOMS = {bool, bytearray, bytes, complex, float, int, range, slice, str, type(None), type(...)}
ARRAYS = ("__array__", "__dlpack__", "__array_namespace__")
# Of Python's own types, those that hold what somebody put there.
HOLDERS = ("collections", "types")
CONTAINERS = (deque, dict, frozenset, list, set, tuple, MappingProxyType)


def with_modes(function: Callable[..., Any]) -> list[HasMode]:
    """Return all that has a mode and that a function leads to, each once and in a fixed order.

    It looks where a function gets its things from: the object of a bound method, attributes,
    containers, closures, defaults, wrapped functions, and the globals that its code names. It
    calls nothing, and looks into no array, no module's other names, and no library's code.

    Parameters
    ----------
    function : callable
        Where to begin.
    """
    home = function.__module__ if isinstance(function, FunctionType) else ""
    seen: dict[int, Any] = {}  # which keeps what it holds alive, so that no id is used again
    found: list[HasMode] = []
    todo: list[Any] = [function]
    while todo:
        thing = todo.pop()
        kind = type(thing)
        if kind in ATOMS or id(thing) in seen or any(hasattr(kind, name) for name in ARRAYS):
            continue
        seen[id(thing)] = thing
        if _has_mode(thing):
            found.append(thing)
        if not issubclass(kind, Layer):
            todo.extend(reversed(list(_parts(thing, home))))
    return found


def _has_mode(thing: Any) -> bool:
    kind = type(thing)
    return _sets_mode(kind) and isinstance(getattr(thing, "training", None), bool)


def _sets_mode(kind: type) -> bool:
    """Tell whether objects have ``eval()`` and ``train(mode)``: a ``train()`` may well train."""
    trains = (vars(base)["train"] for base in kind.__mro__ if "train" in vars(base))
    with_mode = any(
        isinstance(train, FunctionType) and "mode" in train.__code__.co_varnames for train in trains
    )
    return with_mode and callable(getattr(kind, "eval", None))


def _parts(thing: Any, home: str) -> Iterator[Any]:
    """Yield what a thing holds, in a fixed order."""
    kind = type(thing)
    if issubclass(kind, FunctionType):
        yield from _of_function(thing, home)
    elif issubclass(kind, MethodType):
        yield from (thing.__self__, thing.__func__)
    elif issubclass(kind, (staticmethod, classmethod)):
        yield thing.__func__
    elif issubclass(kind, property):
        yield thing.fget
    elif issubclass(kind, type):
        if _is_own(thing.__module__, home):
            yield from vars(thing).values()
    elif not issubclass(kind, ModuleType):
        yield from _of_object(thing, kind, home)


def _of_object(thing: Any, kind: type, home: str) -> Iterator[Any]:
    if issubclass(kind, partial):
        yield from (thing.func, *thing.args, *thing.keywords.values())
    if issubclass(kind, CONTAINERS):
        yield from _of_container(thing)
    state = _state(thing)
    if "__wrapped__" in state and not _is_own(kind.__module__, home):
        yield state["__wrapped__"]  # the rest is the business of the library that wrapped it
    elif kind.__module__ in HOLDERS or not _is_standard(kind.__module__):
        yield from state.values()
        for base in kind.__mro__:
            yield from _of_slots(thing, base)
            if _is_own(base.__module__, home):
                yield base


def _of_slots(thing: Any, base: type) -> Iterator[Any]:
    for slot in vars(base).values():
        if isinstance(slot, MemberDescriptorType):
            try:
                yield slot.__get__(thing)
            except AttributeError:  # It has no value yet.
                continue


def _of_container(thing: Any) -> Iterable[Any]:
    if isinstance(thing, (dict, MappingProxyType)):
        return [*thing.keys(), *thing.values()]
    if isinstance(thing, (set, frozenset)):  # whose own order changes from run to run
        return sorted(thing, key=lambda one: (type(one).__qualname__, _order(one)))
    return list(thing)


def _order(thing: Any) -> str:
    return repr(thing) if isinstance(thing, Layer) else ""


def _of_function(function: FunctionType, home: str) -> Iterator[Any]:
    state, own = vars(function), _is_own(function.__module__, home)
    yield from state.values()
    if "__wrapped__" in state and not own:
        return
    closure = [one for cell in function.__closure__ or () for one in _contents(cell)]
    defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    yield from (*closure, *defaults)
    if own:
        names = set(_names(function.__code__))
        for one in closure:
            if isinstance(one, ModuleType):
                yield from _of_module(one, names, home)
        yield from _named(function.__globals__, names, home)


def _contents(cell: CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # The variable has no value yet.
        return ()


def _named(
    space: Mapping[str, Any], names: set[str], home: str, within: tuple[str, ...] = ()
) -> Iterator[Any]:
    """Yield what a namespace has by some names; of modules, what they have by them."""
    # By their alphabet: bytecode has another order in another version of Python.
    for name in sorted(names & sys.modules.keys() - space.keys()):  # imported in a function
        yield from _of_module(sys.modules[name], names, home, within)
    for name in sorted(names & space.keys()):
        value = space[name]
        kind = type(value)
        if issubclass(kind, ModuleType):
            yield from _of_module(value, names, home, within)
        elif not issubclass(kind, (type, FunctionType)) or _is_own(value.__module__, home):
            yield value


def _of_module(
    module: ModuleType, names: set[str], home: str, within: tuple[str, ...] = ()
) -> Iterator[Any]:
    name = module.__name__
    if _is_own(name, home) and name not in within:
        yield from _named(vars(module), names, home, (*within, name))


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names of globals and attributes in a function's code, and in what it defines."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _state(thing: Any) -> Mapping[str, Any]:
    try:
        state = object.__getattribute__(thing, "__dict__")
    except AttributeError:  # It has slots alone.
        return {}
    return state if isinstance(state, dict) else {}


# Whose code is read ---------------------------------------------------------------------------


def _is_own(module: str | None, home: str) -> bool:
    """Tell whether a module is the user's own: the function's, or of no installed package."""
    if not module:  # as what exec() made
        return False
    return module == home or not _is_installed(module.partition(".")[0])


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


@lru_cache
def _is_installed(root: str) -> bool:
    if _is_standard(root) or root in {"anydrop", *registered(), *UNSERVED}:
        return True
    module = sys.modules.get(root)
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    parts = {part for place in places if place for part in Path(place).parts}
    return bool(parts & {"site-packages", "dist-packages"})
