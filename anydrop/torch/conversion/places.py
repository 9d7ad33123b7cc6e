"""Finds the places in a model that drop, and decides what to do with each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from anydrop.torch.conversion.bytecode import Calls, calls_of, is_torchs
from anydrop.torch.conversion.callers import is_calling, let_draw
from anydrop.torch.conversion.child import CHILD, FunctionalDropout
from anydrop.torch.conversion.dropouts import become
from anydrop.torch.conversion.functional import ATTENTION
from anydrop.torch.conversion.known import STANDARD, Known, known
from anydrop.torch.conversion.recurrent import RECURRENT, let_drop
from anydrop.torch.conversion.table import Place
from anydrop.torch.module import Module
from anydrop.torch.standard import Dropout

# Containers. Their code calls all children in turn, so it would call an added child, too.
CONTAINERS = (nn.ModuleDict, nn.ModuleList, nn.Sequential)
# Attributes with the drop probability of attention modules, as a number or as a module.
RATES = ("dropout", "attention_dropout", "attn_dropout", "dropout_prob", "attn_drop", "dropout_p")
# Other classes of PyTorch's that draw random numbers, and the functions that they call.
RANDOM = {
    nn.RReLU: "rrelu",
    nn.FractionalMaxPool2d: "fractional_max_pool2d",
    nn.FractionalMaxPool3d: "fractional_max_pool3d",
}

Where = Callable[[str, nn.Module], bool]


class Change(NamedTuple):
    """A row of the table, its module, and the change to make."""

    place: Place
    module: nn.Module
    #: Changes the module. Returns our module that draws its masks, or None if PyTorch draws. None:
    #: no change.
    apply: Callable[[], Module | None] | None = None
    #: Whether the module gets a child that draws for the functions that it calls.
    calls: bool = False
    #: For a module that is left: whether its class can't change or needn't.
    stays: bool = False


def changes_of(
    model: nn.Module, where: Where | None, functional: bool, options: dict[str, Any]
) -> list[Change]:
    """Return the changes to make to a model, and what is left and why."""
    first = set(_first_called(model)) if functional else set()
    changes = [
        change
        for name, module in model.named_modules()
        for change in _changes(name, module, where, functional, module in first, options)
    ]
    has_child = any(isinstance(module, FunctionalDropout) for module in model.modules())
    if has_child or any(change.calls for change in changes):
        # If a module is left, the child of an enclosing module must not draw for it.
        return [
            change._replace(apply=partial(let_draw, change.module, None))
            if change.place.left and not change.stays
            else change
            for change in changes
        ]
    return changes


def _changes(
    name: str,
    module: nn.Module,
    where: Where | None,
    functional: bool,
    is_first: bool,
    options: dict[str, Any],
) -> Iterator[Change]:
    """Yield the changes to make to one module, and what is left and why."""
    if is_calling(module) or isinstance(module, tuple(RECURRENT.values())):
        return  # It was converted before.
    was = type(module).__name__

    def left(was: str, why: str, stays: bool = False) -> Change:
        return Change(Place(name, was, was, rate_of(module), why), module, stays=stays)

    def converted(was: str, now: type[Module], apply: Callable[..., Any], *given: Any) -> Change:
        place = Place(name, was, now.__name__, rate_of(module))
        return Change(place, module, partial(apply, module, *given), apply is let_draw)

    if isinstance(module, Module):
        yield left(was, "it is anydrop's already", stays=True)
        return

    found, calls = known(module), _calls(module)
    change = None
    if isinstance(found, Known):
        change = converted(was, found.ours, become, found.ours, found.attributes, options)
    elif isinstance(module, nn.RNNBase) and module.num_layers > 1:
        change = converted(was, Dropout, let_drop, options)
    elif calls.dropouts and (functional or found is None):
        called = was if is_attention(module) else _functions(calls.dropouts)
        change = converted(called, FunctionalDropout, let_draw, options)
    elif isinstance(found, str):
        yield left(was, found)
    elif is_first:
        change = converted("other functions", FunctionalDropout, let_draw, options)
        change = change._replace(place=change.place._replace(p=None))  # Each call has its own.

    if change is not None:
        called = change.place.was
        if why := _why_fixed(module):
            yield left(called, why, stays=True)
        elif change.calls and not (functional or is_attention(module)):
            yield left(called, "a function: functional=True reaches it")
        elif where is not None and not where(name, module):
            yield left(called, "where= leaves it out", stays=isinstance(module, nn.RNNBase))
        elif change.calls and isinstance(module, CONTAINERS):
            yield left(called, "a container: its forward would call the child, too")
        else:
            _require_room(name, module, change)
            yield change
    if calls.others and found is None:
        names = ", ".join(sorted(calls.others))
        why = "a random function that convert does not replace"
        yield Change(Place(name, names, names, None, why), module, stays=True)


def _require_room(name: str, module: nn.Module, change: Change) -> None:
    """Raise if a module has another attribute with the name of the child."""
    takes_child = change.calls or isinstance(module, nn.RNNBase)
    if takes_child and CHILD in {
        *dict(module.named_children()),
        *vars(module),
        *vars(type(module)),
    }:
        raise ValueError(
            f"{name or 'the model'} has an attribute {CHILD!r}, the name of the child that convert "
            "adds: rename it, or leave this module out with where="
        )


def _first_called(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the outermost modules with the user's code, usually only the model itself."""
    if is_torchs(type(model)) or isinstance(model, CONTAINERS):
        for child in model.children():
            yield from _first_called(child)
    elif not isinstance(model, Module) and known(model) is None:
        yield model


def _why_fixed(module: nn.Module) -> str:
    """Return why a module can't change its class, or "" if it can."""
    if "forward" in vars(module):
        return "its forward was replaced: convert the model before that"
    if getattr(module, "cls_to_become", None) is not None:
        return "it is lazy: call the model once before it is converted"
    if inspect.isgeneratorfunction(type(module).forward):
        return "its forward is a generator, whose code runs later"
    if is_parametrized(module):
        return "it is parametrized: convert the model before that"
    if isinstance(module, nn.RNNBase) and type(module) not in RECURRENT:
        return "it is a subclass of PyTorch's recurrent modules"
    return ""


def is_attention(module: nn.Module) -> bool:
    """Tell whether a module is attention, by the name of its class or the functions it calls."""
    name = type(module).__name__
    return "Attention" in name or "Attn" in name or ATTENTION in _calls(module).dropouts


def _calls(module: nn.Module) -> Calls:
    """Return the random functions that a module's class calls. PyTorch's classes are not read."""
    if isinstance(module, nn.MultiheadAttention):
        return Calls(frozenset((ATTENTION,)))
    if isinstance(module, tuple(STANDARD)):  # a subclass, whose forward may call its base's
        return Calls(frozenset(("dropout",)))
    for random, name in RANDOM.items():
        if isinstance(module, random):
            return Calls(others=frozenset((name,)))
    kind: Any = type(module)
    return calls_of(kind)


def _functions(names: frozenset[str]) -> str:
    return ", ".join(f"F.{name}" for name in sorted(names))


def rate_of(module: nn.Module) -> float | None:
    """Return a module's drop probability, or None if it is not known."""
    for name in ("p", "drop_prob", *RATES):
        value = getattr(module, name, None)
        value = getattr(value, "p", value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    return None
