"""`attention_dropout` and `AttentionDropout`: attention weights."""

from __future__ import annotations

from typing import Any, Unpack, final

from anydrop.core import check
from anydrop.core.docstrings import described_by
from anydrop.core.setting import Setting
from anydrop.core.typing import Array
from anydrop.layers.call import Keywords, Rule, drop
from anydrop.layers.drop_layer import DropKeywords, DropLayer
from anydrop.layers.dropout import dropout
from anydrop.schedules import Rate


def _shared(shape: tuple[int, ...], heads: bool, batch: bool) -> tuple[int, ...]:
    ndim = len(shape)
    least = 4 if batch else 3 if heads else 2
    if ndim < least:
        axes = ["batch", "heads", "queries", "keys"][-least:]
        raise ValueError(
            f"attention_dropout needs an array of {least} dimensions or more here, "
            f"({', '.join(axes)}), got {ndim}"
        )
    return (*range(ndim - 3),) * batch + (ndim - 3,) * heads


RULE = Rule(_shared, ("share_heads", "share_batch"))


@described_by(dropout)
def attention_dropout(
    weights: Array,
    p: float = 0.1,
    *,
    share_heads: bool = False,
    share_batch: bool = False,
    **keywords: Unpack[Keywords],
) -> Any:
    """Drop attention weights.

    Apply it to the output of the softmax, before the product with the values. A query then ignores
    some keys. The weights of a query no longer sum to 1, except on average.

    Parameters
    ----------
    weights : array of shape (..., heads, queries, keys) or (queries, keys)
        Attention weights, of a dtype that `dropout` takes. Axes before the heads count examples.
    p : float, default 0.1
        Probability that a weight is dropped, ``0 <= p < 1``.
    share_heads : bool, default False
        Whether all heads of an example drop the same weights.
    share_batch : bool, default False
        Whether all examples drop the same weights.

    See Also
    --------
    AttentionDropout : the layer.
    anydrop.torch.AttentionDropout : the PyTorch module.

    References
    ----------
    .. [1] A. Vaswani et al., "Attention is all you need", NeurIPS 2017,
       https://arxiv.org/abs/1706.03762

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> weights = np.full((2, 8, 16, 16), 1 / 16)
    >>> y = anydrop.attention_dropout(weights, 0.1, share_heads=True, seed=0, step=0)
    >>> bool((y == y[:, :1]).all())
    True
    """
    own = check.flag(share_heads, "share_heads"), check.flag(share_batch, "share_batch")
    return drop(RULE, weights, p, own, **keywords)


@final
@described_by(attention_dropout, DropLayer)
class AttentionDropout(DropLayer):
    """Drop attention weights.

    The layer of `attention_dropout`. Its input is the output of the softmax, of shape
    (..., heads, queries, keys) or (queries, keys).

    See Also
    --------
    attention_dropout : the function.
    anydrop.torch.AttentionDropout : the PyTorch module.
    Dropout : has the methods of all layers.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.AttentionDropout(0.1, share_batch=True, seed=0)
    >>> drop(np.full((2, 8, 16, 16), 1 / 16)).shape, drop.mask.shape
    ((2, 8, 16, 16), (1, 8, 16, 16))
    """

    _function = staticmethod(attention_dropout)
    _rule = RULE

    share_heads = Setting(check.flag, "Whether all heads of an example drop the same weights.")
    share_batch = Setting(check.flag, "Whether all examples drop the same weights.")

    def __init__(
        self,
        p: Rate = 0.1,
        *,
        share_heads: bool = False,
        share_batch: bool = False,
        **keywords: Unpack[DropKeywords],
    ) -> None:
        super().__init__(p, share_heads=share_heads, share_batch=share_batch, **keywords)

    def _batch_axes(self, ndim: int) -> tuple[int, ...]:
        return tuple(range(ndim - 3))
