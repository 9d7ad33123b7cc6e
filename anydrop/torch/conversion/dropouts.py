"""Converts dropout modules in place: each changes its class and stays the same object."""

from __future__ import annotations

from typing import Any

from torch import nn

from anydrop.torch.module import Module

# The attribute with what `revert` needs.
STOCK = "_stock"


def become(
    module: nn.Module, ours: type[Module], attributes: dict[str, Any], options: dict[str, Any]
) -> Module:
    """Give a module a class of ours, and remember its own."""
    before = dict(vars(module))
    added = set[str]()
    changed = {name: (before[name], to) for name, to in attributes.items() if name in before}
    module.__dict__[STOCK] = type(module), added, changed
    module.__class__ = ours
    assert isinstance(module, Module)
    try:
        module.__dict__.update(attributes)
        module.adopt(**options)
    finally:  # so that `revert` can undo a change that raised
        added.update(vars(module).keys() - before.keys())
    return module


def revert(module: nn.Module) -> None:
    """Undo `become`. Do nothing for another module."""
    note = vars(module).get(STOCK)
    if note is None:
        return
    stock, added, changed = note
    for name in added:
        module.__dict__.pop(name, None)
    for name, (before, ours) in changed.items():
        if vars(module).get(name) == ours:  # otherwise it was set after the conversion
            module.__dict__[name] = before
    module.__class__ = stock
