"""The dropout modules of ``torch.nn``, with anydrop's masks."""

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
    """Base class of the modules that ``torch.nn`` has, too.

    Parameters
    ----------
    p : float, default 0.5
        Probability that an element is dropped, ``0 <= p <= 1``. You may change it later. ``p=1``
        gives zeros, also for NaN and infinity, where PyTorch's module returns NaN. A schedule
        needs a `seed`.
    inplace : bool, default False
        Write the result into the input. An input that requires grad must not be a leaf.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.
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
        """Return the function to apply to a tensor, and its keywords."""
        return cls._function, {}


def _positions(shape: tuple[int, ...], batched: bool) -> tuple[int, ...]:
    if len(shape) < 1 + batched:
        wanted = "(batch, channels, ...)" if batched else "(channels, ...)"
        raise ValueError(
            f"dropout of whole channels needs shape {wanted}, got {shape}: to drop single "
            "elements, use anydrop.torch.Dropout"
        )
    return tuple(range(1 + batched, len(shape)))


CHANNELS = Rule(_positions, ("batched",))


def drop_channels(x: Tensor, p: float, *, batched: bool, **keywords: Any) -> Tensor:
    """Drop whole channels of a tensor with any number of axes, as PyTorch does."""
    y: Tensor = drop(CHANNELS, x, p, (batched,), **keywords)
    return y


class Spatial(Standard):
    """Base class of the modules that drop whole channels. Axes mean what they mean in PyTorch."""

    _function = staticmethod(drop_channels)
    #: PyTorch's function. It raises for some numbers of axes, and warns for others.
    _check: ClassVar[Callable[..., Any]]
    #: The numbers of axes for which it does neither.
    _usual: ClassVar[tuple[int, ...]]
    #: The numbers of axes for which the first axis is the batch. None: all.
    _batched: ClassVar[tuple[int, ...] | None]

    def forward(self, input: Tensor, *, step: Any = None) -> Tensor:
        """Drop whole channels in training mode; return the tensor itself in eval mode.

        Parameters
        ----------
        input : Tensor
            Of the shapes above. For others this module raises or warns, as PyTorch's does.
        step : int or Tensor, optional
            Draw the mask of this step, and don't count it. By default the next step is drawn and
            counted. Only for a module with a seed.

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
        """Return the function to apply to a tensor, and its keywords."""
        return cls._function, {"batched": cls._batched is None or x.ndim in cls._batched}


@described_by(Standard)
class Dropout(Standard, nn.Dropout):
    """Set random elements of a tensor to zero, as ``torch.nn.Dropout`` does.

    Use it in place of ``nn.Dropout``. It takes the same arguments in the same order, and
    ``isinstance(module, nn.Dropout)`` is true. The mask is the same on the CPU and a GPU, eager and
    compiled. With a seed, every other library draws it, too. Survivors are multiplied by
    ``1 / (1 - p)``. A tensor may have any shape.

    See Also
    --------
    torch.nn.Dropout : The module that it replaces.
    anydrop.dropout : The function. With the same seed and step it draws the same mask.
    convert : Replace the dropout of an existing model.

    References
    ----------
    .. [1] N. Srivastava et al., "Dropout: a simple way to prevent neural networks from
       overfitting", JMLR 15, 2014, https://jmlr.org/papers/v15/srivastava14a.html

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
    """Drop whole channels of sequences, as ``torch.nn.Dropout1d`` does.

    Use it after a convolution, where neighbours are alike and dropping single elements does little.
    Tensors have shape (batch, channels, length) or (channels, length).

    Parameters
    ----------
    p : float, default 0.5
        Probability that a channel is dropped, ``0 <= p <= 1``. ``p=1`` gives zeros. You may change
        it later. A schedule needs a `seed`.

    See Also
    --------
    torch.nn.Dropout1d : The module that it replaces.
    anydrop.dropout1d : The function. With the same seed and step it draws the same mask.

    References
    ----------
    .. [1] J. Tompson et al., "Efficient object localization using convolutional networks", 2014,
       https://arxiv.org/abs/1411.4280

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
    """Drop whole channels of images, as ``torch.nn.Dropout2d`` does.

    Use it after a convolution, where neighbours are alike and dropping single elements does little.
    Tensors have shape (batch, channels, height, width). A tensor with three axes counts as (batch,
    channels, length) and not as one image, with a warning, as in PyTorch.

    Parameters
    ----------
    p : float, default 0.5
        Probability that a channel is dropped, ``0 <= p <= 1``. ``p=1`` gives zeros. You may change
        it later. A schedule needs a `seed`.

    See Also
    --------
    torch.nn.Dropout2d : The module that it replaces.
    anydrop.dropout2d : The function. With the same seed and step it draws the same mask.

    References
    ----------
    .. [1] J. Tompson et al., "Efficient object localization using convolutional networks", 2014,
       https://arxiv.org/abs/1411.4280

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
    """Drop whole channels of volumes, as ``torch.nn.Dropout3d`` does.

    Use it after a convolution, where neighbours are alike and dropping single elements does little.
    Tensors have shape (batch, channels, depth, height, width) or (channels, depth, height, width).

    Parameters
    ----------
    p : float, default 0.5
        Probability that a channel is dropped, ``0 <= p <= 1``. ``p=1`` gives zeros. You may change
        it later. A schedule needs a `seed`.

    See Also
    --------
    torch.nn.Dropout3d : The module that it replaces.
    anydrop.dropout3d : The function. With the same seed and step it draws the same mask.

    References
    ----------
    .. [1] J. Tompson et al., "Efficient object localization using convolutional networks", 2014,
       https://arxiv.org/abs/1411.4280

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
    """Dropout for SELU networks that keeps mean 0 and variance 1, as ``torch.nn.AlphaDropout``.

    Dropped elements are set to SELU's saturation value, and all elements are then scaled and
    shifted. `inplace` works here; PyTorch's module ignores it.

    See Also
    --------
    torch.nn.AlphaDropout : The module that it replaces.
    anydrop.alpha_dropout : The function. With the same seed and step it draws the same mask.

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
    """Alpha dropout of whole channels, as ``torch.nn.FeatureAlphaDropout`` does.

    Use it in SELU networks with convolutions. Tensors have shape (batch, channels, ...): the second
    axis is always the channels, as in PyTorch. `inplace` works here; PyTorch's module ignores it.

    Parameters
    ----------
    p : float, default 0.5
        Probability that a channel is dropped, ``0 <= p <= 1``. ``p=1`` gives zeros. You may change
        it later. A schedule needs a `seed`.

    See Also
    --------
    AlphaDropout : The same for single elements.
    torch.nn.FeatureAlphaDropout : The module that it replaces.
    anydrop.feature_alpha_dropout : The function. With the same seed and step it draws the same
        mask.

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
