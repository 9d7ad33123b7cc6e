"""`Rated`: the part of a module that calls the function with the step's drop probability."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from anydrop import schedules
from anydrop.backends import resolve
from anydrop.core import check, place
from anydrop.core.stream import Keyed


class Rated(torch.nn.Module):
    """A module with a drop probability, which users may set at any time."""

    #: The function that draws and applies the mask. It takes the inputs and `p` by position.
    _function: ClassVar[Callable[..., Any]]
    #: The name of the attribute with the drop probability, and whether that may be 1.
    _rate_name: ClassVar[str] = "p"
    _takes_one: ClassVar[bool] = False
    inplace: bool = False

    #: Whether the module has a seed and counts steps, and the next step.
    counts: bool
    step: Any

    def _infer(self, input: Tensor) -> Any:
        """Return the result for an input at inference."""
        return input

    def _drop(self, *inputs: Any, seed: Keyed, step: Any, counted: Any = None) -> Any:
        """Call the function with a mask.

        `counted` is the step of an operator that counts the forward. A schedule follows it.
        """
        p = getattr(self, self._rate_name)
        if not (type(p) is float and 0.0 <= p < 1.0):
            p = self._rate(step if counted is None else counted)
        settings = self._settings(inputs[0])
        settings["seed"], settings["step"] = seed, step
        return self.drop_at(p, self.inplace, self._function, inputs, settings, counted)

    def drop_at(
        self,
        p: float,
        inplace: bool,
        function: Callable[..., Any],
        inputs: tuple[Tensor, ...],
        keywords: dict[str, Any],
        counted: Any,
    ) -> Any:
        """Call a function with a drop probability.

        `counted` is the step of an operator that counts the forward.
        """
        out = inputs[0] if inplace else None
        if out is not None and out.requires_grad and out.is_leaf and torch.is_grad_enabled():
            raise RuntimeError(
                "inplace=True can't change a leaf that requires grad, since autograd could not "
                "track it: leave it out, or call under torch.no_grad()"
            )
        drops_all = p == 1.0 and self._takes_one
        y = _zeros(inputs[0], inplace) if drops_all else function(*inputs, p, out=out, **keywords)
        if (p == 0.0 or drops_all) and counted is not None and self.counts:
            # A compiler drops a draw whose result is not used, and its step would not be counted.
            y = torch.where(counted == counted, y, y)
        return y

    def _settings(self, x: Tensor) -> dict[str, Any]:
        """Return the function's other keywords for an input."""
        return {}

    def _rate(self, step: Any = None) -> float:
        """Return the drop probability at a step, by default the next one."""
        p = self._check_rate()
        if not isinstance(p, schedules.Schedule):
            return p
        if torch.compiler.is_compiling():
            raise TypeError(
                f"{self._rate_name} follows a schedule, but a compiled program has one fixed "
                "probability: leave this module out of the program, e.g. with "
                "torch.compiler.disable(module)"
            )
        return schedules.at(p, place.known_step(self.step if step is None else step))

    def _check_rate(self) -> Any:
        """Check the drop probability and return it."""
        p, name = getattr(self, self._rate_name), self._rate_name
        if isinstance(p, schedules.Schedule):
            if not self.counts:
                raise ValueError(
                    f"{p!r} needs the step to give {name}, and a module without a seed doesn't "
                    f"count steps: make it with {type(self).__name__}(..., seed=0)"
                )
            return schedules.rate(p)
        if not self._takes_one:
            return check.probability(p)
        number = check.number(p, name)
        if not 0.0 <= number <= 1.0:
            raise ValueError(f"{name} must satisfy 0 <= {name} <= 1, got {number!r}")
        return number if number == 1.0 else check.probability(number)


def _zeros(x: Tensor, inplace: bool) -> Tensor:
    """Return zeros with zero gradients, also for NaN and Inf."""
    resolve(x).check_input(x)
    everywhere = torch.ones((), dtype=torch.bool, device=x.device)
    return x.masked_fill_(everywhere, 0) if inplace else x.masked_fill(everywhere, 0)
