"""`FunctionalDropout`: a module's child that draws the masks of the functions it calls."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from anydrop.torch.conversion.functional import install
from anydrop.torch.conversion.scope import CHILDREN
from anydrop.torch.module import Module
from anydrop.torch.standard import Standard

# The name of the children that draw for functions, and of those of recurrent modules.
CHILD = "anydrop"


class FunctionalDropout(Module):
    """The child of a converted module: it draws the masks of the functions that its parent calls.

    Parameters
    ----------
    seed, per_rank
        As for `Module`. Steps count the calls of a forward, in their order.
    """

    _takes_one = True

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        CHILDREN.add(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        CHILDREN.add(self)
        install()

    def forward(self, input: Tensor, *, step: Any = None) -> Tensor:
        """Refuse to be called."""
        raise TypeError(
            "this module draws the masks of the functions that its parent calls, and has no drop "
            "probability of its own: call the parent. If that calls all its children in turn, have "
            "it leave out the one named anydrop"
        )

    def draw(self, kind: type[Standard], x: Tensor, p: float, inplace: bool) -> Tensor:
        """Return what a kind of module makes of a tensor, with this one's next mask."""
        y: Tensor = self._run(x, kind, p, inplace)
        return y

    def _drop(self, *inputs: Any, seed: Any, step: Any, counted: Any = None) -> Any:
        x, kind, p, inplace = inputs  # as `draw` gave them to `_run`
        function, settings = kind.function_for(x)
        settings["seed"], settings["step"] = seed, step
        return self.drop_at(p, inplace, function, (x,), settings, counted)

    def _rate(self, step: Any = None) -> float:
        return 0.5  # `monte_carlo` asks whether it drops anything. Each call has its own.

    def extra_repr(self) -> str:
        """Return what `repr` shows: the seed and the step."""
        return super().extra_repr().removeprefix(", ")

    def _shown(self) -> str:
        return ""
