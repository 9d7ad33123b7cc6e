"""Finds what a function runs: dropout layers, and other libraries' modules."""

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
CONTAINERS = (deque, frozenset, list, set, tuple)
# Of Python's own objects, what they hold for somebody.
HELD: dict[type, tuple[str, ...]] = {
    MethodType: ("__self__", "__func__"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    property: ("fget",),
    partial: ("func", "args", "keywords"),
}
# Of Python's own modules, those whose objects have attributes that somebody put there.
HOLDERS = ("collections", "types")
# The dropout of other libraries is known by its name.
FRAMEWORKS = {"equinox", "flax", "keras", "tf_keras", "timm", "torch", "torchvision"}
THEIR_DROPOUT = re.compile("Dropout|DropPath|DropBlock|StochasticDepth")


def reached(function: Callable[..., Any]) -> list[Any]:
    """Return the objects that a function leads to, each once and in a fixed order.

    It looks where a function gets its things from: the object of a bound method, attributes,
    containers, closures, defaults, wrapped functions, and the globals that its code names. It
    calls nothing, and looks into no array, module or layer, and into no library's code.
    """
    home = function.__module__ if isinstance(function, FunctionType) else ""
    seen: dict[int, Any] = {}  # it keeps the objects alive, so that no id is used again
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
    """Tell whether a thing has ``training``, ``eval()`` and ``train(mode)``.

    A ``train()`` without a mode may well train a model.
    """
    kind = type(thing)
    trains = (vars(base).get("train") for base in kind.__mro__)
    return (
        any(isinstance(t, FunctionType) and "mode" in t.__code__.co_varnames for t in trains)
        and callable(getattr(kind, "eval", None))
        and isinstance(getattr(thing, "training", None), bool)
    )


def is_their_dropout(thing: Any) -> bool:
    """Tell whether a thing is a dropout layer of another library, and drops something."""
    return (
        not isinstance(thing, Seedable)
        and any(
            base.__module__.partition(".")[0] in FRAMEWORKS and THEIR_DROPOUT.search(base.__name__)
            for base in type(thing).__mro__
        )
        and 0 not in (getattr(thing, "p", None), getattr(thing, "rate", None))
    )


def _parts(thing: Any, kind: type, home: str) -> Iterator[Any]:
    """Yield what a thing holds, in a fixed order."""
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
        return  # the rest is the business of the library that wrapped it
    try:
        names = inspect.getclosurevars(function)
    except ValueError:  # A variable around it has no value yet, and this function can't use it.
        names = inspect.ClosureVars({}, {}, {}, set())
    yield from names.nonlocals.values()
    yield from (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    # By their alphabet: other versions of Python have other orders.
    for _, value in sorted(names.globals.items()) if own else ():
        if not isinstance(value, (type, FunctionType)) or _is_own(value, home):
            yield value


def _of_container(thing: Any) -> Iterable[Any]:
    if isinstance(thing, (dict, MappingProxyType)):
        return [*thing.keys(), *thing.values()]
    if isinstance(thing, (set, frozenset)):  # whose own order changes from run to run
        return sorted(thing, key=_order)
    return list(thing) if isinstance(thing, CONTAINERS) else []


def _order(thing: Any) -> tuple[str, str]:
    return type(thing).__qualname__, repr(thing) if isinstance(thing, Layer) else ""


def _of_object(thing: Any, kind: type, home: str) -> Iterator[Any]:
    state: Any = object.__getstate__(thing)  # read, and not computed as getattr might
    state, slots = state if isinstance(state, tuple) else (state, None)
    state = state or {}
    if "__wrapped__" in state and not _is_own(kind, home):
        yield state["__wrapped__"]
    elif kind.__module__ in HOLDERS or not _is_standard(kind.__module__):
        yield from (*state.values(), *(slots or {}).values())
        yield from (base for base in kind.__mro__ if _is_own(base, home))


# Whose code is read ---------------------------------------------------------------------------


def _is_own(code: type | FunctionType, home: str) -> bool:
    """Tell whether code is the user's own: of the function's module, or of no installed package."""
    module = code.__module__
    if not module:  # as what exec() made
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
