"""`drop_block1d`, `drop_block2d`, `drop_block3d` and their layers: connected blocks."""

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

#: One length for all axes of a feature map, or one for each.
BlockSize: TypeAlias = int | Sequence[int]


def check_block_size(value: object, name: str = "block_size") -> int | tuple[int, ...]:
    """Return the length of a block, or its lengths."""
    if isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str):
        return tuple(check.positive(length, name) for length in check.integers(value, name))
    return check.positive(value, name)


def lengths_of(block_size: object, spatial: int) -> tuple[int, ...]:
    """Return the length of a block along each of `spatial` axes."""
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
            f"{owner} can't share axis {min(shared)}, along which blocks lie: only the axis of the "
            "batch and that of the channels can be shared"
        )
    if not call.training:
        return call.result(call.inferred())
    call.check_arrays()
    sizes = [1] * len(call.shape)
    for axis, length in zip(axes, lengths, strict=True):
        sizes[axis] = length
    # An element is kept if no block that covers it starts. There are prod(lengths) such starts, so
    # each has the probability gamma with 1 - (1 - gamma) ** prod(lengths) = p.
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
    """Drop connected blocks of sequences, in each channel independently.

    Neighbours in a feature map carry much the same information, so dropping single elements
    regularizes little. This function drops blocks of neighbours.

    Parameters
    ----------
    x : array of shape (batch, channels, length)
        Feature maps, of a dtype that `dropout` takes. `data_format` and `batched` change the shape.
    p : float, default 0.1
        Probability that an element is dropped, ``0 <= p < 1``. The paper increases it from 0 during
        training; see `anydrop.schedules.Linear`.
    block_size : int or sequence of int, default 7
        Length of a block, in elements: one for all axes of the feature map, or one for each.
    shared_axes : int or sequence of int, optional
        Axes along which the same blocks are dropped. Only those of the batch and of the channels
        may be shared: ``shared_axes=1`` drops the same blocks in all channels.

    Returns
    -------
    array, or tuple of array and BlockMask
        ``where(keep, x * scale, 0)``, with the shape, dtype, library and device of `x`. A dropped
        NaN or Inf becomes 0.

    See Also
    --------
    DropBlock1d : the layer.
    anydrop.torch.DropBlock1d : the PyTorch module.
    dropout1d : drops whole channels.

    Notes
    -----
    A block may start at any position from which it reaches into the feature map, also outside the
    map. So every element is covered by the blocks of ``size`` starts, where ``size`` is the number
    of elements of a block. A block starts at each of them with the probability ``1 - (1 - p) ** (1
    / size)``. Every element is then dropped with probability `p`, also at the edges.

    The paper differs in two ways. It starts blocks only inside the map, and uses an approximate
    probability. It also scales by the fraction of elements that happened to be kept, and this
    function scales by ``1 / (1 - p)``.

    The probability of a start is rounded to a multiple of 2**-32, so `p` is met to within
    ``size / 2**33``. With blocks of 49 elements, a `p` below 5e-9 drops nothing.

    References
    ----------
    .. [1] G. Ghiasi et al., "DropBlock: a regularization method for convolutional networks", 2018,
       https://arxiv.org/abs/1810.12890

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> x = np.ones((100, 10, 20))
    >>> y = anydrop.drop_block1d(x, 0.2, block_size=3, seed=0, step=0)
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
    """Drop connected blocks of images, in each channel independently.

    Neighbouring pixels carry much the same information, so dropping single ones regularizes little.
    This function drops rectangles of pixels.

    Parameters
    ----------
    x : array of shape (batch, channels, height, width)
        Feature maps, of a dtype that `dropout` takes. `data_format` and `batched` change the shape.

    See Also
    --------
    DropBlock2d : the layer.
    anydrop.torch.DropBlock2d : the PyTorch module.
    dropout2d : drops whole channels.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> x = np.ones((1, 1, 6, 8))
    >>> y = anydrop.drop_block2d(x, 0.3, block_size=3, seed=3, step=0)
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
    """Drop connected blocks of volumes, in each channel independently.

    Neighbouring voxels carry much the same information, so dropping single ones regularizes little.
    This function drops boxes of voxels.

    Parameters
    ----------
    x : array of shape (batch, channels, length, height, width)
        Feature maps, of a dtype that `dropout` takes. `data_format` and `batched` change the shape.

    See Also
    --------
    DropBlock3d : the layer.
    anydrop.torch.DropBlock3d : the PyTorch module.
    dropout3d : drops whole channels.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> x = np.ones((10, 10, 9, 9, 9))
    >>> y = anydrop.drop_block3d(x, 0.2, block_size=3, seed=0, step=0)
    >>> f"{(y == 0).mean():.1f}"
    '0.2'
    """
    layout = check_layout(data_format, batched)
    return _dropped(x, p, lengths_of(block_size, 3), layout, keywords)


class BlockLayer(SpatialLayer):
    """Base class of the layers that drop blocks."""

    #: Number of axes of a feature map.
    _spatial: ClassVar[int]

    block_size = Setting(check_block_size, "Length of a block, or its length along each axis.")

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
    """Drop connected blocks of sequences, in each channel independently.

    The layer of `drop_block1d`. Its input has the shape (batch, channels, length), unless
    `data_format` or `batched` says otherwise.

    See Also
    --------
    drop_block1d : the function.
    anydrop.torch.DropBlock1d : the PyTorch module.
    Dropout : has the methods of all layers.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> from anydrop.schedules import Linear
    >>> drop = anydrop.DropBlock1d(Linear(0.0, 0.1, steps=1000), block_size=3, seed=0)
    >>> drop(np.ones((2, 3, 8))).shape
    (2, 3, 8)
    >>> bool(drop.mask.all())  # at step 0 nothing is dropped yet
    True
    """

    _function = staticmethod(drop_block1d)
    _spatial = 1


@final
@described_by(drop_block2d, DropLayer)
class DropBlock2d(BlockLayer):
    """Drop connected blocks of images, in each channel independently.

    The layer of `drop_block2d`. Its input has the shape (batch, channels, height, width), unless
    `data_format` or `batched` says otherwise.

    See Also
    --------
    drop_block2d : the function.
    anydrop.torch.DropBlock2d : the PyTorch module.
    Dropout : has the methods of all layers.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> from anydrop.schedules import Linear
    >>> drop = anydrop.DropBlock2d(Linear(0.0, 0.1, steps=1000), block_size=3, seed=0)
    >>> drop(np.ones((2, 3, 8, 8))).shape
    (2, 3, 8, 8)
    >>> bool(drop.mask.all())  # at step 0 nothing is dropped yet
    True
    """

    _function = staticmethod(drop_block2d)
    _spatial = 2


@final
@described_by(drop_block3d, DropLayer)
class DropBlock3d(BlockLayer):
    """Drop connected blocks of volumes, in each channel independently.

    The layer of `drop_block3d`. Its input has the shape (batch, channels, length, height, width),
    unless `data_format` or `batched` says otherwise.

    See Also
    --------
    drop_block3d : the function.
    anydrop.torch.DropBlock3d : the PyTorch module.
    Dropout : has the methods of all layers.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> from anydrop.schedules import Linear
    >>> drop = anydrop.DropBlock3d(Linear(0.0, 0.1, steps=1000), block_size=3, seed=0)
    >>> drop(np.ones((2, 3, 8, 8, 8))).shape
    (2, 3, 8, 8, 8)
    >>> bool(drop.mask.all())  # at step 0 nothing is dropped yet
    True
    """

    _function = staticmethod(drop_block3d)
    _spatial = 3
