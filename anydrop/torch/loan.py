"""`Loan`: lends a module another seed while `anydrop.monte_carlo` runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anydrop.core.runs import check_found, check_thread

if TYPE_CHECKING:
    from anydrop.torch.draws import Draws
    from anydrop.torch.module import Module

_NOTHING = object()


def check_run(module: Module, thread: int | None, mapped: bool) -> None:
    """Refuse to draw where `anydrop.monte_carlo` runs a model but does not say this mask.

    `thread` is the thread in which it runs the module, or None.
    """
    check_thread(module, thread)
    if mapped and thread is not None:
        raise RuntimeError(
            "monte_carlo draws all masks from its seed, and under torch.vmap they are those of "
            "random steps: have predict call the model without torch.vmap"
        )
    if thread is None:
        check_found(module, mode=True, training=None)


class Loan:
    """Lets a module draw with other attributes for a time.

    Parameters
    ----------
    module : Module
        The module.
    rate : float
        Its drop probability for the time.
    draws : Draws
        Its steps for the time, from step 0.
    **attributes : Any
        Its other attributes for the time.
    """

    def __init__(self, module: Module, rate: float, draws: Draws, **attributes: Any) -> None:
        self._module, self.rate, self._draws = module, rate, draws
        self._here = attributes
        # Only what the module itself holds: its class has the methods and defaults.
        self._before = {name: vars(module).get(name, _NOTHING) for name in attributes}

    @property
    def drew(self) -> bool:
        """Whether the module drew a mask meanwhile."""
        return self._draws.step != 0

    def begin(self) -> None:
        """Set the attributes for the time."""
        for name, value in self._here.items():
            setattr(self._module, name, value)

    def end(self) -> None:
        """Set the attributes of before, which may be those of a run around this one."""
        for name, value in self._before.items():
            if value is not _NOTHING:
                setattr(self._module, name, value)
            elif name in vars(self._module):  # An interrupt may have kept it out.
                delattr(self._module, name)
