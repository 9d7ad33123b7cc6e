"""`LSTM`, `GRU` and `RNN`: PyTorch's own, with anydrop's masks between their layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, has_torch_function

from anydrop.torch.conversion.child import CHILD
from anydrop.torch.standard import Dropout

FUNCTIONS = (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu)


class _Between(nn.RNNBase):
    """A recurrent module that `convert` changed: its child `anydrop` draws a mask for each gap.

    As in PyTorch, dropout is applied to the output of each layer except the last.
    """

    anydrop: Dropout

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Return the output and the state, as PyTorch's module does."""
        if not self.dropout or self.num_layers == 1:
            return super().forward(input, hx)
        if not (self.training or self.anydrop.is_lent):  # `monte_carlo` changes only the child
            self.anydrop.check_inference()
            return super().forward(input, hx)
        if self.anydrop.p != self.dropout:
            self.anydrop.p = self.dropout
        # PyTorch's forward makes one call for all layers. The mode replaces only that call, so
        # PyTorch still does the checks and makes the initial state.
        run = super().forward
        with _LayerByLayer(self.anydrop):
            if torch.compiler.is_dynamo_compiling():
                return run(input, hx)
            if not has_torch_function((input,)):
                raise RuntimeError(
                    "within torch._C.DisableTorchFunction this module would draw PyTorch's masks: "
                    "call it outside of that block"
                )
            # The compiler does not compile recurrent modules, but would compile the mode's calls.
            return torch.compiler.disable(run)(input, hx)


class LSTM(_Between, nn.LSTM):
    """`torch.nn.LSTM`, with anydrop's masks between its layers."""


class GRU(_Between, nn.GRU):
    """`torch.nn.GRU`, with anydrop's masks between its layers."""


class RNN(_Between, nn.RNN):
    """`torch.nn.RNN`, with anydrop's masks between its layers."""


#: What each of PyTorch's classes becomes.
RECURRENT = {nn.LSTM: LSTM, nn.GRU: GRU, nn.RNN: RNN}


def let_drop(module: nn.RNNBase, options: dict[str, Any]) -> Dropout:
    """Have a new child draw the masks between a module's layers, and return the child."""
    child = Dropout(module.dropout, **options)
    kind: Any = type(module)
    module.__class__ = RECURRENT[kind]
    module.add_module(CHILD, child)
    return child.train(module.training)


def revert(module: nn.Module) -> None:
    """Undo `let_drop`. Do nothing for another module."""
    for stock, ours in RECURRENT.items():
        if type(module) is ours:
            delattr(module, CHILD)
            module.__class__ = stock


class _LayerByLayer(TorchFunctionMode):
    """A block in which each of the `FUNCTIONS` runs layer by layer, with our dropout between."""

    def __init__(self, dropout: Dropout) -> None:
        super().__init__()
        self.dropout = dropout

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in FUNCTIONS:
            return func(*args, **(kwargs or {}))
        return _layer_by_layer(func, self.dropout, *args)


def _layer_by_layer(run: Callable[..., Any], dropout: Dropout, x: Tensor, *arguments: Any) -> Any:
    """Call one of the `FUNCTIONS` once for each layer. It takes the arguments for all layers."""
    is_packed = isinstance(arguments[2], list)
    batch_sizes, arguments = arguments[:is_packed], arguments[is_packed:]
    state, weights, bias, layers, _, training, bidirectional, *batch_first = arguments
    states = (state,) if isinstance(state, Tensor) else state  # an LSTM has two
    per_layer = len(weights) // layers
    of_layers = zip(*(s.split(1 + bidirectional) for s in states), strict=True)
    ends = []
    for layer, start in enumerate(of_layers):
        if layer > 0:
            x = dropout(x)
        x, *end = run(
            x,
            *batch_sizes,
            start if len(states) == 2 else start[0],
            weights[layer * per_layer : (layer + 1) * per_layer],
            *(bias, 1, 0.0, training, bidirectional, *batch_first),
        )
        ends.append(end)
    return x, *map(torch.cat, zip(*ends, strict=True))
