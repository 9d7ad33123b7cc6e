"""`drop_connect` and `DropConnect`: connections, which are a layer's weights."""

from __future__ import annotations

from typing import Any, Unpack, final

from anydrop.backends import resolve
from anydrop.core import check
from anydrop.core.docstrings import described_by
from anydrop.core.typing import Array
from anydrop.layers.call import Call, Keywords, Rule, drop
from anydrop.layers.drop_layer import DropKeywords, DropLayer
from anydrop.layers.dropout import dropout
from anydrop.masks.drop_connect import DropConnectMask
from anydrop.masks.mask import Differentiable, Mask
from anydrop.schedules import Rate

RULE = Rule()


@described_by(dropout)
def drop_connect(
    weights: Array, p: float = 0.5, *, examples: int | None = None, **keywords: Unpack[Keywords]
) -> Any:
    """Drop connections: weights of a layer, before they are applied.

    Parameters
    ----------
    weights : array of any shape
        Of a dtype that `dropout` takes, of any library.
    p : float, default 0.5
        Probability that a connection is dropped, ``0 <= p < 1``.
    examples : int, optional
        Draw one mask for each of so many examples, > 0, as the paper does, and return as many
        copies of the weights. By default the whole batch has one mask. With `examples` the axes of
        `shared_axes`, `noise_shape`, `window` and `out` are those of the copies, the first of which
        counts the examples.

    Returns
    -------
    array, or tuple of array and Mask or DropConnectMask
        ``where(keep, weights * scale, 0)``, with the shape, dtype, library and device of `weights`.
        A dropped NaN or Inf is 0. With `examples` it is of shape (examples, ...), at inference as
        well, where the copies are a view of one.

    See Also
    --------
    DropConnect : the layer.

    References
    ----------
    .. [1] L. Wan et al., "Regularization of neural networks using DropConnect", ICML 2013,
       https://proceedings.mlr.press/v28/wan13.html

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> anydrop.drop_connect(np.ones((2, 3)), 0.5, seed=0, step=0)
    array([[0., 2., 2.],
           [2., 2., 2.]])
    >>> x, weights = np.ones((4, 2)), np.ones((2, 3))
    >>> copies = anydrop.drop_connect(weights, 0.5, examples=4, seed=0, step=0)
    >>> np.einsum("ni,nio->no", x, copies).shape
    (4, 3)
    """
    if examples is None:
        return drop(RULE, weights, p, **keywords)
    backend = resolve(weights)
    shape = (check.positive(examples, "examples"), *backend.shape(weights))
    copies = backend.xp.broadcast_to(backend.composable(weights), shape)
    call = Call(copies, p, **keywords)
    copies, mask, _ = call.drop(RULE, ())
    return call.result(copies, mask and DropConnectMask(mask))


@final
@described_by(drop_connect, DropLayer)
class DropConnect(DropLayer):
    """Drop connections: weights of a layer, before they are applied; see `drop_connect`.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.DropConnect(0.5, seed=0)
    >>> weights = np.ones((2, 3))
    >>> drop(weights, examples=4).shape
    (4, 2, 3)
    >>> drop.backward(np.ones((4, 2, 3))).shape
    (2, 3)
    """

    _function = staticmethod(drop_connect)

    def __init__(self, p: Rate = 0.5, **keywords: Unpack[DropKeywords]) -> None:
        super().__init__(p, **keywords)

    def _shared_by_batch(self, shape: tuple[int, ...], **inputs: Any) -> dict[str, Any]:
        # Weights have no examples; their copies do.
        examples = inputs["examples"]
        return {} if examples is None else super()._shared_by_batch((examples, *shape))

    @described_by(DropLayer.forward)
    def forward(
        self, x: Array, training: bool | None = None, *, examples: int | None = None
    ) -> Array:
        """Drop connections in training; at inference return the weights as they are.

        Parameters
        ----------
        x : array of any shape
            Weights.
        examples : int, optional
            Draw one mask for each of so many examples; by default one for the batch.

        Returns
        -------
        array
            The weights that are left or, with `examples`, as many copies of them.
        """
        return self._forward(x, training, examples=examples)

    def _inference(self, x: Array, **inputs: Any) -> Differentiable:
        mask: Mask = super()._inference(x)
        examples = inputs["examples"]
        if examples is None:
            return mask
        return DropConnectMask(mask._replace(shape=(examples, *mask.shape)))

    __call__ = forward
