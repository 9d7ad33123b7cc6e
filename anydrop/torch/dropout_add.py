"""`DropoutAdd`: the module for `anydrop.dropout_add`."""

from __future__ import annotations

from typing import Any, Unpack

from torch import Tensor

from anydrop.core.docstrings import described_by
from anydrop.layers import dropout_add
from anydrop.schedules import Rate
from anydrop.torch import proxies
from anydrop.torch.layer_modules import DropLayerModule, Keywords


def _dropout_add(
    x: Tensor, residual: Tensor, bias: Tensor | None, p: float, **keywords: Any
) -> Any:
    return dropout_add.dropout_add(x, residual, p, bias=bias, **keywords)


@described_by(dropout_add.DropoutAdd, DropLayerModule)
class DropoutAdd(DropLayerModule):
    """Add a bias, drop elements and add a residual, in one pass over memory.

    Each sublayer of a transformer ends with ``x = x + dropout(sublayer(x))``. Write
    ``x = add(sublayer(x), x)`` instead. To fuse the bias of the sublayer's last ``nn.Linear``, too,
    make that with ``bias=False`` and pass the bias here: ``add(sublayer(x), x, bias)``.

    See Also
    --------
    anydrop.dropout_add : The function. With the same seed and step it draws the same mask.
    Dropout : Dropout alone.

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> add = anydrop.torch.DropoutAdd(0.5, seed=0)
    >>> add(torch.ones(2, 3), torch.full((2, 3), 10.0), torch.ones(3))
    tensor([[10., 14., 14.],
            [14., 14., 14.]])
    >>> add.eval()(torch.ones(2, 3), torch.full((2, 3), 10.0), torch.ones(3))
    tensor([[12., 12., 12.],
            [12., 12., 12.]])
    """

    _function = staticmethod(_dropout_add)
    _layer = dropout_add.DropoutAdd

    def __init__(self, p: Rate = 0.5, **keywords: Unpack[Keywords]) -> None:
        super().__init__(p, **keywords)

    def forward(  # type: ignore[override]
        self, input: Tensor, residual: Tensor, bias: Tensor | None = None, *, step: Any = None
    ) -> Tensor:
        """Add a bias, drop elements in training mode, and add the residual.

        Parameters
        ----------
        input : Tensor
            The output of a sublayer.
        residual : Tensor
            The input of the sublayer, with the shape, device and dtype of `input`. It may be
            float32 if `input` is float16 or bfloat16, as under ``torch.autocast``.
        bias : Tensor, optional
            Added to `input` first, to whose shape it must broadcast. It has the dtype of `input`,
            or float32 if that is float16 or bfloat16.
        step : int or Tensor, optional
            Draw the mask of this step, and don't count it. By default the next step is drawn and
            counted. Only for a module with a seed.

        Returns
        -------
        Tensor
            ``residual + where(keep, (input + bias) * scale, 0)``, in the dtype of `residual`. At
            inference the plain sum.
        """
        if not isinstance(input, Tensor):
            return proxies.called(self, input, residual, bias=bias, step=step)
        if not self.training:
            self.check_inference()
            return self._at_inference(input, residual, bias)
        return self._run(input, residual, bias, step=step)
