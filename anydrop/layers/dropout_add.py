"""`dropout_add` and `DropoutAdd`: dropout and the sums around it, in one pass over memory."""

from __future__ import annotations

from typing import Any, Unpack, final

from anydrop.backends import resolve
from anydrop.backends.base import HALVES
from anydrop.core.docstrings import described_by
from anydrop.core.typing import Array
from anydrop.layers.call import Call, Keywords
from anydrop.layers.drop_layer import DropKeywords, DropLayer
from anydrop.layers.dropout import dropout
from anydrop.masks.dropout_add import DropoutAddMask
from anydrop.masks.mask import Differentiable
from anydrop.schedules import Rate


@described_by(dropout)
def dropout_add(
    x: Array,
    residual: Array,
    p: float = 0.5,
    *,
    bias: Array | None = None,
    **keywords: Unpack[Keywords],
) -> Any:
    """Add a bias, apply dropout, and add the result to a residual, in one pass over memory.

    Use it at the end of each sublayer of a transformer, in place of three operations. It computes
    ``residual + dropout(x + bias)``.

    Parameters
    ----------
    x : array of any shape
        Output of the sublayer, of a dtype that `dropout` takes, of any library.
    residual : array
        Input of the sublayer, with the shape, library and device of `x`. It has the dtype of `x`,
        or float32 if `x` is float16 or bfloat16.
    bias : array, optional
        Bias of the sublayer's last linear map. It must broadcast to the shape of `x`, with the same
        library and device. It has the dtype of `x`, or float32 if `x` is float16 or bfloat16.
    training : bool, default True
        Whether to drop. False, for inference, returns the sum without dropout, unless `scaling` is
        "inference".
    scaling : {"train", "inference"}
        "train", the default, multiplies kept elements by ``1 / (1 - p)`` in training (inverted
        dropout). "inference" instead multiplies ``x + bias`` by ``1 - p`` at inference, as
        Srivastava et al. did in 2014.
    out : array, optional
        Where to write the result. It must have the shape, library and device of `x` and the dtype
        of `residual`, and may be `residual` or `x` itself.

    Returns
    -------
    array, or tuple of array and DropoutAddMask
        ``residual + where(keep, (x + bias) * scale, 0)``, with the shape, library and device of `x`
        and the dtype of `residual`. A dropped NaN or Inf becomes 0. Half types are computed in
        float32 and rounded once. ``mask.apply(gradient)`` returns the gradients of all inputs.

    See Also
    --------
    DropoutAdd : the layer.
    anydrop.torch.DropoutAdd : the PyTorch module.
    dropout : without the sums.
    stochastic_depth : drops whole branches.

    Notes
    -----
    The gradient of the residual is the gradient of the result. The gradient of the bias is a sum,
    which the mask's ``apply`` computes in pairs, in the same order on every library. So it has the
    same bits on each of them, with any number of threads. There are two exceptions: Dask adds chunk
    by chunk, and JAX chooses an order when it differentiates this function itself.

    Where an element is dropped, 0 is added. So a residual of -0.0 becomes +0.0 there.

    References
    ----------
    .. [1] A. Vaswani et al., "Attention is all you need", NeurIPS 2017, section 5.4,
       https://arxiv.org/abs/1706.03762
    .. [2] D. Narayanan et al., "Efficient large-scale language model training on GPU clusters using
       Megatron-LM", SC 2021, https://arxiv.org/abs/2104.04473, which fuses the three steps

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> x, residual = np.asarray([1.0, 2.0, 3.0, 4.0]), np.full(4, 10.0)
    >>> anydrop.dropout_add(x, residual, 0.5, bias=np.asarray(0.5), seed=0, step=7)
    array([13., 15., 17., 10.])
    >>> anydrop.dropout_add(x, residual, 0.5, training=False)
    array([11., 12., 13., 14.])
    """
    call = Call(x, p, **keywords)
    _check_arrays(call, residual, bias)
    backend = call.backend
    if not call.training:
        scale = 1.0 if call.scaling == "train" else 1.0 - call.p
        return call.result(backend.select_add(x, residual, None, scale, bias, call.out))
    scale = 1.0 / (1.0 - call.p) if call.scaling == "train" else 1.0
    mask = DropoutAddMask.of(call.mask(scale), backend, x, bias)
    return call.result(mask.add(backend, x, residual, bias, call.out), mask)


def _check_arrays(call: Call, residual: Array, bias: Array | None) -> None:
    """Refuse arrays that can't be added, or written to."""
    backend, x, out = call.backend, call.x, call.out
    backend.check_input(x)
    wider = ("float32",) if backend.dtype_name(x) in HALVES else ()
    backend.check_like(residual, x, "residual", wider)
    if bias is not None:
        backend.check_like(bias, x, "bias", wider, True)
    if out is None:
        return
    dtype = backend.dtype_name(residual)
    if backend.owns(out) and (given := backend.dtype_name(out)) != dtype:
        raise ValueError(f"out must have the dtype of residual, {dtype}, got {given}")
    backend.check_out(out, x if out is x else residual)


@final
@described_by(dropout_add, DropLayer)
class DropoutAdd(DropLayer):
    """Add a bias, apply dropout, and add the result to a residual, in one pass over memory.

    The layer of `dropout_add`, for the end of each sublayer of a transformer. Call it with the
    output of the sublayer, its input and, if you like, a bias. `backward` returns a gradient for
    each.

    See Also
    --------
    dropout_add : the function.
    anydrop.torch.DropoutAdd : the PyTorch module.
    Dropout : has the methods of all layers.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> add = anydrop.DropoutAdd(0.5, seed=0)
    >>> add(np.ones((2, 3)), np.full((2, 3), 10.0), bias=np.ones(3))
    array([[10., 14., 14.],
           [14., 14., 14.]])
    >>> dx, dresidual, dbias = add.backward(np.ones((2, 3)))
    >>> dx
    array([[0., 2., 2.],
           [2., 2., 2.]])
    >>> dbias
    array([2., 4., 4.])
    """

    _function = staticmethod(dropout_add)

    def __init__(self, p: Rate = 0.5, **keywords: Unpack[DropKeywords]) -> None:
        super().__init__(p, **keywords)

    @described_by(DropLayer.forward)
    def forward(  # type: ignore[override]
        self,
        x: Array,
        residual: Array,
        bias: Array | None = None,
        training: bool | None = None,
    ) -> Array:
        """Return ``residual + dropout(x + bias)``; at inference without dropout.

        Parameters
        ----------
        x : array
            Output of a sublayer.
        residual : array
            Its input, with the shape, library and device of `x`.
        bias : array, optional
            Bias, which is added to `x` first.

        Returns
        -------
        array
            ``residual + where(keep, (x + bias) * scale, 0)``; at inference the sum without dropout.
        """
        return self._forward(x, training, residual=residual, bias=bias)

    def _inference(self, x: Array, **inputs: Any) -> Differentiable:
        return DropoutAddMask.of(super()._inference(x), resolve(x), x, inputs["bias"])

    __call__ = forward  # type: ignore[assignment]
