"""`Loan`: gives a module another seed while `anydrop.monte_carlo` runs it."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

import torch

from anydrop.core.runs import check_found, check_thread

if TYPE_CHECKING:
    from anydrop.torch.draws import Draws
    from anydrop.torch.module import Module

_NOTHING = object()


def check_run(module: Module, thread: int | None, mapped: bool) -> None:
    """Raise if `anydrop.monte_carlo` runs a model but does not choose the mask of this call.

    `thread` is the thread in which it runs the module, or None.
    """
    check_thread(module, thread)
    if mapped and thread is not None:
        raise RuntimeError(
            "monte_carlo draws all masks from its own seed, but torch.vmap makes steps random: "
            "have predict call the model without torch.vmap"
        )
    if thread is None:
        check_found(module, mode=True, training=None)


class _SlowPath:
    """Switches off the fast path of PyTorch's encoder layers in eval mode: it has no dropout."""

    def __init__(self) -> None:
        self._before, self._users, self._lock = True, set[int](), Lock()

    def begin(self, user: object) -> None:
        """Switch it off for a user."""
        with self._lock:
            if not self._users:
                self._before = torch.backends.mha.get_fastpath_enabled()
            self._users.add(id(user))
            torch.backends.mha.set_fastpath_enabled(False)

    def end(self, user: object) -> None:
        """Restore the setting once there is no user left."""
        with self._lock:
            if id(user) in self._users:
                self._users.remove(id(user))
                torch.backends.mha.set_fastpath_enabled(self._before and not self._users)


_slow_path = _SlowPath()


class Loan:
    """Sets other attributes of a module between `begin` and `end`.

    Parameters
    ----------
    module : Module
        The module.
    rate : float
        Its drop probability.
    draws : Draws
        Its steps, from step 0.
    **attributes : Any
        The attributes to set.
    """

    def __init__(self, module: Module, rate: float, draws: Draws, **attributes: Any) -> None:
        self._module, self.rate, self._draws = module, rate, draws
        self._here = attributes
        # Only the module's own attributes: its class has the methods and defaults.
        self._before = {name: vars(module).get(name, _NOTHING) for name in attributes}

    @property
    def drew(self) -> bool:
        """Whether the module drew a mask during the loan."""
        return self._draws.step != 0

    def begin(self) -> None:
        """Set the attributes."""
        _slow_path.begin(self)
        for name, value in self._here.items():
            setattr(self._module, name, value)

    def end(self) -> None:
        """Restore the attributes, which may be those of a run around this one."""
        _slow_path.end(self)
        for name, value in self._before.items():
            if value is not _NOTHING:
                setattr(self._module, name, value)
            elif name in vars(self._module):  # unless an interrupt came before it was set
                delattr(self._module, name)
