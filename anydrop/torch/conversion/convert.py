"""`convert`: a model's dropout draws anydrop's masks, where it stands; and `revert`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from anydrop.backends.torch.watchers import is_distributed
from anydrop.core import check, seeds
from anydrop.core.stream import Seed
from anydrop.seeding import named_layers
from anydrop.torch.conversion import callers, dropouts, recurrent
from anydrop.torch.conversion.known import known
from anydrop.torch.conversion.places import Change, changes_of, rate_of
from anydrop.torch.conversion.table import Conversion, Place
from anydrop.torch.module import Module


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
        Takes a module's name and the module, and returns whether to convert it. Attention, which
        has no ``p``, is asked about, too. By default all are converted.
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
        If the model is no module, or compiled, scripted or sharded, or where is no function.
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

    A second call converts what the first one left. Places that are converted already keep their
    seeds. To resume a model with a seed, convert it first, and then load its state.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1)
    >>> anydrop.torch.convert(layer, seed=0)
    place              was                 is                 p    left, since
    self_attn.anydrop  MultiheadAttention  FunctionalDropout  0.1
    dropout            Dropout             Dropout            0.1
    dropout1           Dropout             Dropout            0.1
    dropout2           Dropout             Dropout            0.1
    """
    _forbid_fixed(model)
    _forbid_dropout(model)
    checked = None if seed is None else seeds.checked(seed)
    check.flag(functional, "functional")
    if where is not None and not callable(where):
        raise TypeError(
            "where must be a function of a module's name and the module, such as "
            f"lambda name, module: name != 'head', got {check.described(where)}"
        )
    options = {"seed": checked, "per_rank": per_rank}
    # What an earlier call left may be converted by this one.
    left = [module for module in model.modules() if callers.is_left(module)]
    for module in left:
        callers.revert(module)
    changes, drawing = list[Change](), list[Module | None]()
    try:
        changes = changes_of(model, where, functional, options)
        for change in changes:
            drawing.append(change.apply() if change.apply else None)
        names = _names(model, drawing)
        if checked is not None:
            for module in drawing:
                if module is not None:
                    module.reseed(checked, names[id(module)])
    except BaseException:
        for change in changes[: len(drawing) + 1]:
            if change.apply:
                _revert(change.module)
        for module in left:
            callers.let_draw(module, None)
        raise
    return Conversion(
        _as_it_is(change, module, names) for change, module in zip(changes, drawing, strict=True)
    )


def _as_it_is(change: Change, module: Module | None, names: dict[int, str]) -> Place:
    """Return a place with the name of the module that draws, and its drop probability."""
    if module is None:
        return change.place
    p = rate_of(module) if module is change.module else change.place.p
    return change.place._replace(name=names[id(module)], p=p)


def _names(model: nn.Module, drawing: Sequence[Module | None]) -> dict[int, str]:
    """Return the name by which each module that draws is seeded, by its id."""
    names = {id(layer): name for name, layer in named_layers(model)}
    seen = set[str]()
    for module in drawing:
        if module is None:
            continue
        name = names[id(module)]
        if name in seen:
            raise ValueError(f"two places of this model come to the name {name!r}: rename one")
        seen.add(name)
    return names


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
    _forbid_fixed(model)
    modules = list(model.modules())
    for module in modules:
        if callers.is_hidden(module):
            raise TypeError(
                f"a {type(module).__name__} was parametrized after its conversion: remove that "
                "first, by torch.nn.utils.parametrize.remove_parametrizations"
            )
    for module in modules:
        _revert(module)


def _revert(module: nn.Module) -> None:
    """Undo the change of one module, whichever it was."""
    for undo in (dropouts.revert, callers.revert, recurrent.revert):
        undo(module)


def _forbid_fixed(model: object) -> None:
    """Refuse a model whose code or tensors are fixed already."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {check.described(model)}")
    modules = list(model.modules())
    kinds = {base.__name__ for module in modules for base in type(module).__mro__}
    if any(isinstance(module, torch.jit.ScriptModule) for module in modules):
        raise TypeError(
            "the model is scripted, and its code is fixed: convert or revert it before scripting"
        )
    if "OptimizedModule" in kinds or any(
        getattr(module, "_compiled_call_impl", None) is not None for module in modules
    ):
        raise TypeError(
            "the model is compiled: convert or revert it first, and compile it afterwards. If "
            "torch.compile returned it, take its _orig_mod, and compile that again"
        )
    if kinds & {"FSDPModule", "FullyShardedDataParallel"} or any(
        map(is_distributed, model.parameters())
    ):
        raise TypeError("the model is sharded: convert or revert it first, and shard it afterwards")


def _forbid_dropout(model: nn.Module) -> None:
    """Refuse a model that a module of ours would have to replace."""
    if isinstance(model, Module):
        raise ValueError(
            f"the model is an anydrop.torch.{type(model).__name__}, which draws anydrop's masks "
            "already: it needs no conversion"
        )
    if known(model) is not None:
        raise ValueError(
            f"the model is a dropout itself, a {type(model).__name__}, and can't be replaced in "
            "place: use a module of anydrop.torch instead, such as anydrop.torch.Dropout(p)"
        )
