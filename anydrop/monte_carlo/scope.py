"""Finds what a function uses: dropout layers, and other libraries' modules."""

from __future__ import annotations

import inspect
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, Protocol, TypeGuard

from anydrop.core.seedable import Seedable
from anydrop.layers.base import Layer


class HasMode(Protocol):
    """Anything in training or inference mode: a layer of anydrop, or a module like PyTorch's."""

    @property
    def training(self) -> bool:
        """Whether it is in training mode."""

    def train(self, mode: bool = True, /) -> Any:
        """Set it to training mode, or to inference mode with False."""

    def eval(self) -> Any:
        """Set it to inference mode."""


# Types that contain nothing, and the attributes of arrays, which are not searched.
ATOMS = {bool, bytearray, bytes, complex, float, int, range, slice, str, type(None), type(...)}
ARRAYS = ("__array__", "__dlpack__", "__array_namespace__")
CONTAINERS = (deque, frozenset, list, set, tuple)
# The attributes of Python's own objects that may contain a user's objects.
HELD: dict[type, tuple[str, ...]] = {
    MethodType: ("__self__", "__func__"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    property: ("fget",),
    partial: ("func", "args", "keywords"),
}
# Python's own modules whose objects may have a user's attributes.
HOLDERS = ("collections", "types")
# Other libraries' dropout is recognized by its name.
FRAMEWORKS = {"equinox", "flax", "keras", "tf_keras", "timm", "torch", "torchvision"}
THEIR_DROPOUT = re.compile("Dropout|DropPath|DropBlock|StochasticDepth")
# PyTorch's modules that drop within a function, with the probability in their attribute `dropout`.
# A converted one has a child named ``anydrop``.
THEY_DROP_INSIDE = re.compile("MultiheadAttention|RNNBase")


def reached(function: Callable[..., Any]) -> list[Any]:
    """Return the objects that a function leads to, each once and in a fixed order.

    It searches the object of a bound method, attributes, containers, closures, defaults, wrapped
    functions, and the globals that the code names. It calls nothing, and does not look into arrays,
    modules, layers, and the code of libraries.
    """
    home = function.__module__ if isinstance(function, FunctionType) else ""
    seen: dict[int, Any] = {}  # keeps the objects alive, so that no id is reused
    todo: list[Any] = [function]
    while todo:
        thing = todo.pop()
        kind = type(thing)
        if kind in ATOMS or id(thing) in seen or any(hasattr(kind, name) for name in ARRAYS):
            continue
        seen[id(thing)] = thing
        if not isinstance(thing, (Layer, ModuleType)):
            todo.extend(reversed(list(_parts(thing, kind, home))))
    return list(seen.values())


def has_mode(thing: Any) -> TypeGuard[HasMode]:
    """Return whether an object has ``training``, ``eval()`` and ``train(mode)``.

    A ``train()`` without a mode probably trains a model.
    """
    kind = type(thing)
    trains = (vars(base).get("train") for base in kind.__mro__)
    return (
        any(isinstance(t, FunctionType) and "mode" in t.__code__.co_varnames for t in trains)
        and callable(getattr(kind, "eval", None))
        and isinstance(getattr(thing, "training", None), bool)
    )


def is_their_dropout(thing: Any) -> bool:
    """Return whether an object is another library's layer that drops, with p > 0."""
    if isinstance(thing, Seedable):
        return False
    names = [
        base.__name__
        for base in type(thing).__mro__
        if base.__module__.partition(".")[0] in FRAMEWORKS
    ]
    if any(map(THEIR_DROPOUT.search, names)):
        return 0 not in (getattr(thing, "p", None), getattr(thing, "rate", None))
    if not any(map(THEY_DROP_INSIDE.search, names)) or hasattr(thing, "anydrop"):
        return False
    p = getattr(thing, "dropout", 0)
    # An LSTM of one layer drops nothing: its dropout is between layers.
    return isinstance(p, (int, float)) and p > 0 and getattr(thing, "num_layers", 2) > 1


def _parts(thing: Any, kind: type, home: str) -> Iterator[Any]:
    """Yield the parts of an object, in a fixed order."""
    if isinstance(thing, FunctionType):
        yield from _of_function(thing, home)
    elif isinstance(thing, type):
        if _is_own(thing, home):
            yield from vars(thing).values()
    else:
        for base, names in HELD.items():
            if isinstance(thing, base):
                yield from (getattr(thing, name) for name in names)
        yield from _of_container(thing)
        yield from _of_object(thing, kind, home)


def _of_function(function: FunctionType, home: str) -> Iterator[Any]:
    own = _is_own(function, home)
    yield from vars(function).values()
    if "__wrapped__" in vars(function) and not own:
        return  # the rest belongs to the library that wrapped it
    try:
        names = inspect.getclosurevars(function)
    except ValueError:  # A variable of its closure has no value yet.
        names = inspect.ClosureVars({}, {}, {}, set())
    yield from names.nonlocals.values()
    yield from (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    # Sorted, since the order differs between versions of Python.
    for _, value in sorted(names.globals.items()) if own else ():
        if not isinstance(value, (type, FunctionType)) or _is_own(value, home):
            yield value


def _of_container(thing: Any) -> Iterable[Any]:
    if isinstance(thing, (dict, MappingProxyType)):
        return [*thing.keys(), *thing.values()]
    if isinstance(thing, (set, frozenset)):  # whose order changes from run to run
        return sorted(thing, key=_order)
    return list(thing) if isinstance(thing, CONTAINERS) else []


def _order(thing: Any) -> tuple[str, str]:
    return type(thing).__qualname__, repr(thing) if isinstance(thing, Layer) else ""


def _of_object(thing: Any, kind: type, home: str) -> Iterator[Any]:
    state: Any = object.__getstate__(thing)  # unlike getattr, calls no code of the object
    state, slots = state if isinstance(state, tuple) else (state, None)
    state = state or {}
    if "__wrapped__" in state and not _is_own(kind, home):
        yield state["__wrapped__"]
    elif kind.__module__ in HOLDERS or not _is_standard(kind.__module__):
        yield from (*state.values(), *(slots or {}).values())
        yield from (base for base in kind.__mro__ if _is_own(base, home))


# Whose code is read ---------------------------------------------------------------------------


def _is_own(code: type | FunctionType, home: str) -> bool:
    """Return whether code is the user's: in the function's module, or in no installed package."""
    module = code.__module__
    if not module:  # for example made by exec()
        return False
    return module == home or not _is_installed(module.partition(".")[0])


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


@lru_cache
def _is_installed(root: str) -> bool:
    if _is_standard(root) or root == "anydrop":
        return True
    module = sys.modules.get(root)
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    parts = {part for place in places if place for part in Path(place).parts}
    return bool(parts & {"site-packages", "dist-packages"})
