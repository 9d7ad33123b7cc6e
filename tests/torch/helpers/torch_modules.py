"""The one table of the modules of `anydrop.torch`: what each draws, and what stands for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch

import anydrop
import anydrop.torch as modules


class Case(NamedTuple):
    """A module with some options, and the function and the plain layer that draw the same."""

    name: str
    module: type[modules.Module]
    function: Callable[..., Any]
    #: Of an input.
    shape: tuple[int, ...] = (6, 5)
    #: What the module takes beside its rate.
    options: dict[str, Any] = {}  # noqa: RUF012 - a tuple's default
    #: What the function and the plain layer take in their place.
    told: dict[str, Any] | None = None
    #: What a forward takes beside the first input.
    more: Callable[[torch.Tensor], dict[str, Any]] = lambda x: {}
    #: Name of the drop probability, or of what stands in its place: of the module, of the function.
    rate: tuple[str, str] = ("p", "p")

    def __str__(self) -> str:
        return self.name

    def make(self, rate: Any = 0.4, **keywords: Any) -> Any:
        """Return a module; of seed 0, unless told otherwise."""
        return self.module(**{self.rate[0]: rate, **self.options, "seed": 0, **keywords})

    @property
    def _told(self) -> dict[str, Any]:
        return self.options if self.told is None else self.told

    def plain(self, rate: Any = 0.4, **keywords: Any) -> Any:
        """Return the plain layer of the function's name; of seed 0, unless told otherwise."""
        words = self.function.__name__.split("_")
        layer = getattr(anydrop, "".join(map(str.capitalize, words)))
        return layer(**{self.rate[1]: rate, **self._told, "seed": 0, **keywords})

    def draw(self, x: Any, seed: Any, step: int, rate: float = 0.4, **more: Any) -> Any:
        """Call the function, with arrays of any library."""
        return self.function(x, seed=seed, step=step, **{self.rate[1]: rate}, **self._told, **more)

    def run(self, module: Any, x: torch.Tensor, **keywords: Any) -> Any:
        """Call a module, or a plain layer, with all the inputs that it wants."""
        return module(x, **self.more(x), **keywords)

    @property
    def whole(self) -> bool:
        """Whether its input holds integers, which have no gradients."""
        return self.module is modules.TokenDropout

    @property
    def takes_one(self) -> bool:
        """Whether PyTorch, timm or torchvision have such a module, whose p may be 1."""
        theirs = (torch.nn.modules.dropout._DropoutNd, modules.DropPath, modules.StochasticDepth)
        blocks = (modules.DropBlock1d, modules.DropBlock2d, modules.DropBlock3d)
        return issubclass(self.module, theirs + blocks)

    def input(self, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return random numbers, none of them 0."""
        generator = torch.Generator().manual_seed(1)
        if self.whole:
            return torch.randint(10, 100, self.shape, generator=generator)
        return (1 + torch.rand(self.shape, generator=generator)).to(dtype)


def opposite(x: torch.Tensor) -> dict[str, Any]:
    return {"previous": -x}


def opposite_residual(x: torch.Tensor) -> dict[str, Any]:
    return {"residual": -x}


def sublayer(x: torch.Tensor) -> dict[str, Any]:
    return {"residual": -x / 3, "bias": x[0] / 2}


def four(x: torch.Tensor) -> dict[str, Any]:
    return {"examples": 4}


IMAGES, VOLUMES = (3, 4, 6, 5), (2, 3, 4, 5, 4)
UNBATCHED = {"batched": False}
PATH = ("drop_prob", "p")

CASES = [
    Case("Dropout", modules.Dropout, anydrop.dropout),
    Case("Dropout1d", modules.Dropout1d, anydrop.dropout1d, (6, 5, 4)),
    Case("Dropout1d-unbatched", modules.Dropout1d, anydrop.dropout1d, (6, 5), told=UNBATCHED),
    Case("Dropout2d", modules.Dropout2d, anydrop.dropout2d, IMAGES),
    Case("Dropout3d", modules.Dropout3d, anydrop.dropout3d, VOLUMES),
    Case("Dropout3d-unbatched", modules.Dropout3d, anydrop.dropout3d, IMAGES, told=UNBATCHED),
    Case("AlphaDropout", modules.AlphaDropout, anydrop.alpha_dropout),
    Case(
        *("FeatureAlphaDropout", modules.FeatureAlphaDropout, anydrop.feature_alpha_dropout),
        IMAGES,
    ),
    Case("DropPath", modules.DropPath, anydrop.stochastic_depth, (20, 3), rate=PATH),
    Case(
        *("DropPath-unscaled", modules.DropPath, anydrop.stochastic_depth, (20, 3)),
        *({"scale_by_keep": False}, {"scaling": "inference"}),
        rate=PATH,
    ),
    Case("StochasticDepth-row", modules.StochasticDepth, anydrop.stochastic_depth, (20, 3)),
    Case(
        *("StochasticDepth-batch", modules.StochasticDepth, anydrop.stochastic_depth, (20, 3)),
        {"mode": "batch"},
    ),
    Case("DropBlock1d", modules.DropBlock1d, anydrop.drop_block1d, (6, 5, 9), {"block_size": 3}),
    Case("DropBlock2d", modules.DropBlock2d, anydrop.drop_block2d, IMAGES, {"block_size": 2}),
    Case(
        *("DropBlock3d", modules.DropBlock3d, anydrop.drop_block3d, VOLUMES),
        {"block_size": (1, 2, 3)},
    ),
    Case("GaussianDropout", modules.GaussianDropout, anydrop.gaussian_dropout),
    Case("GaussianNoise", modules.GaussianNoise, anydrop.gaussian_noise, rate=("std", "std")),
    Case(
        *("LockedDropout", modules.LockedDropout, anydrop.locked_dropout, (6, 4, 5)),
        {"time_axis": 0},
    ),
    Case("Zoneout", modules.Zoneout, anydrop.zoneout, more=opposite),
    Case("DropoutAdd", modules.DropoutAdd, anydrop.dropout_add, more=sublayer),
    Case(
        *("DropoutAdd-2014", modules.DropoutAdd, anydrop.dropout_add, (6, 3, 5)),
        {"scaling": "inference", "shared_axes": (1,)},
        more=opposite_residual,
    ),
    Case("EmbeddingDropout", modules.EmbeddingDropout, anydrop.embedding_dropout, (30, 4)),
    Case(
        *("TokenDropout", modules.TokenDropout, anydrop.token_dropout, (6, 9)),
        {"token": 3, "protected": (17, 42)},
    ),
    Case(
        *("AttentionDropout", modules.AttentionDropout, anydrop.attention_dropout, (3, 2, 5, 5)),
        {"share_heads": True, "noise_shape": (1, None, None, None)},
    ),
    Case(
        *("AttentionDropout-2014", modules.AttentionDropout, anydrop.attention_dropout, (3, 2, 5)),
        {"scaling": "inference", "shared_axes": (-1,)},
    ),
    Case("DropConnect", modules.DropConnect, anydrop.drop_connect),
    Case("DropConnect-examples", modules.DropConnect, anydrop.drop_connect, more=four),
]


def cases_where(*conditions: Callable[[Case], bool]) -> Any:
    """Give a test the cases that meet all conditions."""
    chosen = [case for case in CASES if all(meets(case) for meets in conditions)]
    return pytest.mark.parametrize("case", chosen, ids=str)


def numbers(case: Case) -> bool:
    """Tell whether its input holds numbers, which have gradients, and not tokens."""
    return not case.whole


def at_a_rate(case: Case) -> bool:
    """Tell whether it has a drop probability, and not a standard deviation."""
    return case.rate[1] == "p"


def takes_one(case: Case) -> bool:
    """Tell whether its p may be 1."""
    return case.takes_one
