"""Several processes: the rank that a module with a seed draws for, and warnings about ranks."""

from __future__ import annotations

import warnings
from typing import Any

from torch import distributed

from anydrop.core import check

ONE_MASK = (
    "a module with a seed draws the same mask on every rank of this process group, even if their "
    "rows differ: pass per_rank=True for other masks on each rank, the data-parallel rank as an "
    "int where tensor-parallel ranks must agree, or per_rank=False to keep one mask"
)
NO_STEP = (
    "the loaded state has no {name}, so this rank goes on with step {step}, while other ranks may "
    "have loaded another step (set_model_state_dict with broadcast_from_rank0=True doesn't send "
    "it): load the state on each rank, or set module.step"
)

# The warnings that this process gave already.
_warned = set[str]()


def checked(value: object) -> bool | int | None:
    """Check ``per_rank=`` and return it."""
    if value is None or isinstance(value, bool):
        return value
    rank = check.integer(value, "per_rank", "True, False, or the rank as an int >= 0")
    if not 0 <= rank < 2**32:
        raise ValueError(f"per_rank must satisfy 0 <= per_rank < 2**32, got {rank}")
    return rank


def of(per_rank: bool | int | None) -> int | None:
    """Return the rank whose masks this process draws, or None if all draw the same."""
    if per_rank is True:
        return distributed.get_rank() if _is_in_a_group() else 0
    if per_rank is None and _are_several():
        _warn_once(ONE_MASK)
    return None if per_rank is False else per_rank


def warn_of_no_step(name: str, step: int | None) -> None:
    """Warn that a state lacks a module's step, if there are other ranks that may have loaded it."""
    if _are_several():
        _warn_once(NO_STEP, name=name, step=step)


def _is_in_a_group() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _are_several() -> bool:
    return _is_in_a_group() and distributed.get_world_size() > 1


def _warn_once(message: str, **values: Any) -> None:
    """Warn, unless this process gave the warning before."""
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message.format(**values), stacklevel=3)
