"""The entry in ``state_dict`` of a module with a seed: its step and its key, in one tensor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anydrop.backends.torch.watchers import is_fake
from anydrop.core import check, stream
from anydrop.core.stream import LAST_STEP, Key


def words(step: int, key: Key) -> Tensor:
    """Return the entry: the low and high 32 bits of the step, and the two words of the key."""
    return torch.tensor([*stream.halves(step), *key], dtype=torch.int64, device="cpu")


def is_words(value: Any) -> bool:
    """Tell whether a value looks like what `words` returns."""
    return isinstance(value, Tensor) and value.dtype == torch.int64 and value.shape == (4,)


def step_of(value: Any, key: Key, module: object) -> int:
    """Return the step in an entry.

    Raises
    ------
    ValueError
        If the value is no such entry, or was saved with another key.
    """
    if not is_words(value) or _has_no_value(value):
        raise ValueError(
            f"must be an int64 tensor of shape (4,), got {_described(value)}: save it unchanged, "
            f"or {_WAY_OUT}"
        )
    low, high, *saved = value.tolist()
    if not (0 <= low < 2**32 and 0 <= low | high << 32 <= LAST_STEP + 1):
        raise ValueError(
            "must begin with the low and high 32 bits of a step, 0 <= step <= 2**64, got "
            f"{low} and {high}: save it unchanged, or {_WAY_OUT}"
        )
    if tuple(saved) != key:
        raise ValueError(
            f"was saved with another seed or in another place: its key is {_hex(*saved)}, and the "
            f"key of {module!r} is {_hex(*key)}: make the model with the seed and the names that "
            f"it had, or {_WAY_OUT}"
        )
    return low | high << 32


_WAY_OUT = (
    "load it without the steps: model.load_state_dict(anydrop.torch.without_steps(state, model))"
)


def _described(value: Any) -> str:
    if not isinstance(value, Tensor):
        return check.described(value)
    kind = "a tensor without a value, " if _has_no_value(value) else ""
    return f"{kind}{value.dtype} of shape {tuple(value.shape)} on {value.device}"


def _has_no_value(value: Tensor) -> bool:
    return value.is_meta or is_fake(value)


def _hex(low: int, high: int) -> str:
    # A damaged key may have words of any size.
    return f"0x{low & 2**32 - 1 | high << 32:016x}"
