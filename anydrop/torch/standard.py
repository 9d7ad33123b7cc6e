"""PyTorch's own dropout modules, with anydrop's masks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from anydrop.core.stream import Seed
from anydrop.layers.dropout import dropout
from anydrop.schedules import Rate, Schedule
from anydrop.torch.module import Module


class _Standard(Module):
    def __init__(
        self,
        p: Rate = 0.5,
        inplace: bool = False,
        *,
        seed: Seed | Sequence[int] | None = None,
        per_rank: bool | int | None = None,
    ) -> None:
        scheduled = isinstance(p, Schedule)
        super().__init__(0.0 if scheduled else p, inplace, seed=seed, per_rank=per_rank)
        self.p = p
        self._check_rate()


class Dropout(_Standard, nn.Dropout):
    """Drop elements, as `torch.nn.Dropout` does."""

    _function = staticmethod(dropout)
