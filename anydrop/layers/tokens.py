"""`token_dropout` and `embedding_dropout`, and their layers: what networks for text drop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack, final

from anydrop.core import check
from anydrop.core.docstrings import described_by
from anydrop.core.setting import Setting
from anydrop.core.typing import Array
from anydrop.layers.call import Call, Keywords, Rule, drop
from anydrop.layers.drop_layer import DropKeywords, DropLayer
from anydrop.layers.dropout import dropout
from anydrop.masks.stored import StoredMask
from anydrop.schedules import Rate

UNSCALED = "tokens are no numbers that could be scaled"


def _features(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) != 2:
        raise ValueError(
            f"embedding_dropout needs a table of shape (words, features), got one of shape {shape}"
        )
    return (1,)


EMBEDDING = Rule(_features)


@described_by(dropout)
def embedding_dropout(table: Array, p: float = 0.5, **keywords: Unpack[Keywords]) -> Any:
    """Drop whole rows of an embedding table: every occurrence of a word at once.

    Parameters
    ----------
    table : array of shape (words, features)
        Of a dtype that `dropout` takes, of any library. Look words up in the result.
    p : float, default 0.5
        Probability that a word is dropped, ``0 <= p < 1``.

    See Also
    --------
    EmbeddingDropout : the layer.
    token_dropout : single occurrences.

    References
    ----------
    .. [1] Y. Gal and Z. Ghahramani, "A theoretically grounded application of dropout in recurrent
       neural networks", 2015, https://arxiv.org/abs/1512.05287
    .. [2] S. Merity et al., "Regularizing and optimizing LSTM language models", 2017,
       https://arxiv.org/abs/1708.02182

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> table = anydrop.embedding_dropout(np.ones((4, 2)), 0.5, seed=0, step=0)
    >>> table[np.asarray([3, 0, 3])]
    array([[2., 2.],
           [0., 0.],
           [2., 2.]])
    """
    return drop(EMBEDDING, table, p, **keywords)


@described_by(dropout)
def token_dropout(
    ids: Array,
    p: float = 0.1,
    *,
    token: int,
    protected: Sequence[int] = (),
    **keywords: Unpack[Keywords],
) -> Any:
    """Replace tokens of a text by a given one, such as an unknown word or a mask's.

    Parameters
    ----------
    ids : array of integers, any shape
        Tokens, of any library.
    p : float, default 0.1
        Probability that a token is replaced, ``0 <= p < 1``.
    token : int
        What replaces it; the dtype of the tokens must hold it.
    protected : sequence of int, optional
        Tokens that are never replaced, such as those of padding, beginning and end.
    out : None
        Refused: use the array that is returned.
    scaling : "train"
        "inference" is refused: tokens are no numbers that could be scaled.

    Returns
    -------
    array, or tuple of array and StoredMask
        ``where(keep, ids, token)``, with the shape, dtype, library and device of `ids`. The mask is
        True where a token stayed, protected ones included.

    See Also
    --------
    TokenDropout : the layer.

    References
    ----------
    .. [1] S. R. Bowman et al., "Generating sentences from a continuous space", 2015,
       https://arxiv.org/abs/1511.06349, which replaces words by an unknown one
    .. [2] J. Devlin et al., "BERT: pre-training of deep bidirectional transformers for language
       understanding", 2018, https://arxiv.org/abs/1810.04805

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> ids = np.asarray([1, 17, 42, 8, 99, 23, 2])
    >>> anydrop.token_dropout(ids, 0.5, token=3, protected=(1, 2), seed=0, step=1)
    array([ 1,  3, 42,  3,  3, 23,  2])
    """
    call = Call(ids, p, unscaled=UNSCALED, **keywords)
    if call.out is not None:
        raise TypeError("token_dropout has no out=: use the array that it returns")
    backend, xp = call.backend, call.backend.xp
    stays = check.integers(protected, "protected")
    if not xp.isdtype(ids.dtype, "integral"):
        raise TypeError(
            f"token_dropout needs an array of integers, got dtype {backend.dtype_name(ids)}; "
            "dropout is for numbers"
        )
    limits = xp.iinfo(ids.dtype)
    for one in (check.integer(token, "token"), *stays):
        if not limits.min <= one <= limits.max:
            raise ValueError(
                f"{one} is no token of dtype {backend.dtype_name(ids)}, which holds {limits.min} "
                f"to {limits.max}"
            )
    if not call.training:
        return call.result(ids)
    mask = call.mask(1.0)
    if not call.p:
        return call.result(ids, mask)
    ids = backend.composable(ids)
    kept = mask.keep(like=ids)

    def constant(value: int) -> Array:  # which not every namespace takes as a plain int
        return backend.move(xp.full((1,) * ids.ndim, value, dtype=ids.dtype), ids)

    for one in stays:
        kept = kept | (ids == constant(one))
    # NumPy's `where` has the machine's byte order.
    y = xp.where(backend.aligned(kept, ids), ids, constant(token))
    y = xp.astype(y, ids.dtype, copy=False)
    if not call.return_mask:
        return y
    # It can't be drawn again without the tokens, some of which may be protected.
    shared = () if stays else mask.shared_axes
    return call.result(y, StoredMask(backend.pack(kept), call.shape, call.p, 1.0, shared))


@final
@described_by(embedding_dropout, DropLayer)
class EmbeddingDropout(DropLayer):
    """Drop whole rows of an embedding table; see `embedding_dropout`.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.EmbeddingDropout(0.5, seed=0)
    >>> drop(np.ones((1000, 16))).shape, drop.mask.shape
    ((1000, 16), (1000, 1))
    """

    _function = staticmethod(embedding_dropout)
    _rule = EMBEDDING

    def __init__(self, p: Rate = 0.5, **keywords: Unpack[DropKeywords]) -> None:
        super().__init__(p, **keywords)

    def _batch_axes(self, ndim: int) -> tuple[int, ...]:
        return ()  # a table has no examples


@final
@described_by(token_dropout, DropLayer)
class TokenDropout(DropLayer):
    """Replace tokens of a text by a given one; see `token_dropout`.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.TokenDropout(0.5, token=3, protected=(1, 2), seed=0)
    >>> drop(np.asarray([1, 17, 42, 8, 99, 23, 2]))
    array([ 1, 17, 42,  8, 99, 23,  2])
    >>> drop(np.asarray([1, 17, 42, 8, 99, 23, 2]))
    array([ 1,  3, 42,  3,  3, 23,  2])
    >>> drop.mask
    array([ True, False,  True, False, False,  True,  True])
    """

    _function = staticmethod(token_dropout)
    _unscaled = UNSCALED

    token = Setting(check.integer, "What replaces a token.")
    protected = Setting(check.integers, "Tokens that are never replaced.")

    def __init__(
        self,
        p: Rate = 0.1,
        *,
        token: int,
        protected: Sequence[int] = (),
        **keywords: Unpack[DropKeywords],
    ) -> None:
        super().__init__(p, token=token, protected=protected, **keywords)

    def backward(self, gradient: Array, training: bool | None = None) -> Any:
        """Refuse: tokens are integers, and nothing has a gradient by them.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(
            "tokens are integers and have no gradient: the backward pass ends at the embedding, "
            "and there is nothing to call TokenDropout.backward() for"
        )
