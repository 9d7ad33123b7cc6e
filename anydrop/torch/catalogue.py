"""The rest of anydrop's catalogue, with the arguments of its own layers."""

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
    """Multiply by normal noise of mean 1 and variance ``p / (1 - p)``.

    See Also
    --------
    anydrop.gaussian_dropout : the function, which draws the same noise of a seed and a step.

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
    """Add normal noise of mean 0.

    See Also
    --------
    anydrop.gaussian_noise : the function, which draws the same noise of a seed and a step.

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
    """Drop the same features at all time steps of a sequence.

    See Also
    --------
    anydrop.locked_dropout : the function, which draws the same masks of a seed and a step.

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
    """Let units of a recurrent network keep their previous state.

    At inference it returns the expectation, ``(1 - p) * input + p * previous``.

    See Also
    --------
    anydrop.zoneout : the function, which draws the same masks of a seed and a step.

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
        """Take the new state or, in training and where the mask says so, the previous one.

        Parameters
        ----------
        input, previous : Tensor
            New and previous state, of one shape, dtype and device.
        step : int or Tensor, optional
            Which mask of the seed to draw, instead of the next one; it is not counted.

        Returns
        -------
        Tensor
            ``where(keep, input, previous)``; at inference the expectation.
        """
        if not isinstance(input, Tensor):
            return proxies.called(self, input, previous, step=step)
        if not self.training:
            self.check_inference()
            return self._at_inference(input, previous)
        return self._run(input, previous, step=step)


@described_by(tokens.EmbeddingDropout, DropLayerModule)
class EmbeddingDropout(DropLayerModule):
    """Drop whole rows of an embedding table: every occurrence of a word at once.

    Its input is the table, of shape (words, features); look words up in the result.

    See Also
    --------
    anydrop.embedding_dropout : the function, which draws the same masks of a seed and a step.
    TokenDropout : single occurrences.

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
    """Replace tokens of a text by another, such as that of unknown words or the mask token.

    Its input is a tensor of integers, before the embedding.

    See Also
    --------
    anydrop.token_dropout : the function, which draws the same masks of a seed and a step.

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
    """Drop attention weights: links between a query and a key.

    See Also
    --------
    anydrop.attention_dropout : the function, which draws the same masks of a seed and a step.

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
    """Drop connections: weights of a layer, before they are applied.

    `torch.nn.utils.parametrize` puts it into a layer. Each access of the weight then draws a mask;
    within ``parametrize.cached()`` only the first access does. Registering also accesses the
    weight: pass ``unsafe=True`` to spend no step there.

    See Also
    --------
    anydrop.drop_connect : the function, which draws the same masks of a seed and a step.

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
        """Drop connections in training mode; return the weights as they are otherwise.

        Parameters
        ----------
        input : Tensor
            Weights.
        examples : int, optional
            Draw a mask for each of so many examples; by default one for the batch.
        step : int or Tensor, optional
            Which mask of the seed to draw, instead of the next one; it is not counted.

        Returns
        -------
        Tensor
            The weights, or with `examples` as many copies of them.
        """
        if not isinstance(input, Tensor):
            return proxies.called(self, input, examples=examples, step=step)
        if self.training:
            return self._run(input, examples, step=step)
        self.check_inference()
        if examples is None:
            return self._infer(input, examples)
        return self._at_inference(input, examples)
