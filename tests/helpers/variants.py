"""The catalogue as tests of its mathematics see it: what shares a fate, and what becomes of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import anydrop
from anydrop import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = -1
SELU = -1.7580993408473766  # where SELU saturates


def plain(p):
    return 1 / (1 - p), -0.0, 0.0


def unscaled(p):
    return 1.0, -0.0, 0.0


def replaced(p):
    return 1.0, -0.0, float(TOKEN)


def alpha(p):
    a = 1 / math.sqrt((SELU**2 * p + 1) * (1 - p))
    return a, -a * SELU * p, a * SELU - a * SELU * p


class Variant(NamedTuple):
    """One way to call a function of the catalogue."""

    name: str
    #: Takes an array, p and the keywords that all functions take.
    function: Callable[..., Any]
    shape: tuple[int, ...]
    #: Axes along which the name says that all elements share one fate.
    shared: tuple[int, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012 - a tuple's default
    #: Scale, shift and fill for a p.
    affine: Callable[[float], tuple[float, float, float]] = plain
    #: Lengths of a block along each axis.
    sizes: tuple[int, ...] = ()

    def __call__(self, x: Any, p: float, **keywords: Any) -> Any:
        return self.function(x, p, **self.options, **keywords)

    def __str__(self) -> str:
        return self.name

    def example(self, dtype: Any = "f4") -> Any:
        """Return small whole numbers, none of them 0."""
        x = np.random.default_rng(0).integers(1, 9, self.shape).astype(dtype)
        if self.function is copies_of_weights:
            x[...] = x[:1]
        return x

    @property
    def fates(self) -> tuple[Any, ...]:
        """Index of one element for each fate, in an array whose last axes are those of `shape`."""
        return (..., *(0 if a in self.shared else slice(None) for a in range(len(self.shape))))


def zoneout_of_zeros(x, p, **keywords):
    return anydrop.zoneout(x, x * 0, p, **keywords)


def tokens(x, p, **keywords):
    xp = resolve(x).xp
    return anydrop.token_dropout(xp.astype(x, xp.int32), p, token=TOKEN, **keywords)


def copies_of_weights(x, p, **keywords):
    """Drop the connections of the first of x, a copy for each."""
    return anydrop.drop_connect(x[0, ...], p, examples=x.shape[0], **keywords)


def formats(function, shape, **keywords):
    """Yield a function of feature maps for a shape (batch, channels, ...) in every data format."""
    batch, channels, *positions = shape
    for first in (True, False):
        for batched in (True, False):
            examples = (batch,) * batched
            inner = (channels, *positions) if first else (*positions, channels)
            start = len(examples) + first
            shared = tuple(range(start, start + len(positions)))
            data_format = "channels_first" if first else "channels_last"
            name = f"{function.__name__}-{data_format}{'' if batched else '-unbatched'}"
            options = {"data_format": data_format, "batched": batched}
            yield Variant(name, function, (*examples, *inner), shared, options, **keywords)


BERNOULLI = [
    Variant("dropout", anydrop.dropout, (3, 4, 5)),
    Variant("dropout-shared", anydrop.dropout, (3, 4, 5), (1,), {"shared_axes": -2}),
    Variant(
        "dropout-noise_shape", anydrop.dropout, (3, 4, 5), (1,), {"noise_shape": (None, 1, None)}
    ),
    *formats(anydrop.dropout1d, (3, 4, 5)),
    *formats(anydrop.dropout2d, (3, 4, 2, 3)),
    *formats(anydrop.dropout3d, (3, 4, 2, 3, 2)),
    Variant("alpha_dropout", anydrop.alpha_dropout, (5, 7), affine=alpha),
    *formats(anydrop.feature_alpha_dropout, (3, 4, 2, 3), affine=alpha),
    Variant("feature_alpha_dropout-plain", anydrop.feature_alpha_dropout, (5, 7), affine=alpha),
    Variant("locked-batch_first", anydrop.locked_dropout, (3, 4, 5), (1,), {"time_axis": 1}),
    Variant("locked-time_first", anydrop.locked_dropout, (4, 3, 5), (0,), {"time_axis": 0}),
    Variant("locked-negative", anydrop.locked_dropout, (3, 5, 4), (2,), {"time_axis": -1}),
    Variant("zoneout", zoneout_of_zeros, (5, 7), affine=unscaled),
    Variant("embedding", anydrop.embedding_dropout, (31, 4), (1,)),
    Variant("token", tokens, (5, 7), affine=replaced),
    Variant("attention", anydrop.attention_dropout, (2, 3, 4, 5)),
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
    Variant("drop_connect", anydrop.drop_connect, (5, 7)),
    Variant("drop_connect-examples", copies_of_weights, (3, 4, 5)),
    Variant("stochastic_depth-row", anydrop.stochastic_depth, (31, 2, 3), (1, 2)),
    Variant(
        *("stochastic_depth-batch", anydrop.stochastic_depth, (5, 2, 3), (0, 1, 2)),
        {"mode": "batch"},
    ),
]

# One data format of each.
KINDS = [v for v in BERNOULLI if "channels_last" not in v.name and "unbatched" not in v.name]


def blocks(function, shape, lengths, name="", **options):
    """Return a function of blocks of those lengths along the last axes."""
    size = lengths[0] if len(set(lengths)) == 1 else lengths
    return Variant(
        f"{function.__name__}-{'x'.join(map(str, lengths))}{name}",
        function,
        shape,
        options={"block_size": size, **options},
        sizes=(*(1,) * (len(shape) - len(lengths)), *lengths),
    )


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
    Variant("gaussian_dropout", anydrop.gaussian_dropout, (5, 7)),
    Variant(
        "gaussian_dropout-shared", anydrop.gaussian_dropout, (3, 4, 5), (1,), {"shared_axes": 1}
    ),
    Variant("gaussian_noise", anydrop.gaussian_noise, (5, 7)),
    Variant("gaussian_noise-shared", anydrop.gaussian_noise, (3, 4, 5), (1,), {"shared_axes": 1}),
]
