"""Reads bytecode to find which of PyTorch's random functions a module class calls.

It starts at ``forward`` and follows ``self.method``, ``super().method`` and global functions of the
same package. It looks for names such as the ``dropout`` of ``F.dropout``.

It misses a function that is imported within a function, kept in an attribute, table or argument,
found by ``getattr``, or called as ``module.function`` of the model's own files. It does not read
functions of other packages, or scripted functions. Code that never runs counts, too. To find out
what really runs, use `anydrop.torch.remaining`.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from anydrop.torch.conversion.functional import ATTENTION, DROPOUTS

# Functions that ours replace, where they are called as ``F.name``.
REPLACED = frozenset((*DROPOUTS, ATTENTION))
# Other random functions. Anything with such a name after a dot counts as one.
OTHERS = frozenset(
    (
        *("bernoulli", "bernoulli_", "feature_dropout", "multinomial", "normal", "rand"),
        *("rand_like", "randint", "randn", "randn_like", "randperm", "rrelu", "uniform_"),
        *("gumbel_softmax", "fractional_max_pool2d", "fractional_max_pool3d"),
    )
)
# Functions that code may import from ``torch.nn.functional`` and call without a dot.
IMPORTABLE = REPLACED | {"rrelu", "gumbel_softmax"}
# What stands before the dot where a call of a function in `REPLACED` bypasses ours.
BELOW = ("torch", "_VF", "_nn", "aten")

# Stands before a global name.
GLOBAL = ""


class Calls(NamedTuple):
    """The random functions that the code of a class calls.

    Attributes
    ----------
    dropouts : frozenset of str
        Functions that ours replace: ``"dropout"`` for ``F.dropout``.
    others : frozenset of str
        Functions that ours don't replace, such as ``torch.dropout``, or ``dropout`` if it was
        imported by name.
    """

    dropouts: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()


# Results by class. Unused classes are freed.
_found: WeakKeyDictionary[Any, Calls] = WeakKeyDictionary()


def calls_of(kind: Any) -> Calls:
    """Return what the forward of a class calls, also through its methods and its package."""
    known = _found.get(kind)
    if known is None:
        known = _found[kind] = Calls() if is_torchs(kind) else _read(kind)
    return known


def is_torchs(kind: type) -> bool:
    """Tell whether a class and its bases are PyTorch's, and its code was not generated."""
    return not issubclass(kind, torch.fx.GraphModule) and all(map(_is_torchs, kind.__mro__))


def _read(kind: Any) -> Calls:
    dropouts, others = set[str](), set[str]()
    todo, seen = [getattr(kind, "forward", None)], set[CodeType]()
    while todo:
        function = _plain(todo.pop())
        if function is None or function.__code__ in seen:
            continue
        seen.add(function.__code__)
        for code in _codes(function.__code__):
            bases = kind.__mro__ if "super" in code.co_names else ()
            for before, name in _names(code):
                if before == GLOBAL:
                    value = function.__globals__.get(name)
                    if _is_imported(name, value):
                        others.add(name)
                    elif _package(value) == _package(function):
                        todo.append(value)
                elif before == "self":
                    todo.append(getattr(kind, name, None))
                elif name in REPLACED and _is_f(before, function):
                    dropouts.add(name)
                elif name in OTHERS or (name in REPLACED and before in BELOW):
                    others.add(name)
                else:  # It may be a method of a base class, called as ``super().name``.
                    todo.extend(vars(base).get(name) for base in bases)
    return Calls(frozenset(dropouts), frozenset(others))


def _is_torchs(kind: type) -> bool:
    return _package(kind) in ("abc", "builtins", "torch", "typing")


def _package(thing: Any) -> str:
    return (getattr(thing, "__module__", None) or "").partition(".")[0]


def _is_imported(name: str, value: Any) -> bool:
    """Tell whether a global is a function of ``torch.nn.functional``, PyTorch's or ours."""
    if name not in IMPORTABLE:
        return False
    return inspect.unwrap(value) is inspect.unwrap(getattr(F, name))


def _is_f(name: str | None, function: FunctionType) -> bool:
    """Tell whether a name before a dot means ``torch.nn.functional``."""
    return name == "functional" or function.__globals__.get(name or "") is F


def _plain(function: Any) -> FunctionType | None:
    """Return a function without its decorators, or None if it is no function."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    function = getattr(function, "__func__", function)
    return function if isinstance(function, FunctionType) else None


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of a function and of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _names(code: CodeType) -> Iterator[tuple[str | None, str]]:
    """Yield each name that code loads, with what stands before its dot.

    That is `GLOBAL` for a global, and None if it isn't a name: ``F.dropout`` gives ``GLOBAL, "F"``
    and ``"F", "dropout"``. It knows the instructions of Python 3.11 to 3.14.
    """
    before: str | None = None
    for step in dis.get_instructions(code):
        operation, argument = step.opname, step.argval
        if operation in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield GLOBAL, argument
            before = argument
        elif operation in ("LOAD_ATTR", "LOAD_METHOD"):
            yield before, argument
            before = argument
        elif operation == "LOAD_SUPER_ATTR":  # ``super().name`` since 3.12, after ``self``
            yield None, argument
            before = argument
        elif "LOAD_FAST" in operation:  # Since 3.13 it may load or store a second local, too.
            before = argument[-1] if isinstance(argument, tuple) else argument
        elif operation == "LOAD_DEREF":
            before = argument
        elif operation not in ("PUSH_NULL", "EXTENDED_ARG"):
            before = None
