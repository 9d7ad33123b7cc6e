"""`dropout1d`, `dropout2d`, `dropout3d` and their layers: whole feature maps."""

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
    """Return where the channels' axis is."""
    known: DataFormat = check.choice(value, name, ("channels_first", "channels_last"))
    return known


def check_layout(data_format: object, batched: object) -> tuple[DataFormat, bool]:
    """Return where the channels' axis is, and whether a first axis counts examples."""
    return check_data_format(data_format), check.flag(batched, "batched")


def positions(
    ndim: int, spatial: int, data_format: DataFormat, batched: bool, owner: str
) -> tuple[int, ...]:
    """Return the axes of the positions in a feature map, which has `spatial` of them.

    The message of an array with another number of axes names `owner`.
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
    """Drop whole channels of sequences: all positions of a channel share one fate.

    Parameters
    ----------
    x : array of shape (batch, channels, length), or as `data_format` and `batched` say
        Of a dtype that `dropout` takes, of any library.
    p : float, default 0.5
        Probability that a channel of an example is dropped, ``0 <= p < 1``.
    data_format : {"channels_first", "channels_last"}
        Where the channels' axis is: (batch, channels, ...) or (batch, ..., channels).
    batched : bool, default True
        False says that `x` is one example, without a batch's axis: it is never guessed.

    See Also
    --------
    Dropout1d : the layer.

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
    """Drop whole channels of images: all pixels of a channel share one fate.

    Parameters
    ----------
    x : array of shape (batch, channels, height, width), or as `data_format` and `batched` say
        Of a dtype that `dropout` takes, of any library.

    See Also
    --------
    Dropout2d : the layer.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> images = np.ones((8, 4, 4, 16))
    >>> y = anydrop.dropout2d(images, 0.5, seed=0, step=0, data_format="channels_last")
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
    """Drop whole channels of volumes: all voxels of a channel share one fate.

    Parameters
    ----------
    x : array of shape (batch, channels, length, height, width), or as `data_format` says
        Of a dtype that `dropout` takes, of any library.

    See Also
    --------
    Dropout3d : the layer.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> y = anydrop.dropout3d(np.ones((16, 4, 4, 4)), 0.5, seed=0, step=0, batched=False)
    >>> bool((y == y[:, :1, :1, :1]).all())
    True
    """
    return drop(RULES[3], x, p, check_layout(data_format, batched), **keywords)


class SpatialLayer(DropLayer):
    """A layer for feature maps."""

    data_format = Setting(check_data_format, "Where the channels' axis is.")
    batched = Setting(check.flag, "Whether a first axis counts examples.")

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
    """Drop whole channels of sequences, (batch, channels, length); see `dropout1d`.

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
    """Drop whole channels of images, (batch, channels, height, width); see `dropout2d`.

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
    """Drop whole channels of volumes, (batch, channels, length, height, width); see `dropout3d`.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.Dropout3d(0.5, seed=0)
    >>> drop(np.ones((2, 3, 8, 8, 8))).shape, drop.mask.shape
    ((2, 3, 8, 8, 8), (2, 3, 1, 1, 1))
    """

    _function = staticmethod(dropout3d)
    _rule = RULES[3]
