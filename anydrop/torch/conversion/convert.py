"""`convert`: a model's dropout draws anydrop's masks, where it stands; and `revert`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from anydrop.backends.torch.watchers import is_distributed
from anydrop.core import check, seeds
from anydrop.core.stream import Seed
from anydrop.seeding import named_layers
from anydrop.torch.conversion.calling import is_calling, let_be, let_draw
from anydrop.torch.conversion.calls import Calls, calls_of
from anydrop.torch.conversion.functional import ATTENTION, FunctionalDropout
from anydrop.torch.conversion.known import STANDARD, known
from anydrop.torch.conversion.table import Conversion, Place
from anydrop.torch.module import Module

# The attribute that holds what a module was.
STOCK = "_stock"
# Attributes in which attention modules hold their drop probability, as a number or a module.
RATES = ("dropout", "attention_dropout", "attn_dropout", "dropout_prob", "attn_drop", "dropout_p")


class _Change(NamedTuple):
    """A place, the module to change, and how: it returns the module that draws, if one does."""

    place: Place
    module: nn.Module
    apply: Callable[[], Module | None] | None


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
    changes = [
        change
        for name, module in model.named_modules()
        for change in _changes(name, module, where, functional, name == "", options)
    ]
    drawing = []
    try:
        for change in changes:
            drawing.append(change.apply() if change.apply else None)  # noqa: PERF401 - see below
        if checked is not None:
            names = {id(layer): name for name, layer in named_layers(model)}
            for module in drawing:
                if module is not None:
                    module.reseed(checked, names[id(module)])
    except BaseException:
        for change in changes[: len(drawing) + 1]:
            _revert(change.module)
        raise
    return Conversion(change.place for change in changes)


def revert(model: nn.Module) -> None:
    """Undo `convert`: each module has its class of before, and draws PyTorch's masks.

    Parameters
    ----------
    model : torch.nn.Module
        One that was converted, or a copy of it. It is changed in place.

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
    for module in list(model.modules()):
        _revert(module)


def _changes(
    name: str,
    module: nn.Module,
    where: Callable[[str, nn.Module], bool] | None,
    functional: bool,
    is_root: bool,
    options: dict[str, Any],
) -> list[_Change]:
    """Return what is to be done with a module, and what is left of it and why."""
    kind = type(module)
    was, found = kind.__name__, known(module)

    def left(was: str, why: str) -> _Change:
        return _Change(Place(name, was, was, _rate_of(module), why), module, None)

    def draws(place: Place) -> _Change:
        return _Change(place, module, lambda: let_draw(module, FunctionalDropout(**options)))

    def by_where() -> _Change:
        place = left(was, "where= leaves it out").place
        return _Change(place, module, lambda: let_draw(module, None) if functional else None)

    if is_calling(module) or isinstance(module, FunctionalDropout):
        return []  # converted before
    if found is not None and found.ours is None:
        return [left(was, found.left)]
    if found is not None and found.ours is not None:
        if where is not None and not where(name, module):
            return [by_where()]
        ours, attributes = found.ours, found.attributes
        place = Place(name, was, ours.__name__, _rate_of(module))
        return [_Change(place, module, lambda: _become(module, ours, attributes, options))]
    calls, changes = _calls(module), list[_Change]()
    if calls.dropouts:
        called = was if not functional or is_attention(module) else _functions(calls.dropouts)
        if where is not None and not where(name, module):
            changes.append(by_where())
        elif functional or is_attention(module):
            changes.append(draws(Place(name, called, FunctionalDropout.__name__, _rate_of(module))))
        else:
            changes.append(
                left(_functions(calls.dropouts), "a function: functional=True reaches it")
            )
    elif functional and is_root:
        place = Place(name, "other functions", FunctionalDropout.__name__, None)
        changes.append(draws(place))
    if calls.others:
        names = ", ".join(sorted(calls.others))
        changes.append(left(names, "not a function that anydrop stands for"))
    return changes


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
    before = vars(module)
    changed = {name: before[name] for name in attributes if name in before}
    note = type(module), frozenset(before), changed
    module.__class__ = ours
    assert isinstance(module, Module)
    module.__dict__.update({STOCK: note, **attributes})
    module.adopt(**options)
    return module


def _revert(module: nn.Module) -> None:
    if is_calling(module):
        let_be(module)
        return
    note = vars(module).get(STOCK)
    if note is not None:
        stock, names, changed = note
        for name in vars(module).keys() - names:
            del module.__dict__[name]
        module.__dict__.update(changed)
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
