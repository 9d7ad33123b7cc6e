"""`drop_connect` and `DropConnect`: the weights of a layer."""

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
    """Drop the weights of a layer, rather than its outputs.

    Drop them before each use of the weights in training. With `examples`, each example of a batch
    gets its own copy of the weights, as in the paper.

    Parameters
    ----------
    weights : array of any shape
        Weights, of a dtype that `dropout` takes, of any library.
    p : float, default 0.5
        Probability that a weight is dropped, ``0 <= p < 1``.
    examples : int, optional
        Number of examples, > 0. The result then has one copy of the weights for each example, along
        a new first axis, with one mask each. `shared_axes`, `noise_shape`, `window` and `out` refer
        to the axes of that result. By default all examples share one mask.

    Returns
    -------
    array, or tuple of array and Mask or DropConnectMask
        ``where(keep, weights * scale, 0)``, with the shape, dtype, library and device of `weights`.
        A dropped NaN or Inf becomes 0. With `examples` the shape is (examples, ...). That is so at
        inference too, where the copies are views of the same weights.

    See Also
    --------
    DropConnect : the layer.
    anydrop.torch.DropConnect : the PyTorch module.

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
    """Drop the weights of a layer, rather than its outputs.

    The layer of `drop_connect`. Call it on the weights, before you use them.

    See Also
    --------
    drop_connect : the function.
    anydrop.torch.DropConnect : the PyTorch module.
    Dropout : has the methods of all layers.

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
        # Only copies of the weights have an axis of examples.
        examples = inputs["examples"]
        return {} if examples is None else super()._shared_by_batch((examples, *shape))

    @described_by(DropLayer.forward)
    def forward(
        self, x: Array, training: bool | None = None, *, examples: int | None = None
    ) -> Array:
        """Drop weights in training; at inference return them unchanged.

        Parameters
        ----------
        x : array of any shape
            The weights.
        examples : int, optional
            Number of examples, each of which gets a copy with its own mask. By default all share
            one.

        Returns
        -------
        array
            The weights after dropout or, with `examples`, the copies along a new first axis.
        """
        return self._forward(x, training, examples=examples)

    def _inference(self, x: Array, **inputs: Any) -> Differentiable:
        mask: Mask = super()._inference(x)
        examples = inputs["examples"]
        if examples is None:
            return mask
        return DropConnectMask(mask._replace(shape=(examples, *mask.shape)))

    __call__ = forward
