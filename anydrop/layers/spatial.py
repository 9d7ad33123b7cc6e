"""`dropout1d`, `dropout2d`, `dropout3d` and their layers: whole channels."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, Unpack, final

from anydrop.core import check
from anydrop.core.docstrings import described_by
from anydrop.core.setting import Setting
from anydrop.core.typing import Array
from anydrop.layers.call import Keywords, Rule, drop
from anydrop.layers.drop_layer import DropLayer
from anydrop.layers.dropout import dropout
from anydrop.schedules import Rate

DataFormat: TypeAlias = Literal["channels_first", "channels_last"]


def check_data_format(value: object, name: str = "data_format") -> DataFormat:
    """Return the order of the axes."""
    known: DataFormat = check.choice(value, name, ("channels_first", "channels_last"))
    return known


def check_layout(data_format: object, batched: object) -> tuple[DataFormat, bool]:
    """Return the order of the axes, and whether the first one is the batch."""
    return check_data_format(data_format), check.flag(batched, "batched")


def positions(
    ndim: int, spatial: int, data_format: DataFormat, batched: bool, owner: str
) -> tuple[int, ...]:
    """Return the `spatial` axes of a feature map that are its positions.

    The error for an array with another number of axes names `owner`.
    """
    first, examples = data_format == "channels_first", int(batched)
    if ndim != examples + 1 + spatial:
        places = ["length"] * (spatial != 2) + ["height", "width"] * (spatial > 1)
        names = ["batch"][:examples] + places
        names.insert(examples if first else len(names), "channels")
        way_out = (
            "for one example without a batch's axis say batched=False"
            if examples
            else "for a batch leave batched=False out"
        )
        raise ValueError(
            f"{owner} needs an array of {len(names)} dimensions, ({', '.join(names)}), got {ndim}; "
            f"{way_out}"
        )
    start = examples + int(first)
    return tuple(range(start, start + spatial))


def _rule(spatial: int) -> Rule:
    def shared(shape: tuple[int, ...], data_format: DataFormat, batched: bool) -> tuple[int, ...]:
        return positions(len(shape), spatial, data_format, batched, f"dropout{spatial}d")

    return Rule(shared, ("data_format", "batched"))


RULES = {spatial: _rule(spatial) for spatial in (1, 2, 3)}


@described_by(dropout)
def dropout1d(
    x: Array,
    p: float = 0.5,
    *,
    data_format: DataFormat = "channels_first",
    batched: bool = True,
    **keywords: Unpack[Keywords],
) -> Any:
    """Drop whole channels of sequences.

    Neighbours in a feature map carry much the same information, so dropping single elements
    regularizes little. This function drops all positions of a channel together.

    Parameters
    ----------
    x : array of shape (batch, channels, length)
        Feature maps, of a dtype that `dropout` takes. `data_format` and `batched` change the shape.
    p : float, default 0.5
        Probability that a channel of an example is dropped, ``0 <= p < 1``.
    data_format : {"channels_first", "channels_last"}
        Order of the axes: (batch, channels, ...), the default, or (batch, ..., channels).
    batched : bool, default True
        Whether the first axis is the batch. False means that `x` is a single example, without that
        axis. This is never guessed.
    shared_axes : int or sequence of int, optional
        Axes along which channels are dropped together: 0 drops the same channels in all examples.
        Negative axes count from the end.

    See Also
    --------
    Dropout1d : the layer.
    anydrop.torch.Dropout1d : the PyTorch module.
    drop_block1d : drops parts of channels.

    References
    ----------
    .. [1] J. Tompson et al., "Efficient object localization using convolutional networks", 2014,
       https://arxiv.org/abs/1411.4280

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> anydrop.dropout1d(np.ones((1, 4, 3)), 0.5, seed=0, step=0)[0]
    array([[0., 0., 0.],
           [2., 2., 2.],
           [2., 2., 2.],
           [2., 2., 2.]])
    """
    return drop(RULES[1], x, p, check_layout(data_format, batched), **keywords)


@described_by(dropout1d, dropout)
def dropout2d(
    x: Array,
    p: float = 0.5,
    *,
    data_format: DataFormat = "channels_first",
    batched: bool = True,
    **keywords: Unpack[Keywords],
) -> Any:
    """Drop whole channels of images.

    Neighbouring pixels carry much the same information, so dropping single ones regularizes little.
    This function drops all pixels of a channel together.

    Parameters
    ----------
    x : array of shape (batch, channels, height, width)
        Feature maps, of a dtype that `dropout` takes. `data_format` and `batched` change the shape.

    See Also
    --------
    Dropout2d : the layer.
    anydrop.torch.Dropout2d : the PyTorch module.
    drop_block2d : drops parts of channels.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> x = np.ones((8, 4, 4, 16))
    >>> y = anydrop.dropout2d(x, 0.5, seed=0, step=0, data_format="channels_last")
    >>> bool((y == y[:, :1, :1, :]).all())
    True
    """
    return drop(RULES[2], x, p, check_layout(data_format, batched), **keywords)


@described_by(dropout1d, dropout)
def dropout3d(
    x: Array,
    p: float = 0.5,
    *,
    data_format: DataFormat = "channels_first",
    batched: bool = True,
    **keywords: Unpack[Keywords],
) -> Any:
    """Drop whole channels of volumes, such as videos.

    Neighbouring voxels carry much the same information, so dropping single ones regularizes little.
    This function drops all voxels of a channel together.

    Parameters
    ----------
    x : array of shape (batch, channels, length, height, width)
        Feature maps, of a dtype that `dropout` takes. `data_format` and `batched` change the shape.

    See Also
    --------
    Dropout3d : the layer.
    anydrop.torch.Dropout3d : the PyTorch module.
    drop_block3d : drops parts of channels.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> x = np.ones((16, 4, 4, 4))
    >>> y = anydrop.dropout3d(x, 0.5, seed=0, step=0, batched=False)
    >>> bool((y == y[:, :1, :1, :1]).all())
    True
    """
    return drop(RULES[3], x, p, check_layout(data_format, batched), **keywords)


class SpatialLayer(DropLayer):
    """Base class of the layers for feature maps."""

    data_format = Setting(check_data_format, "Order of the axes.")
    batched = Setting(check.flag, "Whether the first axis is the batch.")

    def __init__(
        self,
        p: Rate = 0.5,
        *,
        data_format: DataFormat = "channels_first",
        batched: bool = True,
        **keywords: Any,
    ) -> None:
        super().__init__(p, data_format=data_format, batched=batched, **keywords)

    def _batch_axes(self, ndim: int) -> tuple[int, ...]:
        return (0,) if self.batched else ()


@final
@described_by(dropout1d, DropLayer)
class Dropout1d(SpatialLayer):
    """Drop whole channels of sequences.

    The layer of `dropout1d`. Its input has the shape (batch, channels, length), unless
    `data_format` or `batched` says otherwise.

    See Also
    --------
    dropout1d : the function.
    anydrop.torch.Dropout1d : the PyTorch module.
    Dropout : has the methods of all layers.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.Dropout1d(0.5, seed=0)
    >>> drop(np.ones((1, 4, 3)))[0, :, 0]
    array([0., 2., 2., 2.])
    """

    _function = staticmethod(dropout1d)
    _rule = RULES[1]


@final
@described_by(dropout2d, DropLayer)
class Dropout2d(SpatialLayer):
    """Drop whole channels of images.

    The layer of `dropout2d`. Its input has the shape (batch, channels, height, width), unless
    `data_format` or `batched` says otherwise.

    See Also
    --------
    dropout2d : the function.
    anydrop.torch.Dropout2d : the PyTorch module.
    Dropout : has the methods of all layers.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.Dropout2d(0.5, seed=0)
    >>> drop(np.ones((2, 3, 8, 8))).shape, drop.mask.shape
    ((2, 3, 8, 8), (2, 3, 1, 1))
    """

    _function = staticmethod(dropout2d)
    _rule = RULES[2]


@final
@described_by(dropout3d, DropLayer)
class Dropout3d(SpatialLayer):
    """Drop whole channels of volumes, such as videos.

    The layer of `dropout3d`. Its input has the shape (batch, channels, length, height, width),
    unless `data_format` or `batched` says otherwise.

    See Also
    --------
    dropout3d : the function.
    anydrop.torch.Dropout3d : the PyTorch module.
    Dropout : has the methods of all layers.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.Dropout3d(0.5, seed=0)
    >>> drop(np.ones((2, 3, 8, 8, 8))).shape, drop.mask.shape
    ((2, 3, 8, 8, 8), (2, 3, 1, 1, 1))
    """

    _function = staticmethod(dropout3d)
    _rule = RULES[3]
