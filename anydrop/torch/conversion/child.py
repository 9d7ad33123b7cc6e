"""`FunctionalDropout`: the child that draws the masks of the functions that a module calls."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from anydrop.torch.conversion.functional import install
from anydrop.torch.conversion.scope import CHILDREN
from anydrop.torch.module import Module
from anydrop.torch.standard import Standard

# The name of the child that draws for functions, and of the child of a recurrent module.
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
        """Raise: the parent is to be called instead."""
        raise TypeError(
            "this module only draws masks for the functions that its parent calls: call the "
            "parent. If the parent calls all its children in turn, have it leave out the one named "
            "anydrop"
        )

    def draw(self, kind: type[Standard], x: Tensor, p: float, inplace: bool) -> Tensor:
        """Apply a kind of module to a tensor, with this module's next mask."""
        y: Tensor = self._run(x, kind, p, inplace)
        return y

    def _drop(self, *inputs: Any, seed: Any, step: Any, counted: Any = None) -> Any:
        x, kind, p, inplace = inputs  # from `draw`
        function, settings = kind.function_for(x)
        settings["seed"], settings["step"] = seed, step
        return self.drop_at(p, inplace, function, (x,), settings, counted)

    def _rate(self, step: Any = None) -> float:
        return 0.5  # `monte_carlo` asks whether it drops anything. Each call has its own rate.

    def extra_repr(self) -> str:
        """Return the text for ``repr``: the seed and the step."""
        return super().extra_repr().removeprefix(", ")

    def _shown(self) -> str:
        return ""
