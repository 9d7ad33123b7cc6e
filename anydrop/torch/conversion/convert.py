"""`convert`: a model's dropout draws anydrop's masks, where it stands; and `revert`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from anydrop.backends.torch.watchers import is_distributed
from anydrop.core import check, seeds
from anydrop.core.stream import Seed
from anydrop.seeding import named_layers
from anydrop.torch.conversion.calling import CHILD, is_calling, is_hidden, let_be, let_draw
from anydrop.torch.conversion.calls import Calls, calls_of, is_torchs
from anydrop.torch.conversion.functional import ATTENTION, FunctionalDropout
from anydrop.torch.conversion.known import STANDARD, known
from anydrop.torch.conversion.table import Conversion, Place
from anydrop.torch.module import Module

# The attribute that holds what a module was.
STOCK = "_stock"
# Modules that hold others in order. Their code calls all of them, and a child would be called, too.
CONTAINERS = (nn.ModuleDict, nn.ModuleList, nn.Sequential)
# Attributes in which attention modules hold their drop probability, as a number or a module.
RATES = ("dropout", "attention_dropout", "attn_dropout", "dropout_prob", "attn_drop", "dropout_p")


class _Change(NamedTuple):
    """A place, the module to change, and how: it returns the module that draws, if one does."""

    place: Place
    module: nn.Module
    apply: Callable[[], Module | None] | None
    #: Whether the module gets a child.
    child: bool = False
    #: Whether the module stays entirely as it is.
    fixed: bool = False


def convert(
    model: nn.Module,
    *,
    seed: Seed | Sequence[int] | None = None,
    where: Callable[[str, nn.Module], bool] | None = None,
    functional: bool = False,
    per_rank: bool | int | None = None,
) -> Conversion:
    """Let a model's dropout draw anydrop's masks. The model is changed in place.

    Each dropout module changes its class and stays the same object, with its probability, its mode
    and its hooks. Attention, and with ``functional=True`` whatever else calls a dropout function,
    gets a child named ``anydrop`` that draws its masks.

    Parameters
    ----------
    model : torch.nn.Module
        Neither compiled, nor scripted, nor sharded yet.
    seed : int, sequence of int or numpy.random.SeedSequence, optional
        With a seed, each module counts its forwards and has a seed of its own, made of this one and
        of its name, as by `anydrop.seed_layers`. By default all follow ``torch.manual_seed``.
    where : callable, optional
        Takes a module's name and the module, and returns whether to convert it. By default all are.
    functional : bool, default False
        Whether to reach functions, such as ``F.dropout``, that modules other than attention call.
    per_rank : bool or int, optional
        As for `Module`.

    Returns
    -------
    Conversion
        It prints as a table: each place, what it was, what it is, and why one was left.

    Raises
    ------
    TypeError
        If the model is no module, or compiled, scripted or sharded.
    ValueError
        If the model is a dropout itself, or an argument is out of its range. The model is not
        changed then.

    See Also
    --------
    revert : undoes it.
    remaining : names what a model still draws by other ways, when it runs.

    Notes
    -----
    While a model with an ``anydrop`` child lives, functions of ours stand in the place of
    ``F.dropout``, its variants and ``F.scaled_dot_product_attention``. Outside of the forwards and
    recomputes of converted modules they call PyTorch's. Attention with dropout is computed step by
    step then, so its weights take memory, as in eager implementations.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1)
    >>> anydrop.torch.convert(layer, seed=0)
    place      was                 is                 p    left, since
    self_attn  MultiheadAttention  FunctionalDropout  0.1
    dropout    Dropout             Dropout            0.1
    dropout1   Dropout             Dropout            0.1
    dropout2   Dropout             Dropout            0.1
    """
    _forbid_fixed(model)
    checked = None if seed is None else seeds.checked(seed)
    check.flag(functional, "functional")
    options = {"seed": checked, "per_rank": per_rank}
    first = set(_first_called(model)) if functional else set()
    changes = [
        change
        for name, module in model.named_modules()
        for change in _changes(name, module, where, functional, module in first, options)
    ]
    if any(change.child for change in changes):
        changes = [_left_to_pytorch(change) for change in changes]
    drawing = list[Module | None]()
    try:
        for change in changes:
            drawing.append(change.apply() if change.apply else None)
        if checked is not None:
            names = {id(layer): name for name, layer in named_layers(model)}
            for module in drawing:
                if module is not None:
                    module.reseed(checked, names[id(module)])
    except BaseException:
        for change in changes[: len(drawing) + 1]:
            if change.apply:
                _revert(change.module)
        raise
    return Conversion(change.place for change in changes)


def revert(model: nn.Module) -> None:
    """Undo `convert`: each module has its class of before, and draws PyTorch's masks.

    Parameters
    ----------
    model : torch.nn.Module
        One that was converted, or a copy of it. It is changed in place.

    Raises
    ------
    TypeError
        If the model is no module, compiled, scripted or sharded, or a module of it was parametrized
        after its conversion.

    Notes
    -----
    Convert and revert between steps of training. A checkpoint that runs again in a backward pass
    after `revert` would draw PyTorch's masks.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> model = torch.nn.Sequential(torch.nn.Dropout(0.5))
    >>> _ = anydrop.torch.convert(model, seed=0)
    >>> anydrop.torch.revert(model)
    >>> model
    Sequential(
      (0): Dropout(p=0.5, inplace=False)
    )
    """
    _forbid_fixed(model, dropout=True)
    modules = list(model.modules())
    for module in modules:
        if is_hidden(module):
            raise TypeError(
                f"a {type(module).__name__} was parametrized after its conversion: remove that "
                "first, by torch.nn.utils.parametrize.remove_parametrizations"
            )
    for module in modules:
        _revert(module)


def _changes(
    name: str,
    module: nn.Module,
    where: Callable[[str, nn.Module], bool] | None,
    functional: bool,
    is_first: bool,
    options: dict[str, Any],
) -> list[_Change]:
    """Return what is to be done with a module, and what is left of it and why."""
    if is_calling(module) or isinstance(module, FunctionalDropout):
        return []  # converted before
    was, found, calls = type(module).__name__, known(module), _calls(module)

    def left(was: str, why: str, fixed: bool = False) -> _Change:
        return _Change(Place(name, was, was, _rate_of(module), why), module, None, fixed=fixed)

    def draws(called: str) -> _Change:
        if CHILD in {*dict(module.named_children()), *vars(module), *vars(type(module))}:
            raise ValueError(
                f"{name or 'the model'} has an attribute {CHILD!r}, and its masks need a child of "
                "this name: rename it, or leave this module out by where="
            )
        place = Place(name, called, FunctionalDropout.__name__, _rate_of(module))
        apply = functools.partial(_let_draw, module, options)
        return _Change(place, module, apply, child=True)

    is_ours = isinstance(module, Module)
    if found and not found.ours and (is_ours or not (functional and calls.dropouts)):
        return [left(was, found.left, fixed=is_ours)]
    is_known = found and found.ours
    reached = functional or is_attention(module)
    called = _functions(calls.dropouts) if functional and not is_attention(module) else was
    changes = list[_Change]()
    if is_known or calls.dropouts or is_first:
        why = _why_fixed(module)
        called = was if is_known else called if calls.dropouts else "other functions"
        if why:
            changes.append(left(called, why, fixed=True))
        elif not is_known and not reached:
            why = "a function: functional=True reaches it"
            changes.append(left(_functions(calls.dropouts), why))
        elif where is not None and not where(name, module):
            changes.append(left(called, "where= leaves it out"))
        elif not is_known and isinstance(module, CONTAINERS):
            changes.append(left(called, "a container, whose forward calls all children in turn"))
        elif found is not None and found.ours is not None:
            place = Place(name, was, found.ours.__name__, _rate_of(module))
            apply = functools.partial(_become, module, found.ours, found.attributes, options)
            changes.append(_Change(place, module, apply))
        else:
            changes.append(draws(called))
    if calls.others and not is_known:
        names = ", ".join(sorted(calls.others))
        changes.append(left(names, "not a function that anydrop stands for", fixed=True))
    return changes


def _let_draw(module: nn.Module, options: dict[str, Any]) -> Module | None:
    return let_draw(module, FunctionalDropout(**options))


def _left_to_pytorch(change: _Change) -> _Change:
    """Keep the child of a module around it from drawing for a module that is left."""
    if not change.place.left or change.fixed:
        return change
    return change._replace(apply=lambda: let_draw(change.module, None))


def _first_called(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules with code that runs first: the model, or those within PyTorch's own."""
    if is_torchs(type(model)) or isinstance(model, CONTAINERS):
        for child in model.children():
            yield from _first_called(child)
    elif known(model) is None:
        yield model


