"""Converts modules that call dropout functions: each gets a child that draws their masks."""

from __future__ import annotations

import functools
from typing import Any
from weakref import WeakValueDictionary

from torch import nn

from anydrop.torch.conversion.child import CHILD, FunctionalDropout
from anydrop.torch.conversion.functional import install, let_compilers_trace, uninstall
from anydrop.torch.conversion.scope import CHILDREN, drawn_by

# An attribute of the classes made here: True if a child draws, False if PyTorch does.
DRAWS = "_lets_a_child_draw"

# The classes made here, by the original class and whether a child draws. Unused ones are freed.
_classes: WeakValueDictionary[tuple[int, bool], Any] = WeakValueDictionary()


def let_draw(module: nn.Module, options: dict[str, Any] | None) -> FunctionalDropout | None:
    """Have a new child with these options draw for a module's functions. None: PyTorch draws."""
    child = None if options is None else FunctionalDropout(**options)
    module.__class__ = _calling_class(type(module), child is not None)
    if child is not None:
        module.add_module(CHILD, child)
        child.train(module.training)
        install()
    return child


def revert(module: nn.Module) -> None:
    """Undo `let_draw`. Do nothing for another module."""
    if not is_calling(module):
        return
    kind: Any = type(module)
    module.__class__ = kind.__mro__[1]
    child = module._modules.pop(CHILD, None) if getattr(kind, DRAWS) else None  # noqa: SLF001
    if isinstance(child, FunctionalDropout):
        CHILDREN.discard(child)
        uninstall()


def is_calling(module: nn.Module) -> bool:
    """Tell whether `let_draw` changed a module."""
    return hasattr(type(module), DRAWS)


def is_left(module: nn.Module) -> bool:
    """Tell whether `let_draw` has PyTorch draw for a module."""
    return vars(type(module)).get(DRAWS) is False


def is_hidden(module: nn.Module) -> bool:
    """Tell whether a class was derived from that of `let_draw`, as by a parametrization."""
    return is_calling(module) and DRAWS not in vars(type(module))


def _calling_class(kind: Any, draws: bool) -> Any:
    """Return a class of the same name, whose forward has the child draw, or PyTorch."""
    known = _classes.get((id(kind), draws))
    if known is not None:
        return known

    @functools.wraps(kind.forward)
    def forward(self: Any, *arguments: Any, **keywords: Any) -> Any:
        child = getattr(self, CHILD) if draws else None
        let_compilers_trace()
        with drawn_by(child):
            if child is None or not child.is_lent or self.training:
                return kind.forward(self, *arguments, **keywords)
            # `monte_carlo` puts only the child in training mode.
            self.training = True
            try:
                return kind.forward(self, *arguments, **keywords)
            finally:
                self.training = False

    def reduced(self: Any, protocol: int) -> Any:
        return _rebuilt, (kind, draws), self.__getstate__()

    names = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    own = {"forward": forward, "__reduce_ex__": reduced, DRAWS: draws}
    made = _classes[id(kind), draws] = type(kind.__name__, (kind,), {**names, **own})
    return made


def _rebuilt(kind: Any, draws: bool) -> Any:
    """Return an empty module, for pickle and deep copies."""
    calling = _calling_class(kind, draws)
    return calling.__new__(calling)
