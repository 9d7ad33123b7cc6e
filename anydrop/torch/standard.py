"""PyTorch's own dropout modules, with anydrop's masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from anydrop.core.docstrings import described_by
from anydrop.core.stream import Seed
from anydrop.layers.alpha import alpha_dropout, feature_alpha_dropout
from anydrop.layers.call import Rule, drop
from anydrop.layers.dropout import dropout
from anydrop.schedules import Rate
from anydrop.torch.module import Module


@described_by(Module)
class Standard(Module):
    """A module that PyTorch has, too.

    Parameters
    ----------
    p : float, default 0.5
        Probability that an element is dropped, ``0 <= p <= 1``. ``p=1`` gives zeros, also for NaN
        and infinity, where PyTorch's module returns NaN. A Schedule needs a `seed`.
    inplace : bool, default False
        Whether to write the result into the input.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or outside its range.
    """

    _takes_one = True

    p: Any

    def __init__(
        self,
        p: Rate = 0.5,
        inplace: bool = False,
        *,
        seed: Seed | Sequence[int] | None = None,
        per_rank: bool | int | None = None,
    ) -> None:
        super().__init__(inplace=inplace, seed=seed, per_rank=per_rank)
        self.p = p
        self._check_rate()

    @classmethod
    def function_for(cls, x: Tensor) -> tuple[Callable[..., Any], dict[str, Any]]:
        """Return the function that draws from a tensor, and its keywords."""
        return cls._function, {}


def _positions(shape: tuple[int, ...], batched: bool) -> tuple[int, ...]:
    if len(shape) < 1 + batched:
        wanted = "(batch, channels, ...)" if batched else "(channels, ...)"
        raise ValueError(
            f"dropout of whole channels needs a tensor of shape {wanted}, got shape {shape}: use "
            "anydrop.torch.Dropout to drop single elements"
        )
    return tuple(range(1 + batched, len(shape)))


CHANNELS = Rule(_positions, ("batched",))


def drop_channels(x: Tensor, p: float, *, batched: bool, **keywords: Any) -> Tensor:
    """Drop whole channels of a tensor with any number of axes, as PyTorch does."""
    y: Tensor = drop(CHANNELS, x, p, (batched,), **keywords)
    return y


class Spatial(Standard):
    """A module for feature maps. It reads a tensor's axes as PyTorch's module does."""

    _function = staticmethod(drop_channels)
    #: PyTorch's function, which refuses some numbers of axes and warns of others.
    _check: ClassVar[Callable[..., Any]]
    #: The numbers of axes that it takes without a word.
    _usual: ClassVar[tuple[int, ...]]
    #: The numbers of axes of a tensor that is a batch. None: all.
    _batched: ClassVar[tuple[int, ...] | None]

    def forward(self, input: Tensor, *, step: Any = None) -> Tensor:
        """Drop whole channels in training mode; return the tensor as it is otherwise.

        Parameters
        ----------
        input : Tensor
            Of the shapes above. PyTorch's module refuses others, or warns, and so does this one.
        step : int or Tensor, optional
            Which mask of the seed to draw, instead of the next one; it is not counted.

        Returns
        -------
        Tensor
            With the shape, dtype and device of `input`.
        """
        if isinstance(input, Tensor) and input.ndim not in self._usual:
            self._check(input, training=False)
        return super().forward(input, step=step)

    def _settings(self, x: Tensor) -> dict[str, Any]:
        return self.function_for(x)[1]

    @classmethod
    def function_for(cls, x: Tensor) -> tuple[Callable[..., Any], dict[str, Any]]:
        """Return the function that draws from a tensor, and its keywords."""
        return cls._function, {"batched": cls._batched is None or x.ndim in cls._batched}


@described_by(Standard)
class Dropout(Standard, nn.Dropout):
    """Drop elements of a tensor of any shape, as `torch.nn.Dropout` does.

    See Also
    --------
    anydrop.dropout : the function, which draws the same masks of a seed and a step.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> drop = anydrop.torch.Dropout(0.5, seed=0)
    >>> drop(torch.ones(7))
    tensor([0., 2., 2., 2., 2., 2., 0.])
    >>> drop
    Dropout(p=0.5, inplace=False, seed=0, step=1)
    >>> drop.eval()(torch.ones(7))
    tensor([1., 1., 1., 1., 1., 1., 1.])
    """

    _function = staticmethod(dropout)


@described_by(Standard)
class Dropout1d(Spatial, nn.Dropout1d):
    """Drop whole channels of sequences, as `torch.nn.Dropout1d` does.

    Tensors are of shape (batch, channels, length), or (channels, length).

    See Also
    --------
    anydrop.dropout1d : the function, which draws the same masks of a seed and a step.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> drop = anydrop.torch.Dropout1d(0.5, seed=0)
    >>> drop(torch.ones(1, 4, 3))[0, :, 0]
    tensor([0., 2., 2., 2.])
    """

    _check = staticmethod(F.dropout1d)
    _usual = (2, 3)
    _batched = (3,)


@described_by(Standard)
class Dropout2d(Spatial, nn.Dropout2d):
    """Drop whole channels of images, as `torch.nn.Dropout2d` does.

    Tensors are of shape (batch, channels, height, width). A tensor of three axes is taken as
    (batch, channels, length), and not as one image. PyTorch does so, too, and warns.

    See Also
    --------
    anydrop.dropout2d : the function, which draws the same masks of a seed and a step.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> drop = anydrop.torch.Dropout2d(0.5, seed=0)
    >>> drop(torch.ones(1, 4, 8, 8))[0, :, 0, 0]
    tensor([0., 2., 2., 2.])
    """

    _check = staticmethod(F.dropout2d)
    _usual = (4,)
    _batched = None


@described_by(Standard)
class Dropout3d(Spatial, nn.Dropout3d):
    """Drop whole channels of volumes, as `torch.nn.Dropout3d` does.

    Tensors are of shape (batch, channels, depth, height, width), or (channels, depth, height,
    width).

    See Also
    --------
    anydrop.dropout3d : the function, which draws the same masks of a seed and a step.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> drop = anydrop.torch.Dropout3d(0.5, seed=0)
    >>> drop(torch.ones(4, 2, 8, 8))[:, 0, 0, 0]
    tensor([0., 2., 2., 2.])
    """

    _check = staticmethod(F.dropout3d)
    _usual = (4, 5)
    _batched = (5,)


@described_by(Standard)
class AlphaDropout(Standard, nn.AlphaDropout):
    """Set elements to where SELU saturates, as `torch.nn.AlphaDropout` does.

    Mean 0 and variance 1 are kept. `inplace` works here, while PyTorch's module ignores it.

    See Also
    --------
    anydrop.alpha_dropout : the function, which draws the same masks of a seed and a step.

    References
    ----------
    .. [1] G. Klambauer et al., "Self-normalizing neural networks", 2017,
       https://arxiv.org/abs/1706.02515

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> drop = anydrop.torch.AlphaDropout(0.5, seed=0)
    >>> drop(torch.zeros(4))
    tensor([-0.7792,  0.7792,  0.7792,  0.7792])
    """

    _function = staticmethod(alpha_dropout)


@described_by(Standard)
class FeatureAlphaDropout(Standard, nn.FeatureAlphaDropout):
    """Set whole channels to where SELU saturates, as `torch.nn.FeatureAlphaDropout` does.

    Tensors are of shape (batch, channels, ...), with channels on the second axis whatever the
    number of axes, as in PyTorch's module. `inplace` works here, while PyTorch's module ignores it.

    See Also
    --------
    anydrop.feature_alpha_dropout : the function, which draws the same masks of a seed and a step.

    References
    ----------
    .. [1] G. Klambauer et al., "Self-normalizing neural networks", 2017,
       https://arxiv.org/abs/1706.02515

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> drop = anydrop.torch.FeatureAlphaDropout(0.5, seed=0)
    >>> drop(torch.zeros(1, 4, 2))[0, :, 0]
    tensor([-0.7792,  0.7792,  0.7792,  0.7792])
    """

    _function = staticmethod(feature_alpha_dropout)
