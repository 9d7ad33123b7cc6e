"""PyTorch's recurrent modules, and the same networks written by hand."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import anydrop.torch
from anydrop.torch.conversion.recurrent import RECURRENT

IN, HIDDEN, LAYERS, P = 4, 6, 3, 0.4
LENGTHS = torch.tensor([2, 5, 3])

MODULES = {
    "LSTM": (nn.LSTM, {}),
    "LSTM-proj": (nn.LSTM, {"proj_size": 3}),
    "GRU": (nn.GRU, {}),
    "RNN-tanh": (nn.RNN, {}),
    "RNN-relu": (nn.RNN, {"nonlinearity": "relu"}),
}
FORMS = ["batch", "unbatched", "packed", "packed-unsorted"]
NAME = pytest.mark.parametrize("name", MODULES)


def become(module, seed=7):
    """Do what `convert` does to a module."""
    module.__class__ = RECURRENT[type(module)]
    module.anydrop = anydrop.torch.Dropout(module.dropout, seed=seed)
    return module


def stock(name="LSTM", layers=LAYERS, dtype=torch.float64, dropout=P, **options):
    cls, own = MODULES[name]
    torch.manual_seed(0)
    return cls(IN, HIDDEN, layers, dropout=dropout, dtype=dtype, **own, **options)


def converted(name="LSTM", seed=7, **options):
    return become(stock(name, **options), seed)


def inputs(module, form="batch", with_state=True):
    """Return an input of one of the `FORMS`, and a state or None, that both require gradients."""
    torch.manual_seed(1)
    dtype = module.weight_ih_l0.dtype
    shape = (3, 5, IN) if module.batch_first else (5, 3, IN)
    x = torch.randn(shape, dtype=dtype)
    if form == "unbatched":
        x = torch.randn(5, IN, dtype=dtype)
    if form.startswith("packed"):
        lengths = LENGTHS if form == "packed-unsorted" else LENGTHS.sort(descending=True)[0]
        x = pack_padded_sequence(x, lengths, module.batch_first, form != "packed-unsorted")
    leaf = tensors(x)[0].requires_grad_()
    if not with_state:
        return leaf, x, None
    rows = module.num_layers * (1 + module.bidirectional)
    batch = () if form == "unbatched" else (3,)
    sizes = [module.proj_size or HIDDEN, HIDDEN][: 2 if isinstance(module, nn.LSTM) else 1]
    state = [torch.randn(rows, *batch, n, dtype=dtype).requires_grad_() for n in sizes]
    return leaf, x, tuple(state) if len(state) == 2 else state[0]


def tensors(result):
    """Return the tensors of an output, of a state or of both."""
    if isinstance(result, PackedSequence | torch.Tensor):
        return [result.data if isinstance(result, PackedSequence) else result]
    return [t for part in result for t in tensors(part)]


def gradients(module, leaf, state, result):
    # Weights that differ from one another make sure that nothing has changed places.
    loss = sum((t * torch.arange(t.numel()).view(t.shape).cos()).sum() for t in tensors(result))
    leaves = [leaf, *(tensors(state) if state is not None else [])]
    return torch.autograd.grad(loss, [*leaves, *module.parameters()])


def by_hand(module, x, state, drop):
    """Return what modules of one layer return, one after another, with `drop` in between."""
    directions = 1 + module.bidirectional
    ends = []
    for k in range(module.num_layers):
        options = {"nonlinearity": module.nonlinearity} if isinstance(module, nn.RNN) else {}
        layer = next(cls for cls in RECURRENT if isinstance(module, cls))(
            x.data.shape[-1],
            HIDDEN,
            bias=module.bias,
            batch_first=module.batch_first,
            bidirectional=module.bidirectional,
            dtype=module.weight_ih_l0.dtype,
            **options,
            **({"proj_size": module.proj_size} if isinstance(module, nn.LSTM) else {}),
        )
        own = {n: getattr(module, n.replace("_l0", f"_l{k}")) for n, _ in layer.named_parameters()}
        rows = slice(k * directions, (k + 1) * directions)
        start = None
        if state is not None:
            start = tuple(s[rows] for s in tensors(state))
            start = start if len(start) == 2 else start[0]
        x, end = functional_call(layer, own, (x, start))
        ends.append(tensors(end))
        if k < module.num_layers - 1:
            x = x._replace(data=drop(x.data, k)) if isinstance(x, PackedSequence) else drop(x, k)
    return x, tuple(torch.cat(parts) for parts in zip(*ends, strict=True))
