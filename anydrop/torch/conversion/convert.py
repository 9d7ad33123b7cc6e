"""`convert` makes a model's dropout draw anydrop's masks, in place; `revert` undoes it."""

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
    """Make every dropout of a model draw anydrop's masks. The model is changed in place.

    You need not edit the model's code. Each dropout module changes its class and stays the same
    object, with its probability, mode and hooks. Modules that call dropout functions, such as
    attention, get a child module named ``anydrop``, which draws their masks.

    Parameters
    ----------
    model : torch.nn.Module
        Must not be compiled, scripted or sharded yet.
    seed : int, sequence of int or numpy.random.SeedSequence, optional
        With a seed, each place counts its forwards. Its own seed is made of this one and of the
        place's name, as `anydrop.seed_layers` does. By default all masks follow
        ``torch.manual_seed``.
    where : callable, optional
        Called with a module's name and the module. Returns whether to convert it. Some modules,
        such as attention, have no ``p``. By default all are converted.
    functional : bool, default False
        Also convert modules other than attention that call functions such as ``F.dropout``.
    per_rank : bool or int, optional
        For training in several processes, with a seed; see `Module`.

    Returns
    -------
    Conversion
        Prints as a table: each place, what it was, what it is, and why it was left, if it was.

    Raises
    ------
    TypeError
        If ``model`` is no module, or is compiled, scripted or sharded, or if ``where`` is no
        function.
    ValueError
        If ``model`` is itself a dropout module, or an argument is out of range. The model is not
        changed.

    See Also
    --------
    revert : Undo the conversion.
    remaining : Run the model and list the random operators that are not anydrop's.
    anydrop.seed_layers : Give a converted model another seed.

    Notes
    -----
    While a model with an ``anydrop`` child exists, anydrop's functions replace ``F.dropout``, its
    variants and ``F.scaled_dot_product_attention``. They call PyTorch's functions, except in the
    forwards and recomputes of converted modules. There, attention with dropout runs step by step
    and keeps its weights in memory, as eager implementations do.

    A second call converts what the first one left. Converted places keep their seeds. To resume a
    run with a seed, convert the model first, and then load its state.

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
            f"where must be a function of a name and a module, got {check.described(where)}: pass "
            "e.g. lambda name, module: name != 'head'"
        )
    options = {"seed": checked, "per_rank": per_rank}
    # This call may convert what an earlier one left.
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
    """Return a place with the drawing module's name and drop probability."""
    if module is None:
        return change.place
    p = rate_of(module) if module is change.module else change.place.p
    return change.place._replace(name=names[id(module)], p=p)


def _names(model: nn.Module, drawing: Sequence[Module | None]) -> dict[int, str]:
    """Return the name by which each drawing module is seeded, by the module's id."""
    names = {id(layer): name for name, layer in named_layers(model)}
    seen = set[str]()
    for module in drawing:
        if module is None:
            continue
        name = names[id(module)]
        if name in seen:
            raise ValueError(f"two places of this model have the name {name!r}: rename one")
        seen.add(name)
    return names


def revert(model: nn.Module) -> None:
    """Undo `convert`: each module gets its class back and draws PyTorch's masks again.

    Parameters
    ----------
    model : torch.nn.Module
        A converted model, or a copy of one. It is changed in place.

    Raises
    ------
    TypeError
        If ``model`` is no module, or is compiled, scripted or sharded, or if one of its modules was
        parametrized after the conversion.

    See Also
    --------
    convert : Make every dropout of a model draw anydrop's masks.

    Notes
    -----
    Don't convert or revert between a forward and its backward pass. A checkpoint that recomputes
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
                f"a {type(module).__name__} was parametrized after its conversion: first call "
                "torch.nn.utils.parametrize.remove_parametrizations"
            )
    for module in modules:
        _revert(module)


def _revert(module: nn.Module) -> None:
    """Undo the change of one module."""
    for undo in (dropouts.revert, callers.revert, recurrent.revert):
        undo(module)


def _forbid_fixed(model: object) -> None:
    """Raise if a model's code or tensors can't be changed any more."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {check.described(model)}")
    modules = list(model.modules())
    kinds = {base.__name__ for module in modules for base in type(module).__mro__}
    if any(isinstance(module, torch.jit.ScriptModule) for module in modules):
        raise TypeError(
            "the model is scripted, so its code is fixed: convert or revert it before scripting"
        )
    if "OptimizedModule" in kinds or any(
        getattr(module, "_compiled_call_impl", None) is not None for module in modules
    ):
        raise TypeError(
            "the model is compiled: convert or revert it first, and compile it afterwards. If "
            "torch.compile returned it, convert or revert its _orig_mod, and compile that again"
        )
    if kinds & {"FSDPModule", "FullyShardedDataParallel"} or any(
        map(is_distributed, model.parameters())
    ):
        raise TypeError("the model is sharded: convert or revert it before it is sharded")


def _forbid_dropout(model: nn.Module) -> None:
    """Raise if the model itself is a dropout module, which can't be replaced in place."""
    if isinstance(model, Module):
        raise ValueError(
            f"the model is an anydrop.torch.{type(model).__name__}, which needs no conversion: it "
            "draws anydrop's masks already"
        )
    if known(model) is not None:
        raise ValueError(
            f"the model is itself a dropout module, a {type(model).__name__}, and can't be "
            "replaced in place: use a module of anydrop.torch, such as anydrop.torch.Dropout(p)"
        )
