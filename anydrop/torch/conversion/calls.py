"""Which random functions of PyTorch's a class of modules calls in its own code, read from there.

This finds what no list of classes could: the dropout of attention, and what else a forward draws.
It is a reading of code. What really runs is said by `anydrop.torch.remaining`.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from anydrop.torch.conversion.functional import ATTENTION, DROPOUTS

# Functions of ours stand in the place of these, where they are called by ``F.name``.
REPLACED = frozenset((*DROPOUTS, ATTENTION))
# Other random functions, which have only these names.
OTHERS = frozenset(
    (
        *("bernoulli", "bernoulli_", "feature_dropout", "multinomial", "normal", "rand"),
        *("rand_like", "randint", "randn", "randn_like", "randperm", "rrelu", "uniform_"),
        *("gumbel_softmax", "fractional_max_pool2d", "fractional_max_pool3d"),
    )
)

# Names before a dot, by which a function is PyTorch's own even where ours stands in its place.
BELOW = ("torch", "_VF", "_nn", "aten")


class Calls(NamedTuple):
    """What the code of a class calls.

    Attributes
    ----------
    dropouts : frozenset of str
        Functions in whose place ours stand: ``"dropout"`` for ``F.dropout``.
    others : frozenset of str
        Other random functions, and those of `dropouts` that are called by another way.
    """

    dropouts: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()


# A class that nothing uses any more goes.
_found: WeakKeyDictionary[Any, Calls] = WeakKeyDictionary()


def calls_of(kind: Any) -> Calls:
    """Return what the forward of a class calls, by its own methods and its package's functions."""
    known = _found.get(kind)
    if known is None:
        known = _found[kind] = Calls() if is_torchs(kind) else _read(kind)
    return known


def is_torchs(kind: type) -> bool:
    """Tell whether a class and its bases are PyTorch's own, and no code was made for it."""
    return not issubclass(kind, torch.fx.GraphModule) and all(map(_is_torchs, kind.__mro__))


def _read(kind: Any) -> Calls:
    dropouts, others = set[str](), set[str]()
    todo, seen = [getattr(kind, "forward", None)], set[CodeType]()
    while todo:
        function = _plain(todo.pop())
        if function is None or function.__code__ in seen:
            continue
        seen.add(function.__code__)
        package = _package(function)
        for code in _codes(function.__code__):
            bases = kind.__mro__ if "super" in code.co_names else ()
            for before, name, is_global in _names(code):
                value = function.__globals__.get(name) if is_global else None
                if value is not None and name in _ATTRIBUTES_OF_F and value is _of_f(name):
                    others.add(name)  # imported by name, past the place where ours stand
                elif is_global:
                    todo.append(value if _package(value) == package else None)
                elif before == "self":
                    todo.append(getattr(kind, name, None))
                elif name in REPLACED and _is_f(before, function):
                    dropouts.add(name)
                elif name in OTHERS or (name in REPLACED and before in BELOW):
                    others.add(name)
                else:
                    todo.extend(vars(base).get(name) for base in bases)
    return Calls(frozenset(dropouts), frozenset(others))


_ATTRIBUTES_OF_F = REPLACED | {"rrelu", "gumbel_softmax"}


def _of_f(name: str) -> Any:
    return getattr(F, name)


def _is_torchs(kind: type) -> bool:
    return _package(kind) in ("abc", "builtins", "torch", "typing")


def _package(thing: Any) -> str:
    return (getattr(thing, "__module__", None) or "").partition(".")[0]


def _is_f(name: str | None, function: FunctionType) -> bool:
    """Tell whether a name before a dot is that of ``torch.nn.functional``."""
    return name == "functional" or function.__globals__.get(name or "") is F


def _plain(function: Any) -> FunctionType | None:
    """Return a function without its decorators, or None for what is no function."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    function = getattr(function, "__func__", function)
    return function if isinstance(function, FunctionType) else None


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a function's code and that of the functions within."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _names(code: CodeType) -> Iterator[tuple[str | None, str, bool]]:
    """Yield the names that code loads, with the name before the dot, and whether it is global."""
    before: str | None = None
    for step in dis.get_instructions(code):
        if step.opname == "LOAD_GLOBAL" or step.opname == "LOAD_NAME":
            yield None, step.argval, True
            before = step.argval
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"):
            yield before, step.argval, False
            before = step.argval
        elif step.opname.startswith(("LOAD_FAST", "LOAD_DEREF")):
            before = step.argval if isinstance(step.argval, str) else None
        elif step.opname not in ("CACHE", "PUSH_NULL", "EXTENDED_ARG"):
            before = None
