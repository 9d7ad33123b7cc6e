"""Stochastic depth: timm's ``DropPath`` and torchvision's ``StochasticDepth``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from anydrop.core.docstrings import described_by
from anydrop.core.stream import Seed
from anydrop.layers.stochastic_depth import Mode, check_mode, stochastic_depth
from anydrop.schedules import Rate, Schedule
from anydrop.torch.module import Module
from anydrop.torch.standard import Standard


@described_by(Standard)
class DropPath(Module):
    """Drop a residual branch for random examples of a batch, as timm's ``DropPath`` does.

    Also called stochastic depth. Apply it to the branch, before the branch is added to the
    shortcut: ``x + self.drop_path(self.block(x))``. Dropped examples take the shortcut alone.

    Parameters
    ----------
    drop_prob : float or Schedule, default 0
        Probability that an example's branch is dropped, ``0 <= drop_prob <= 1``. You may change it
        later. A schedule needs a `seed`.
    scale_by_keep : bool, default True
        Multiply survivors by ``1 / (1 - drop_prob)``. With False nothing is scaled, in training or
        in eval mode.

    See Also
    --------
    StochasticDepth : The same with torchvision's arguments.
    anydrop.depth_rates : Probabilities that grow with depth, one for each branch.
    anydrop.stochastic_depth : The function. With the same seed and step it draws the same mask.

    References
    ----------
    .. [1] G. Huang et al., "Deep networks with stochastic depth", 2016,
       https://arxiv.org/abs/1603.09382
    .. [2] R. Wightman, timm, https://github.com/huggingface/pytorch-image-models

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> path = anydrop.torch.DropPath(0.5, seed=0)
    >>> path(torch.ones(4, 3))[:, 0]
    tensor([0., 2., 2., 2.])
    """

    _function = staticmethod(stochastic_depth)
    _rate_name = "drop_prob"
    _takes_one = True

    def __init__(
        self,
        drop_prob: Rate = 0.0,
        scale_by_keep: bool = True,
        *,
        seed: Seed | Sequence[int] | None = None,
        per_rank: bool | int | None = None,
    ) -> None:
        super().__init__(seed=seed, per_rank=per_rank)
        self.drop_prob = drop_prob
        self.scale_by_keep = scale_by_keep
        self._check_rate()

    def _settings(self, x: Tensor) -> dict[str, Any]:
        # In a training call "inference" leaves survivors unscaled.
        return {} if self.scale_by_keep else {"scaling": "inference"}

    def _shown(self) -> str:
        p = self.drop_prob
        return f"drop_prob={p!r}" if isinstance(p, Schedule) else f"drop_prob={round(p, 3):0.3f}"


@described_by(Standard)
class StochasticDepth(Module):
    """Drop a residual branch at random, as torchvision's ``StochasticDepth`` does.

    Apply it to the branch, before the branch is added to the shortcut:
    ``x + self.depth(self.block(x))``. Dropped examples take the shortcut alone.

    Parameters
    ----------
    p : float, default 0.5
        Probability that the branch is dropped, ``0 <= p <= 1``. You may change it later. A schedule
        needs a `seed`.
    mode : {"row", "batch"}
        "row" decides for each example, and "batch" once for the whole batch.

    See Also
    --------
    DropPath : The same with timm's arguments.
    anydrop.depth_rates : Probabilities that grow with depth, one for each branch.
    anydrop.stochastic_depth : The function. With the same seed and step it draws the same mask.

    References
    ----------
    .. [1] G. Huang et al., "Deep networks with stochastic depth", 2016,
       https://arxiv.org/abs/1603.09382
    .. [2] torchvision, ``torchvision.ops.StochasticDepth``

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> path = anydrop.torch.StochasticDepth(0.5, "row", seed=0)
    >>> path(torch.ones(4, 3))[:, 0]
    tensor([0., 2., 2., 2.])
    >>> anydrop.torch.StochasticDepth(0.2, "batch")
    StochasticDepth(p=0.2, mode=batch)
    """

    _function = staticmethod(stochastic_depth)
    _takes_one = True

    def __init__(
        self,
        p: Rate = 0.5,
        mode: Mode = "row",
        *,
        seed: Seed | Sequence[int] | None = None,
        per_rank: bool | int | None = None,
    ) -> None:
        super().__init__(seed=seed, per_rank=per_rank)
        self.p = p
        self.mode = check_mode(mode)
        self._check_rate()

    def _settings(self, x: Tensor) -> dict[str, Any]:
        return {"mode": self.mode}

    def _shown(self) -> str:
        return f"p={self.p}, mode={self.mode}"
