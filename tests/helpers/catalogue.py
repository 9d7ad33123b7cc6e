"""The one table of variants, in the parts that tests ask for.

`VARIANTS` has each layer, with each option that changes what a call does: for what functions and
layers have in common. `BERNOULLI`, `BLOCKS` and `NORMAL` are by what is drawn, and return arrays of
the shape of their input: for the mathematics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import variants
from variants import Variant, blocks, formats

import anydrop

LOCKED = [
    Variant("locked-batch_first", anydrop.locked_dropout, (6, 4, 5), (1,), {"time_axis": 1}),
    Variant("locked-time_first", anydrop.locked_dropout, (4, 6, 5), (0,), {"time_axis": 0}),
]
ALPHA = Variant("alpha_dropout", anydrop.alpha_dropout, affine=variants.alpha)
EMBEDDING = Variant("embedding", anydrop.embedding_dropout, (30, 4), (1,))
ATTENTION = Variant("attention", anydrop.attention_dropout, (3, 2, 5, 5))
DROP_CONNECT = Variant("drop_connect", anydrop.drop_connect)
NOISE = [
    Variant("gaussian_dropout", anydrop.gaussian_dropout),
    Variant("gaussian_noise", anydrop.gaussian_noise, rate="std"),
]

VARIANTS = [
    Variant("dropout-plain", anydrop.dropout),
    Variant("dropout-last", anydrop.dropout, (6, 5), (1,), {"shared_axes": (-1,)}),
    Variant("dropout-noise_shape-last", anydrop.dropout, (6, 5), (1,), {"noise_shape": (None, 1)}),
    Variant("dropout1d", anydrop.dropout1d, (6, 5, 4), (2,)),
    Variant("dropout1d-unbatched", anydrop.dropout1d, (6, 5), (1,), {"batched": False}),
    Variant("dropout2d", anydrop.dropout2d, (6, 5, 4, 3), (2, 3)),
    Variant(
        *("dropout2d-channels_last", anydrop.dropout2d, (6, 5, 4, 3), (1, 2)),
        {"data_format": "channels_last"},
    ),
    Variant("dropout3d", anydrop.dropout3d, (6, 5, 4, 3, 2), (2, 3, 4)),
    ALPHA,
    Variant(
        *("feature_alpha_dropout", anydrop.feature_alpha_dropout, (6, 5, 4), (2,)),
        affine=variants.alpha,
    ),
    *NOISE,
    *LOCKED,
    Variant("zoneout-of_the_opposite", anydrop.zoneout, inputs=variants.opposite),
    EMBEDDING,
    Variant(
        *("token-protected", anydrop.token_dropout, (6, 9)),
        options={"token": 3, "protected": (17, 42)},
    ),
    ATTENTION,
    Variant(
        *("attention-shared", anydrop.attention_dropout, (3, 2, 5, 5), (0, 1)),
        {"share_heads": True, "share_batch": True},
    ),
    DROP_CONNECT,
    Variant("drop_connect-4", anydrop.drop_connect, inputs=lambda x: {"examples": 4}),
    Variant("dropout_add-to_nothing", anydrop.dropout_add, inputs=variants.nothing),
    Variant("dropout_add-with_a_bias", anydrop.dropout_add, inputs=variants.nothing_twice),
    Variant("depth-row", anydrop.stochastic_depth, (40, 3), (1,)),
    Variant("depth-batch", anydrop.stochastic_depth, (40, 3), (0, 1), {"mode": "batch"}),
    blocks(anydrop.drop_block1d, (6, 5, 9), (3,)),
    blocks(anydrop.drop_block2d, (2, 3, 8, 9), (3, 2)),
    blocks(anydrop.drop_block3d, (2, 3, 4, 5, 4), (2, 2, 2)),
]

BERNOULLI = [
    Variant("dropout", anydrop.dropout, (3, 4, 5)),
    Variant("dropout-shared", anydrop.dropout, (3, 4, 5), (1,), {"shared_axes": -2}),
    Variant(
        "dropout-noise_shape", anydrop.dropout, (3, 4, 5), (1,), {"noise_shape": (None, 1, None)}
    ),
    *formats(anydrop.dropout1d, (3, 4, 5)),
    *formats(anydrop.dropout2d, (3, 4, 2, 3)),
    *formats(anydrop.dropout3d, (3, 4, 2, 3, 2)),
    ALPHA,
    *formats(anydrop.feature_alpha_dropout, (3, 4, 2, 3), affine=variants.alpha),
    Variant(
        *("feature_alpha_dropout-plain", anydrop.feature_alpha_dropout, (5, 7)),
        affine=variants.alpha,
    ),
    *LOCKED,
    Variant("locked-negative", anydrop.locked_dropout, (3, 5, 4), (2,), {"time_axis": -1}),
    Variant(
        *("zoneout", anydrop.zoneout, (5, 7)),
        affine=variants.unscaled,
        inputs=variants.zeros,
    ),
    EMBEDDING,
    Variant(
        *("token", anydrop.token_dropout, (5, 7)),
        options={"token": variants.TOKEN},
        affine=variants.replaced,
        first=variants.integers,
    ),
    ATTENTION,
    Variant(
        "attention-heads", anydrop.attention_dropout, (2, 3, 4, 5), (1,), {"share_heads": True}
    ),
    Variant(
        "attention-batch", anydrop.attention_dropout, (2, 3, 4, 5), (0,), {"share_batch": True}
    ),
    Variant(
        *("attention-both", anydrop.attention_dropout, (2, 2, 3, 4, 5), (0, 1, 2)),
        {"share_heads": True, "share_batch": True},
    ),
    DROP_CONNECT,
    Variant(
        *("drop_connect-examples", anydrop.drop_connect, (3, 4, 5)),
        first=variants.first_of_all,
        inputs=variants.number_of_copies,
    ),
    Variant("dropout_add", anydrop.dropout_add, (5, 7), inputs=variants.nothing),
    Variant("dropout_add-bias", anydrop.dropout_add, (3, 4, 5), inputs=variants.nothing_twice),
    Variant("stochastic_depth-row", anydrop.stochastic_depth, (31, 2, 3), (1, 2)),
    Variant(
        *("stochastic_depth-batch", anydrop.stochastic_depth, (5, 2, 3), (0, 1, 2)),
        {"mode": "batch"},
    ),
]

BLOCKS = [
    blocks(anydrop.drop_block1d, (2, 3, 9), (1,)),
    blocks(anydrop.drop_block1d, (2, 3, 9), (4,)),
    blocks(anydrop.drop_block1d, (2, 3, 5), (8,), "-larger_than_the_map"),
    blocks(anydrop.drop_block2d, (2, 2, 6, 7), (3, 3)),
    blocks(anydrop.drop_block2d, (2, 2, 6, 7), (2, 5)),
    blocks(anydrop.drop_block2d, (3, 6, 7), (3, 3), "-unbatched", batched=False),
    blocks(anydrop.drop_block3d, (2, 2, 3, 4, 5), (2, 2, 2)),
    blocks(anydrop.drop_block3d, (2, 1, 3, 4, 5), (1, 2, 3)),
    Variant(
        *("drop_block1d-channels_last", anydrop.drop_block1d, (2, 9, 3), ()),
        {"block_size": 3, "data_format": "channels_last"},
        sizes=(1, 3, 1),
    ),
    Variant(
        *("drop_block2d-channels_last", anydrop.drop_block2d, (2, 6, 7, 3), ()),
        {"block_size": (2, 3), "data_format": "channels_last"},
        sizes=(1, 2, 3, 1),
    ),
    Variant(
        *("drop_block2d-all_channels", anydrop.drop_block2d, (2, 3, 6, 7), (1,)),
        {"block_size": 3, "shared_axes": 1},
        sizes=(1, 1, 3, 3),
    ),
]

NORMAL = [
    *NOISE,
    Variant(
        "gaussian_dropout-shared", anydrop.gaussian_dropout, (3, 4, 5), (1,), {"shared_axes": 1}
    ),
    Variant(
        *("gaussian_noise-shared", anydrop.gaussian_noise, (3, 4, 5), (1,), {"shared_axes": 1}),
        rate="std",
    ),
]

# One data format of each.
KINDS = [v for v in BERNOULLI if "channels_last" not in v.name and "unbatched" not in v.name]


def variants_where(*conditions: Callable[[Variant], bool]) -> Any:
    """Give a test those of `VARIANTS` that meet all conditions."""
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
