"""`Loan`: another seed for a module, for the time in which `anydrop.monte_carlo` runs it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from anydrop.core.runs import check_found, check_thread
from anydrop.core.stream import Seed
from anydrop.torch.draws import Draws

if TYPE_CHECKING:
    from anydrop.torch.module import Module

_NOTHING = object()


def check_run(module: Module, thread: int | None, mapped: bool) -> None:
    """Refuse to draw where `anydrop.monte_carlo` runs a model, but can't say the masks.

    The thread is the one in which it runs the module, if it does.
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
    """Has a module draw from step 0 of another seed, in training mode."""

    def __init__(self, module: Module, seed: Seed, rate: float) -> None:
        self._module, self.rate, self._draws = module, rate, Draws(0)
        self._here: dict[str, Any] = {
            "_seed": seed,
            "_place": None,
            "_copy": (),
            "_draws": self._draws,
            "_keys": {},
            "_lent_in": threading.get_ident(),
            "_rate": lambda step=None: rate,  # where a schedule would be asked
            "counts": True,
            "training": True,
        }
        # Of these, only what the module has itself: its methods and defaults are its class's.
        self._before = {name: vars(module).get(name, _NOTHING) for name in self._here}

    @property
    def drew(self) -> bool:
        """Whether the module drew a mask meanwhile."""
        return self._draws.step != 0

    def begin(self) -> None:
        """Have the module draw from the other seed."""
        for name, value in self._here.items():
            setattr(self._module, name, value)

    def end(self) -> None:
        """Have the module draw as before, or as in a run around this one."""
        for name, value in self._before.items():
            if value is not _NOTHING:
                setattr(self._module, name, value)
            elif name in vars(self._module):  # which an interrupt may have kept out
                delattr(self._module, name)
