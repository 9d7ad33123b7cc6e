"""`drop_block1d`, `drop_block2d`, `drop_block3d` and their layers: connected regions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias, Unpack, final

import numpy as np

from anydrop.core import check
from anydrop.core.keywords import keywords_of
from anydrop.core.typing import Array
from anydrop.layers.call import Call, Keywords
from anydrop.layers.drop_layer import DropKeywords
from anydrop.layers.dropout import Dropout, dropout
from anydrop.layers.setting import Setting
from anydrop.layers.spatial import DataFormat, SpatialLayer, check_data_format, positions
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
    block_size: object,
    spatial: int,
    data_format: object,
    batched: object,
    keywords: Keywords,
) -> Any:
    owner = f"drop_block{spatial}d"
    call = Call(x, p, **keywords)
    own = check_data_format(data_format), check.flag(batched, "batched")
    axes = positions(len(call.shape), spatial, *own, owner)
    lengths = lengths_of(block_size, spatial)
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


@keywords_of(dropout)
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
    x : array of shape (batch, channels, length), or as the next two say
        Of a dtype that `dropout` takes, of any library.
    p : float, default 0.1
        Probability that an element is dropped, ``0 <= p < 1``.
    block_size : int or sequence of int, default 7
        Length of a block along each axis of the feature map, in elements.
    data_format, batched
        As for `drop_block2d`.
    **keywords
        As for `dropout`.

    Returns
    -------
    array, or tuple of array and BlockMask
        As `dropout` does.

    Raises
    ------
    TypeError, ValueError
        As `dropout` does; also if `x` has another number of dimensions.

    See Also
    --------
    DropBlock1d : the layer.
    drop_block2d : has the reference and the probabilities.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> y = anydrop.drop_block1d(np.ones((100, 10, 20)), 0.2, block_size=3, seed=0)
    >>> f"{(y == 0).mean():.1f}"
    '0.2'
    """
    return _dropped(x, p, block_size, 1, data_format, batched, keywords)


@keywords_of(dropout)
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
    x : array of shape (batch, channels, height, width), or as the next two say
        Of a dtype that `dropout` takes, of any library.
    p : float, default 0.1
        Probability that an element is dropped, ``0 <= p < 1``.
    block_size : int or sequence of int, default 7
        Length of a block along each axis of the feature map, in elements.
    data_format, batched
        As for `dropout1d`.
    shared_axes : int or sequence of int, optional
        The batch's and the channels' axes may be shared: ``shared_axes=1`` drops the same blocks in
        all channels.
    **keywords
        As for `dropout`.

    Returns
    -------
    array, or tuple of array and BlockMask
        As `dropout` does.

    Raises
    ------
    TypeError, ValueError
        As `dropout` does; also if `x` has another number of dimensions.

    See Also
    --------
    DropBlock2d : the layer.

    Notes
    -----
    Blocks may begin at any place from which they reach into the map, also outside of it. Each
    element is covered by as many places as any other, each with the probability
    ``1 - (1 - p) ** (1 / size)`` for blocks of `size` elements. So the probability that an element
    is dropped is `p` everywhere, at the edges too. The paper begins blocks inside alone, with an
    approximate probability. It also scales by the share that a batch happened to keep, where this
    function scales by ``1 / (1 - p)``.

    That probability is what is rounded to a multiple of 2**-32 here, so `p` is met to within
    ``size / 2**33``: of blocks of 49 elements, no `p` below 5e-9 drops any.

    References
    ----------
    .. [1] G. Ghiasi et al., "DropBlock: a regularization method for convolutional networks", 2018,
       https://arxiv.org/abs/1810.12890

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> y = anydrop.drop_block2d(np.ones((1, 1, 6, 8)), 0.3, block_size=3, seed=3)
    >>> (y[0, 0] != 0).astype(int)
    array([[1, 1, 1, 1, 1, 1, 1, 1],
           [1, 1, 1, 1, 1, 1, 1, 1],
           [1, 1, 1, 1, 1, 1, 1, 1],
           [1, 1, 1, 1, 1, 0, 0, 0],
           [1, 1, 1, 1, 1, 0, 0, 0],
           [1, 1, 1, 1, 1, 0, 0, 0]])
    """
    return _dropped(x, p, block_size, 2, data_format, batched, keywords)


@keywords_of(dropout)
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
    x : array of shape (batch, channels, length, height, width), or as the next two say
        Of a dtype that `dropout` takes, of any library.
    p : float, default 0.1
        Probability that an element is dropped, ``0 <= p < 1``.
    block_size : int or sequence of int, default 7
        Length of a block along each axis of the feature map, in elements.
    data_format, batched
        As for `drop_block2d`.
    **keywords
        As for `dropout`.

    Returns
    -------
    array, or tuple of array and BlockMask
        As `dropout` does.

    Raises
    ------
    TypeError, ValueError
        As `dropout` does; also if `x` has another number of dimensions.

    See Also
    --------
    DropBlock3d : the layer.
    drop_block2d : has the reference and the probabilities.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> y = anydrop.drop_block3d(np.ones((10, 10, 9, 9, 9)), 0.2, block_size=3, seed=0)
    >>> f"{(y == 0).mean():.1f}"
    '0.2'
    """
    return _dropped(x, p, block_size, 3, data_format, batched, keywords)


