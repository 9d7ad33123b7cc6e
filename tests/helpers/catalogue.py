"""Every variant of the catalogue: its function, its layer, and an input for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import anydrop


class Variant(NamedTuple):
    """A function and the layer around it.

    `shape` is that of an input, `options` what both take, and `inputs` what a call takes more.
    `shared` are the axes along which a mask has length 1, and `sizes` the lengths of blocks along
    the last axes.
    """

    function: Callable[..., Any]
    layer: type[anydrop.Layer]
    shape: tuple[int, ...] = (6, 5)
    options: dict[str, Any] = {}  # noqa: RUF012 (nobody writes to it)
    inputs: Callable[[Any], dict[str, Any]] = lambda x: {}
    rate: str = "p"
    whole: bool = False  # whether its input holds integers
    shared: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()

    def __str__(self) -> str:
        return "-".join([self.layer.__name__, *map(str, self.options.values())])

    def input(self, dtype: str = "f4") -> np.ndarray:
        """Return an input of random numbers, none of them 0."""
        rng = np.random.default_rng(0)
        if self.whole:
            return rng.integers(10, 100, self.shape)
        return (1 + rng.random(self.shape)).astype(dtype)

    def make(self, rate: float = 0.4, **keywords: Any) -> Any:
        """Return a layer."""
        return self.layer(**{self.rate: rate}, **self.options, **{"seed": 0, **keywords})

    def call(self, x: Any, rate: float = 0.4, **keywords: Any) -> Any:
        """Call the function."""
        given = {self.rate: rate, **self.options, **self.inputs(x), **keywords}
        return self.function(x, **given)

    def run(self, layer: Any, x: Any, **keywords: Any) -> Any:
        """Call a layer with all the inputs that it wants."""
        return layer(x, **self.inputs(x), **keywords)


def previous(x: Any) -> dict[str, Any]:
    return {"previous": None if x is None else -x}


VARIANTS = [
    Variant(anydrop.dropout, anydrop.Dropout),
    Variant(anydrop.dropout, anydrop.Dropout, options={"shared_axes": (-1,)}, shared=(1,)),
    Variant(anydrop.dropout, anydrop.Dropout, options={"noise_shape": (None, 1)}, shared=(1,)),
    Variant(anydrop.dropout1d, anydrop.Dropout1d, (6, 5, 4), shared=(2,)),
    Variant(anydrop.dropout1d, anydrop.Dropout1d, (6, 5), {"batched": False}, shared=(1,)),
    Variant(anydrop.dropout2d, anydrop.Dropout2d, (6, 5, 4, 3), shared=(2, 3)),
    Variant(
        anydrop.dropout2d,
        anydrop.Dropout2d,
        (6, 5, 4, 3),
        {"data_format": "channels_last"},
        shared=(1, 2),
    ),
    Variant(anydrop.dropout3d, anydrop.Dropout3d, (6, 5, 4, 3, 2), shared=(2, 3, 4)),
    Variant(anydrop.alpha_dropout, anydrop.AlphaDropout),
    Variant(anydrop.feature_alpha_dropout, anydrop.FeatureAlphaDropout, (6, 5, 4), shared=(2,)),
    Variant(anydrop.gaussian_dropout, anydrop.GaussianDropout),
    Variant(anydrop.gaussian_noise, anydrop.GaussianNoise, rate="std"),
    Variant(
        anydrop.locked_dropout, anydrop.LockedDropout, (6, 4, 5), {"time_axis": 1}, shared=(1,)
    ),
    Variant(
        anydrop.locked_dropout, anydrop.LockedDropout, (4, 6, 5), {"time_axis": 0}, shared=(0,)
    ),
    Variant(anydrop.zoneout, anydrop.Zoneout, inputs=previous),
    Variant(anydrop.embedding_dropout, anydrop.EmbeddingDropout, (30, 4), shared=(1,)),
    Variant(
        anydrop.token_dropout,
        anydrop.TokenDropout,
        (6, 9),
        {"token": 3, "protected": (17, 42)},
        whole=True,
    ),
    Variant(anydrop.attention_dropout, anydrop.AttentionDropout, (3, 2, 5, 5)),
    Variant(
        anydrop.attention_dropout,
        anydrop.AttentionDropout,
        (3, 2, 5, 5),
        {"share_heads": True, "share_batch": True},
        shared=(0, 1),
    ),
    Variant(anydrop.drop_connect, anydrop.DropConnect),
    Variant(anydrop.drop_connect, anydrop.DropConnect, inputs=lambda x: {"examples": 4}),
    Variant(anydrop.stochastic_depth, anydrop.StochasticDepth, (40, 3), shared=(1,)),
    Variant(
        anydrop.stochastic_depth, anydrop.StochasticDepth, (40, 3), {"mode": "batch"}, shared=(0, 1)
    ),
    Variant(anydrop.drop_block1d, anydrop.DropBlock1d, (6, 5, 9), {"block_size": 3}, sizes=(3,)),
    Variant(
        anydrop.drop_block2d,
        anydrop.DropBlock2d,
        (2, 3, 8, 9),
        {"block_size": (3, 2)},
        sizes=(3, 2),
    ),
    Variant(
        anydrop.drop_block3d,
        anydrop.DropBlock3d,
        (2, 3, 4, 5, 4),
        {"block_size": 2},
        sizes=(2, 2, 2),
    ),
]


def variants(*conditions: Callable[[Variant], bool]) -> Any:
    """Give a test the variants that meet all conditions."""
    chosen = [v for v in VARIANTS if all(meets(v) for meets in conditions)]
    return pytest.mark.parametrize("variant", chosen, ids=str)


def numbers(variant: Variant) -> bool:
    """Tell whether its input holds numbers, which have gradients, and not tokens."""
    return not variant.whole


def at_a_rate(variant: Variant) -> bool:
    """Tell whether it has a drop probability, and not a standard deviation."""
    return variant.rate == "p"


def from_any_source(variant: Variant) -> bool:
    """Tell whether it draws a mask, which a generator can do as well; noise is from a seed."""
    return variant.layer not in (anydrop.GaussianDropout, anydrop.GaussianNoise)
