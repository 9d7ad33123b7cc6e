"""Modules that call dropout functions: each gets a child that draws the masks of its calls."""

from __future__ import annotations

import functools
from typing import Any

from torch import nn

from anydrop.torch.conversion.functional import (
    DRAWING,
    FunctionalDropout,
    drawn_by,
    install,
    uninstall,
)

# The name of the child.
CHILD = "anydrop"


def let_draw(module: nn.Module, child: FunctionalDropout | None) -> FunctionalDropout | None:
    """Let a child draw the masks of the functions that a module calls; None: let PyTorch draw."""
    kind: Any = type(module)
    module.__class__ = _calling_class(kind)
    if child is not None:
        module.add_module(CHILD, child)
        child.train(module.training)
        install()
    return child


def let_be(module: nn.Module) -> None:
    """Undo `let_draw`."""
    module.__class__ = type(module).__mro__[1]
    child = getattr(module, CHILD, None)
    if isinstance(child, FunctionalDropout):
        delattr(module, CHILD)
        DRAWING.discard(child)
        uninstall()


def is_calling(module: nn.Module) -> bool:
    """Tell whether `let_draw` changed a module."""
    return "_calls_functions" in vars(type(module))


@functools.cache
def _calling_class(kind: Any) -> Any:
    """Return a class of the same name, whose forward lets the child draw."""

    @functools.wraps(kind.forward)
    def forward(self: Any, *arguments: Any, **keywords: Any) -> Any:
        child = getattr(self, CHILD, None)
        with drawn_by(child):
            if child is None or child.training == self.training:
                return kind.forward(self, *arguments, **keywords)
            # As in `monte_carlo`, where the child alone is in training mode.
            before, self.training = self.training, child.training
            try:
                return kind.forward(self, *arguments, **keywords)
            finally:
                self.training = before

    def reduced(self: Any, protocol: int) -> Any:
        return _rebuilt, (kind,), self.__getstate__()

    names = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    own = {"forward": forward, "__reduce_ex__": reduced, "_calls_functions": True}
    return type(kind.__name__, (kind,), {**names, **own})


def _rebuilt(kind: Any) -> Any:
    """Return an empty module, for pickle and deep copies."""
    calling = _calling_class(kind)
    return calling.__new__(calling)
