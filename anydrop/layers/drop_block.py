"""`drop_block1d`, `drop_block2d`, `drop_block3d` and their layers: connected regions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias, Unpack, final

import numpy as np

from anydrop.core import check
from anydrop.core.docstrings import described_by
from anydrop.core.setting import Setting
from anydrop.core.typing import Array
from anydrop.layers.call import Call, Keywords
from anydrop.layers.drop_layer import DropKeywords, DropLayer
from anydrop.layers.dropout import dropout
from anydrop.layers.spatial import DataFormat, SpatialLayer, check_layout, dropout1d, positions
from anydrop.masks.blocks import BlockMask
from anydrop.schedules import Rate

#: Along all axes of a feature map, or along each.
BlockSize: TypeAlias = int | Sequence[int]


def check_block_size(value: object, name: str = "block_size") -> int | tuple[int, ...]:
    """Return the lengths of a block."""
    if isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str):
        return tuple(check.positive(length, name) for length in check.integers(value, name))
    return check.positive(value, name)


def lengths_of(block_size: object, spatial: int) -> tuple[int, ...]:
    """Return the length of a block along each of so many axes."""
    lengths = check_block_size(block_size)
    lengths = (lengths,) * spatial if isinstance(lengths, int) else lengths
    if len(lengths) != spatial:
        raise ValueError(f"block_size must be one length, or {spatial} of them, got {lengths}")
    return lengths


def _dropped(
    x: Array,
    p: float,
    lengths: tuple[int, ...],
    layout: tuple[DataFormat, bool],
    keywords: Keywords,
) -> Any:
    owner = f"drop_block{len(lengths)}d"
    call = Call(x, p, **keywords)
    axes = positions(len(call.shape), len(lengths), *layout, owner)
    if shared := set(axes).intersection(call.shared_axes):
        raise ValueError(
            f"{owner} can't share axis {min(shared)}, along which blocks lie; a channel or a batch "
            "may be shared"
        )
    if not call.training:
        return call.result(call.inferred())
    call.check_arrays()
    sizes = [1] * len(call.shape)
    for axis, length in zip(axes, lengths, strict=True):
        sizes[axis] = length
    # An element survives if none of the places does where a block that covers it may begin: so
    # many places of a probability of their own make the p that was asked for.
    gamma = 1.0 - (1.0 - call.p) ** (1.0 / math.prod(lengths))
    seeds = call.mask(1.0, p=gamma, enlarged_by=tuple(size - 1 for size in sizes))
    scale = 1.0 / (1.0 - call.p) if call.scaling == "train" else 1.0
    mask = BlockMask(seeds, call.shape, scale, tuple(sizes))
    return call.result(mask.apply(call.x, out=call.out), mask)


@described_by(dropout1d, dropout)
def drop_block1d(
    x: Array,
    p: float = 0.1,
    block_size: BlockSize = 7,
    *,
    data_format: DataFormat = "channels_first",
    batched: bool = True,
    **keywords: Unpack[Keywords],
) -> Any:
    """Drop connected blocks of sequences, each channel's by themselves.

    Parameters
    ----------
    x : array of shape (batch, channels, length), or as `data_format` and `batched` say
        Of a dtype that `dropout` takes, of any library.
    p : float, default 0.1
        Probability that an element is dropped, ``0 <= p < 1``. The paper lets it grow from 0; see
        `anydrop.schedules.Linear`.
    block_size : int or sequence of int, default 7
        Length of a block along each axis of the feature map, in elements.
    shared_axes : int or sequence of int, optional
        The batch's and the channels' axes may be shared: ``shared_axes=1`` drops the same blocks in
        all channels.

    Returns
    -------
    array, or tuple of array and BlockMask
        ``where(keep, x * scale, 0)``, with the shape, dtype, library and device of `x`. A dropped
        NaN or Inf is 0.

    See Also
    --------
    DropBlock1d : the layer.

    Notes
    -----
    Blocks may begin at any place from which they reach into the map, also outside of it. Each
    element is covered by as many places as any other, each with the probability
    ``1 - (1 - p) ** (1 / size)`` for blocks of ``size`` elements. So the probability that an
    element is dropped is `p` everywhere, at the edges too. The paper begins blocks inside alone,
    with an approximate probability. It also scales by the share that a batch happened to keep,
    where this function scales by ``1 / (1 - p)``.

    That probability is what is rounded to a multiple of 2**-32 here, so `p` is met to within
    ``size / 2**33``: of blocks of 49 elements, no `p` below 5e-9 drops any.

    References
    ----------
    .. [1] G. Ghiasi et al., "DropBlock: a regularization method for convolutional networks", 2018,
       https://arxiv.org/abs/1810.12890

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> y = anydrop.drop_block1d(np.ones((100, 10, 20)), 0.2, block_size=3, seed=0, step=0)
    >>> f"{(y == 0).mean():.1f}"
    '0.2'
    """
    layout = check_layout(data_format, batched)
    return _dropped(x, p, lengths_of(block_size, 1), layout, keywords)


@described_by(drop_block1d, dropout)
def drop_block2d(
    x: Array,
    p: float = 0.1,
    block_size: BlockSize = 7,
    *,
    data_format: DataFormat = "channels_first",
    batched: bool = True,
    **keywords: Unpack[Keywords],
) -> Any:
    """Drop connected blocks of images, each channel's by themselves.

    Parameters
    ----------
    x : array of shape (batch, channels, height, width), or as `data_format` and `batched` say
        Of a dtype that `dropout` takes, of any library.

    See Also
    --------
    DropBlock2d : the layer.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> y = anydrop.drop_block2d(np.ones((1, 1, 6, 8)), 0.3, block_size=3, seed=3, step=0)
    >>> (y[0, 0] != 0).astype(int)
    array([[1, 1, 1, 1, 1, 1, 1, 1],
           [1, 1, 1, 1, 1, 1, 1, 1],
           [1, 1, 1, 1, 1, 1, 1, 1],
           [1, 1, 1, 1, 1, 0, 0, 0],
           [1, 1, 1, 1, 1, 0, 0, 0],
           [1, 1, 1, 1, 1, 0, 0, 0]])
    """
    layout = check_layout(data_format, batched)
    return _dropped(x, p, lengths_of(block_size, 2), layout, keywords)


@described_by(drop_block1d, dropout)
def drop_block3d(
    x: Array,
    p: float = 0.1,
    block_size: BlockSize = 7,
    *,
    data_format: DataFormat = "channels_first",
    batched: bool = True,
    **keywords: Unpack[Keywords],
) -> Any:
    """Drop connected blocks of volumes, each channel's by themselves.

    Parameters
    ----------
    x : array of shape (batch, channels, length, height, width), or as `data_format` says
        Of a dtype that `dropout` takes, of any library.

    See Also
    --------
    DropBlock3d : the layer.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> y = anydrop.drop_block3d(np.ones((10, 10, 9, 9, 9)), 0.2, block_size=3, seed=0, step=0)
    >>> f"{(y == 0).mean():.1f}"
    '0.2'
    """
    layout = check_layout(data_format, batched)
    return _dropped(x, p, lengths_of(block_size, 3), layout, keywords)


class BlockLayer(SpatialLayer):
    """A layer that drops blocks."""

    #: How many axes a feature map has.
    _spatial: ClassVar[int]

    block_size = Setting(check_block_size, "Length of a block along each axis of the feature map.")

    def __init__(
        self,
        p: Rate = 0.1,
        block_size: BlockSize = 7,
        *,
        data_format: DataFormat = "channels_first",
        batched: bool = True,
        **keywords: Unpack[DropKeywords],
    ) -> None:
        super().__init__(
            p, data_format=data_format, batched=batched, block_size=block_size, **keywords
        )

    @classmethod
    def _check_settings(cls, settings: dict[str, Any]) -> dict[str, Any]:
        lengths_of(settings["block_size"], cls._spatial)
        return super()._check_settings(settings)


@final
@described_by(drop_block1d, DropLayer)
class DropBlock1d(BlockLayer):
    """Drop blocks of sequences, (batch, channels, length); see `drop_block1d`.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.DropBlock1d(0.1, block_size=3, seed=0)
    >>> drop(np.ones((2, 3, 8))).shape
    (2, 3, 8)
    """

    _function = staticmethod(drop_block1d)
    _spatial = 1


@final
@described_by(drop_block2d, DropLayer)
class DropBlock2d(BlockLayer):
    """Drop blocks of images, (batch, channels, height, width); see `drop_block2d`.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.DropBlock2d(0.1, block_size=3, seed=0)
    >>> drop(np.ones((2, 3, 8, 8))).shape
    (2, 3, 8, 8)
    """

    _function = staticmethod(drop_block2d)
    _spatial = 2


@final
@described_by(drop_block3d, DropLayer)
class DropBlock3d(BlockLayer):
    """Drop blocks of volumes, (batch, channels, length, height, width); see `drop_block3d`.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.DropBlock3d(0.1, block_size=3, seed=0)
    >>> drop(np.ones((2, 3, 8, 8, 8))).shape
    (2, 3, 8, 8, 8)
    """

    _function = staticmethod(drop_block3d)
    _spatial = 3