class BlockLayer(SpatialLayer):
    """A layer that drops blocks.

    Parameters
    ----------
    p : float or Schedule
        Drop probability.
    block_size : int or sequence of int
        Length of a block along each axis of the feature map.
    **keywords
        As for `SpatialLayer`.
    """

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
@keywords_of(Dropout)
class DropBlock1d(BlockLayer):
    """Drop connected blocks of sequences; see `drop_block1d`.

    Parameters
    ----------
    p : float or Schedule, default 0.1
        Probability that an element is dropped, ``0 <= p < 1``. The paper lets it grow from 0; see
        `anydrop.schedules.Linear`.
    block_size : int or sequence of int, default 7
        Length of a block along each axis of the feature map, in elements.
    data_format : {"channels_first", "channels_last"}
        Where the channels' axis is.
    batched : bool, default True
        False says that inputs are one example, without a batch's axis.
    **keywords
        As for `Dropout`.

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
@keywords_of(Dropout)
class DropBlock2d(BlockLayer):
    """Drop connected blocks of images; see `drop_block2d`.

    Parameters
    ----------
    p : float or Schedule, default 0.1
        Probability that an element is dropped, ``0 <= p < 1``. The paper lets it grow from 0; see
        `anydrop.schedules.Linear`.
    block_size : int or sequence of int, default 7
        Length of a block along each axis of the feature map, in elements.
    data_format : {"channels_first", "channels_last"}
        Where the channels' axis is.
    batched : bool, default True
        False says that inputs are one example, without a batch's axis.
    **keywords
        As for `Dropout`.

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
@keywords_of(Dropout)
class DropBlock3d(BlockLayer):
    """Drop connected blocks of volumes; see `drop_block3d`.

    Parameters
    ----------
    p : float or Schedule, default 0.1
        Probability that an element is dropped, ``0 <= p < 1``. The paper lets it grow from 0; see
        `anydrop.schedules.Linear`.
    block_size : int or sequence of int, default 7
        Length of a block along each axis of the feature map, in elements.
    data_format : {"channels_first", "channels_last"}
        Where the channels' axis is.
    batched : bool, default True
        False says that inputs are one example, without a batch's axis.
    **keywords
        As for `Dropout`.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.DropBlock3d(0.1, block_size=3, seed=0)
    >>> drop(np.ones((2, 3, 8, 8, 8))).shape
    (2, 3, 8, 8, 8)
    """

    _function = staticmethod(drop_block3d)
    _spatial = 3
