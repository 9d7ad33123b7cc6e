"""Every variant of the catalogue: its function, its layer, and an input for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import anydrop


class Variant(NamedTuple):
    """A function and the layer around it.

    `shape` is that of an input, `options` what both take, and `inputs` what a call takes more.
    """

    function: Callable[..., Any]
    layer: type[anydrop.Layer]
    shape: tuple[int, ...] = (6, 5)
    options: dict[str, Any] = {}  # noqa: RUF012 (nobody writes to it)
    inputs: Callable[[Any], dict[str, Any]] = lambda x: {}
    rate: str = "p"
    whole: bool = False  # whether its input holds integers

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
    return {"previous": -x}


VARIANTS = [
    Variant(anydrop.dropout, anydrop.Dropout),
    Variant(anydrop.dropout, anydrop.Dropout, options={"shared_axes": (-1,)}),
    Variant(anydrop.dropout, anydrop.Dropout, options={"noise_shape": (None, 1)}),
    Variant(anydrop.dropout1d, anydrop.Dropout1d, (6, 5, 4)),
    Variant(anydrop.dropout1d, anydrop.Dropout1d, (6, 5), {"batched": False}),
    Variant(anydrop.dropout2d, anydrop.Dropout2d, (6, 5, 4, 3)),
    Variant(anydrop.dropout2d, anydrop.Dropout2d, (6, 5, 4, 3), {"data_format": "channels_last"}),
    Variant(anydrop.dropout3d, anydrop.Dropout3d, (6, 5, 4, 3, 2)),
    Variant(anydrop.alpha_dropout, anydrop.AlphaDropout),
    Variant(anydrop.feature_alpha_dropout, anydrop.FeatureAlphaDropout, (6, 5, 4)),
    Variant(anydrop.gaussian_dropout, anydrop.GaussianDropout),
    Variant(anydrop.gaussian_noise, anydrop.GaussianNoise, rate="std"),
    Variant(anydrop.locked_dropout, anydrop.LockedDropout, (6, 4, 5), {"time_axis": 1}),
    Variant(anydrop.locked_dropout, anydrop.LockedDropout, (4, 6, 5), {"time_axis": 0}),
    Variant(anydrop.zoneout, anydrop.Zoneout, inputs=previous),
    Variant(anydrop.embedding_dropout, anydrop.EmbeddingDropout, (30, 4)),
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
    ),
    Variant(anydrop.drop_connect, anydrop.DropConnect),
    Variant(anydrop.drop_connect, anydrop.DropConnect, inputs=lambda x: {"examples": 4}),
    Variant(anydrop.stochastic_depth, anydrop.StochasticDepth, (40, 3)),
    Variant(anydrop.stochastic_depth, anydrop.StochasticDepth, (40, 3), {"mode": "batch"}),
    Variant(anydrop.drop_block1d, anydrop.DropBlock1d, (6, 5, 9), {"block_size": 3}),
    Variant(anydrop.drop_block2d, anydrop.DropBlock2d, (2, 3, 8, 9), {"block_size": (3, 2)}),
    Variant(anydrop.drop_block3d, anydrop.DropBlock3d, (2, 3, 4, 5, 4), {"block_size": 2}),
]