def _why_fixed(module: nn.Module) -> str:
    """Return why a module can't change its class; an empty string if it can."""
    if "forward" in vars(module):
        return "its forward was replaced: convert the model before that"
    if getattr(module, "cls_to_become", None) is not None:
        return "it is lazy: call the model once before it is converted"
    if inspect.isgeneratorfunction(type(module).forward):
        return "its forward is a generator, whose code runs later"
    if is_parametrized(module):
        return "it is parametrized: convert the model before that"
    return ""


def is_attention(module: nn.Module) -> bool:
    """Tell whether a module is attention, by its class's name or by what it calls."""
    name = type(module).__name__
    return "Attention" in name or "Attn" in name or ATTENTION in _calls(module).dropouts


def _calls(module: nn.Module) -> Calls:
    """Return what a module's class calls. Of PyTorch's own classes this is known."""
    if isinstance(module, nn.MultiheadAttention):
        return Calls(frozenset((ATTENTION,)))
    if isinstance(module, tuple(STANDARD)):  # a subclass, whose forward may call that of its base
        return Calls(frozenset(("dropout",)))
    kind: Any = type(module)
    return calls_of(kind)


def _functions(names: frozenset[str]) -> str:
    return ", ".join(f"F.{name}" for name in sorted(names))


def _rate_of(module: nn.Module) -> float | None:
    """Return a module's drop probability, if it can be told."""
    for name in ("p", "drop_prob", *RATES):
        value = getattr(module, name, None)
        value = getattr(value, "p", value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    return None


def _become(
    module: nn.Module, ours: type[Module], attributes: dict[str, Any], options: dict[str, Any]
) -> Module:
    """Give a module a class of ours, and note its own."""
    before = dict(vars(module))
    added = set[str]()
    changed = {name: (before[name], to) for name, to in attributes.items() if name in before}
    module.__dict__[STOCK] = type(module), added, changed
    module.__class__ = ours
    assert isinstance(module, Module)
    try:
        module.__dict__.update(attributes)
        module.adopt(**options)
    finally:
        added.update(vars(module).keys() - before.keys())
    return module


def _revert(module: nn.Module) -> None:
    if is_calling(module):
        let_be(module)
        return
    note = vars(module).get(STOCK)
    if note is not None:
        stock, added, changed = note
        for name in added:
            module.__dict__.pop(name, None)
        for name, (before, ours) in changed.items():
            if vars(module).get(name) == ours:  # else it was set after the conversion
                module.__dict__[name] = before
        module.__class__ = stock


def _forbid_fixed(model: object, dropout: bool = False) -> None:
    """Refuse a model whose code or tensors are fixed already."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {check.described(model)}")
    modules = list(model.modules())
    kinds = {base.__name__ for module in modules for base in type(module).__mro__}
    if any(isinstance(module, torch.jit.ScriptModule) for module in modules):
        raise TypeError("the model is scripted, and its code is fixed: convert it before scripting")
    if "OptimizedModule" in kinds or any(
        getattr(module, "_compiled_call_impl", None) is not None for module in modules
    ):
        raise TypeError(
            "the model is compiled: convert it first, and compile it afterwards; of a result of "
            "torch.compile, convert its _orig_mod and compile that anew"
        )
    if kinds & {"FSDPModule", "FullyShardedDataParallel"} or any(
        map(is_distributed, model.parameters())
    ):
        raise TypeError("the model is sharded: convert it first, and shard it afterwards")
    if not dropout and known(model) is not None:
        raise ValueError(
            f"the model is a dropout itself, a {type(model).__name__}, and can't be replaced in "
            "place: use a module of anydrop.torch instead, such as anydrop.torch.Dropout(p)"
        )
