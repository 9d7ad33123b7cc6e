"""Modules for the variants that ``torch.nn`` lacks, with the arguments of anydrop's layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from torch import Tensor

from anydrop.core import check
from anydrop.core.docstrings import described_by
from anydrop.core.stream import Seed
from anydrop.layers import attention, drop_connect, gaussian, recurrent, tokens
from anydrop.schedules import Rate
from anydrop.torch import proxies
from anydrop.torch.layer_modules import DropLayerModule, Keywords, LayerModule


@described_by(gaussian.GaussianDropout, DropLayerModule)
class GaussianDropout(DropLayerModule):
    """Multiply by normal noise with mean 1 and variance ``p / (1 - p)``.

    The noise has the mean and variance of dropout with the same `p`, but no element becomes zero.
    At inference the module returns its input.

    See Also
    --------
    GaussianNoise : Noise that is added.
    anydrop.gaussian_dropout : The function. With the same seed and step it draws the same noise.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> drop = anydrop.torch.GaussianDropout(0.2, seed=0)
    >>> y = drop(torch.ones(100_000))
    >>> f"{y.mean():.2f} {y.std():.2f}"
    '1.00 0.50'
    """

    _function = staticmethod(gaussian.gaussian_dropout)
    _layer = gaussian.GaussianDropout

    def __init__(self, p: Rate = 0.5, **keywords: Unpack[Keywords]) -> None:
        super().__init__(p, **keywords)


@described_by(gaussian.GaussianNoise, DropLayerModule)
class GaussianNoise(LayerModule):
    """Add normal noise with mean 0, such as to the inputs of a network, to regularize it.

    At inference the module returns its input.

    See Also
    --------
    GaussianDropout : Noise that multiplies.
    anydrop.gaussian_noise : The function. With the same seed and step it draws the same noise.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> noise = anydrop.torch.GaussianNoise(0.1, seed=0)
    >>> y = noise(torch.zeros(100_000))
    >>> f"{abs(y.mean()):.2f} {y.std():.2f}"
    '0.00 0.10'
    """

    _function = staticmethod(gaussian.gaussian_noise)
    _layer = gaussian.GaussianNoise
    _rate_name = "std"

    def __init__(
        self,
        std: float = 1.0,
        *,
        seed: Seed | Sequence[int] | None = None,
        per_rank: bool | int | None = None,
        shared_axes: int | Sequence[int] = (),
        noise_shape: Sequence[int | None] | None = None,
    ) -> None:
        super().__init__(
            seed=seed, per_rank=per_rank, std=std, shared_axes=shared_axes, noise_shape=noise_shape
        )

    def _check_rate(self) -> float:
        return check.deviation(self.std)


@described_by(recurrent.LockedDropout, DropLayerModule)
class LockedDropout(DropLayerModule):
    """Drop the same features at all time steps of a sequence, for recurrent networks.

    It is also called variational dropout. `torch.nn.Dropout` would draw another mask at each time
    step.

    See Also
    --------
    Zoneout : Keep the previous state instead.
    anydrop.locked_dropout : The function. With the same seed and step it draws the same mask.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> drop = anydrop.torch.LockedDropout(0.5, time_axis=1, seed=0)
    >>> drop(torch.ones(1, 2, 4))[0]
    tensor([[0., 2., 2., 2.],
            [0., 2., 2., 2.]])
    """

    _function = staticmethod(recurrent.locked_dropout)
    _layer = recurrent.LockedDropout

    def __init__(self, p: Rate = 0.5, *, time_axis: int, **keywords: Unpack[Keywords]) -> None:
        super().__init__(p, time_axis=time_axis, **keywords)


@described_by(recurrent.Zoneout, DropLayerModule)
class Zoneout(DropLayerModule):
    """Have random units of a recurrent network keep their previous state.

    Call it with the new and the previous state: ``h = zone(cell(x, h), h)``. At inference it
    returns the expectation, ``(1 - p) * input + p * previous``.

    See Also
    --------
    LockedDropout : Drop the same features at all time steps.
    anydrop.zoneout : The function. With the same seed and step it draws the same mask.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> zone = anydrop.torch.Zoneout(0.5, seed=0)
    >>> zone(torch.ones(4), torch.zeros(4))
    tensor([0., 1., 1., 1.])
    >>> zone.eval()(torch.ones(4), torch.zeros(4))
    tensor([0.5000, 0.5000, 0.5000, 0.5000])
    """

    _function = staticmethod(recurrent.zoneout)
    _layer = recurrent.Zoneout

    def __init__(self, p: Rate = 0.5, **keywords: Unpack[Keywords]) -> None:
        super().__init__(p, **keywords)

    def forward(  # type: ignore[override]
        self, input: Tensor, previous: Tensor, *, step: Any = None
    ) -> Tensor:
        """Return the new state, with the previous state where the mask drops.

        Parameters
        ----------
        input, previous : Tensor
            The new and the previous state, with the same shape, dtype and device.
        step : int or Tensor, optional
            Draw the mask of this step, and don't count it. By default the next step is drawn and
            counted. Only for a module with a seed.

        Returns
        -------
        Tensor
            ``where(keep, input, previous)``. At inference the expectation.
        """
        if not isinstance(input, Tensor):
            return proxies.called(self, input, previous, step=step)
        if not self.training:
            self.check_inference()
            return self._at_inference(input, previous)
        return self._run(input, previous, step=step)


@described_by(tokens.EmbeddingDropout, DropLayerModule)
class EmbeddingDropout(DropLayerModule):
    """Drop whole rows of an embedding table, so every occurrence of a word at once.

    Call it with the table, of shape (words, features), and look words up in the result.

    See Also
    --------
    TokenDropout : Replace single occurrences of a word.
    anydrop.embedding_dropout : The function. With the same seed and step it draws the same mask.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> words = torch.nn.Embedding(4, 2)
    >>> drop = anydrop.torch.EmbeddingDropout(0.5, seed=0)
    >>> y = torch.nn.functional.embedding(torch.tensor([3, 0, 3]), drop(words.weight))
    >>> (y == 0).all(dim=1)
    tensor([False,  True, False])
    """

    _function = staticmethod(tokens.embedding_dropout)
    _layer = tokens.EmbeddingDropout

    def __init__(self, p: Rate = 0.5, **keywords: Unpack[Keywords]) -> None:
        super().__init__(p, **keywords)


@described_by(tokens.TokenDropout, DropLayerModule)
class TokenDropout(DropLayerModule):
    """Replace random tokens of a text by another token, such as the unknown or the mask token.

    Call it with a tensor of integers, before the embedding.

    See Also
    --------
    EmbeddingDropout : Drop every occurrence of a word.
    anydrop.token_dropout : The function. With the same seed and step it draws the same mask.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> drop = anydrop.torch.TokenDropout(0.5, token=3, protected=(1, 2), seed=1)
    >>> drop(torch.tensor([1, 17, 42, 8, 99, 23, 2]))
    tensor([ 1, 17, 42,  3, 99,  3,  2])
    """

    _function = staticmethod(tokens.token_dropout)
    _layer = tokens.TokenDropout

    def __init__(
        self,
        p: Rate = 0.1,
        *,
        token: int,
        protected: Sequence[int] = (),
        **keywords: Unpack[Keywords],
    ) -> None:
        super().__init__(p, token=token, protected=protected, **keywords)


@described_by(attention.AttentionDropout, DropLayerModule)
class AttentionDropout(DropLayerModule):
    """Drop random attention weights, the links between a query and a key.

    Call it with the weights that softmax returns, of shape (..., heads, queries, keys).

    See Also
    --------
    convert : Reach the attention inside an existing model.
    anydrop.attention_dropout : The function. With the same seed and step it draws the same mask.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> drop = anydrop.torch.AttentionDropout(0.5, share_heads=True, seed=0)
    >>> y = drop(torch.full((2, 8, 16, 16), 1 / 16))
    >>> bool((y == y[:, :1]).all())
    True
    """

    _function = staticmethod(attention.attention_dropout)
    _layer = attention.AttentionDropout

    def __init__(
        self,
        p: Rate = 0.1,
        *,
        share_heads: bool = False,
        share_batch: bool = False,
        **keywords: Unpack[Keywords],
    ) -> None:
        super().__init__(p, share_heads=share_heads, share_batch=share_batch, **keywords)


def _drop_connect(weights: Tensor, examples: int | None, p: float, **keywords: Any) -> Any:
    return drop_connect.drop_connect(weights, p, examples=examples, **keywords)


@described_by(drop_connect.DropConnect, DropLayerModule)
class DropConnect(DropLayerModule):
    """Drop random weights of a layer before they are used.

    Put it into a layer with ``torch.nn.utils.parametrize``, as in the example. Each access to the
    weight then draws a mask. Within ``parametrize.cached()`` only the first access does.
    Registering also accesses the weight: pass ``unsafe=True`` so that it spends no step.

    You may also call it with the weights: ``drop(weights)`` draws one mask for the batch, and
    ``drop(weights, examples=n)`` returns n copies of the weights, each with its own mask.

    See Also
    --------
    anydrop.drop_connect : The function. With the same seed and step it draws the same mask.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> from torch.nn.utils import parametrize
    >>> layer, drop = torch.nn.Linear(3, 2), anydrop.torch.DropConnect(0.5, seed=0)
    >>> layer = parametrize.register_parametrization(layer, "weight", drop, unsafe=True)
    >>> y = layer(torch.ones(4, 3))
    >>> drop.step
    1
    """

    _function = staticmethod(_drop_connect)
    _layer = drop_connect.DropConnect

    def __init__(self, p: Rate = 0.5, **keywords: Unpack[Keywords]) -> None:
        super().__init__(p, **keywords)

    def forward(self, input: Tensor, *, examples: int | None = None, step: Any = None) -> Tensor:
        """Drop weights in training mode, and none in eval mode.

        Parameters
        ----------
        input : Tensor
            The weights.
        examples : int, optional
            Draw a mask for each of this many examples. By default one for the batch.
        step : int or Tensor, optional
            Draw the mask of this step, and don't count it. By default the next step is drawn and
            counted. Only for a module with a seed.

        Returns
        -------
        Tensor
            The weights. With `examples`, that many copies of them along a new first axis.
        """
        if not isinstance(input, Tensor):
            return proxies.called(self, input, examples=examples, step=step)
        if self.training:
            return self._run(input, examples, step=step)
        self.check_inference()
        if examples is None:
            return self._infer(input, examples)
        return self._at_inference(input, examples)
