"""`token_dropout` and `embedding_dropout`, and their layers: dropout for text."""

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

UNSCALED = "tokens can't be scaled"


def _features(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) != 2:
        raise ValueError(
            f"embedding_dropout needs a table of shape (words, features), got one of shape {shape}"
        )
    return (1,)


EMBEDDING = Rule(_features)


@described_by(dropout)
def embedding_dropout(table: Array, p: float = 0.5, **keywords: Unpack[Keywords]) -> Any:
    """Drop whole rows of an embedding table, so that a word disappears from the whole batch.

    Apply it to the table, and look the words up in the result. All occurrences of a word are then
    dropped together. `token_dropout` drops single occurrences.

    Parameters
    ----------
    table : array of shape (words, features)
        Embedding table, of a dtype that `dropout` takes, of any library.
    p : float, default 0.5
        Probability that a word is dropped, ``0 <= p < 1``.

    See Also
    --------
    EmbeddingDropout : the layer.
    anydrop.torch.EmbeddingDropout : the PyTorch module.
    token_dropout : drops single occurrences.

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
    """Replace random tokens of a text by another token, such as "unknown" or a mask.

    Use it on token ids, before the embedding. `embedding_dropout` drops all occurrences of a word
    together.

    Parameters
    ----------
    ids : array of integers, any shape
        Token ids, of any library.
    p : float, default 0.1
        Probability that a token is replaced, ``0 <= p < 1``.
    token : int
        The id that replaces it. It must fit in the dtype of the tokens.
    protected : sequence of int, optional
        Ids that are never replaced, such as padding, begin and end.
    training : bool, default True
        Whether to replace tokens. False, for inference, returns `ids` itself.
    scaling : "train"
        "inference" is refused: tokens can't be scaled.
    out : None
        Refused: use the array that is returned.
    return_mask : bool, default False
        Whether to return ``(y, mask)`` instead of ``y``. ``mask.keep(like=y)`` is the boolean
        array. At inference the mask is None.

    Returns
    -------
    array, or tuple of array and StoredMask
        ``where(keep, ids, token)``, with the shape, dtype, library and device of `ids`. The mask is
        True where a token was kept, also where it is protected.

    See Also
    --------
    TokenDropout : the layer.
    anydrop.torch.TokenDropout : the PyTorch module.
    embedding_dropout : drops all occurrences of a word.

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
            f"token_dropout needs an array of integers, got dtype {backend.dtype_name(ids)}: for "
            "floating-point numbers use dropout"
        )
    limits = xp.iinfo(ids.dtype)
    for one in (check.integer(token, "token"), *stays):
        if not limits.min <= one <= limits.max:
            raise ValueError(
                f"the token {one} does not fit in dtype {backend.dtype_name(ids)}, which holds "
                f"{limits.min} to {limits.max}"
            )
    if not call.training:
        return call.result(ids)
    mask = call.mask(1.0)
    if not call.p:
        return call.result(ids, mask)
    ids = backend.composable(ids)
    kept = mask.keep(like=ids)

    def constant(value: int) -> Array:  # since not every namespace takes a plain int
        return backend.move(xp.full((1,) * ids.ndim, value, dtype=ids.dtype), ids)

    for one in stays:
        kept = kept | (ids == constant(one))
    # NumPy's `where` returns the machine's byte order.
    y = xp.where(backend.aligned(kept, ids), ids, constant(token))
    y = xp.astype(y, ids.dtype, copy=False)
    if not call.return_mask:
        return y
    # A mask with protected tokens can't be drawn again without the tokens.
    shared = () if stays else mask.shared_axes
    return call.result(y, StoredMask(backend.pack(kept), call.shape, call.p, 1.0, shared))


@final
@described_by(embedding_dropout, DropLayer)
class EmbeddingDropout(DropLayer):
    """Drop whole rows of an embedding table, so that a word disappears from the whole batch.

    The layer of `embedding_dropout`. Its input is the table, of shape (words, features): look the
    words up in the output.

    See Also
    --------
    embedding_dropout : the function.
    anydrop.torch.EmbeddingDropout : the PyTorch module.
    Dropout : has the methods of all layers.

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
    """Replace random tokens of a text by another token, such as "unknown" or a mask.

    The layer of `token_dropout`. Its input is an array of token ids, before the embedding. It has
    no backward pass, since ids have no gradient.

    See Also
    --------
    token_dropout : the function.
    anydrop.torch.TokenDropout : the PyTorch module.
    Dropout : has the methods of all layers.

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

    token = Setting(check.integer, "The id that replaces a token.")
    protected = Setting(check.integers, "Ids that are never replaced.")

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
        """Raise TypeError: token ids are integers, and have no gradient.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(
            "token ids are integers and have no gradient: end the backward pass at the embedding, "
            "without TokenDropout.backward()"
        )
