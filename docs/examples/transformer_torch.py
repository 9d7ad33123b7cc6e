"""The network of transformer.py as a PyTorch model, converted and trained for some steps."""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import anydrop.torch

LAYERS, HEADS, P = 2, 2, 0.2
SHAPE = (1, 8, 16)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        width = SHAPE[-1]
        options = {"dropout": P, "activation": torch.tanh, "batch_first": True}
        layers = [nn.TransformerEncoderLayer(width, HEADS, width, **options) for _ in range(LAYERS)]
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(dim=1))


def watched(model):
    """Return a dict by name, into which each place of a converted model writes its last mask."""
    masks = {}

    def watch(name, module, method):
        called = getattr(module, method)

        def call(*arguments):
            y = called(*arguments)
            masks[name] = (y != 0).numpy()
            return y

        setattr(module, method, call)

    for name, module in model.named_modules():
        if isinstance(module, anydrop.torch.Module):
            # Attention calls `draw` of its child, and not the child itself.
            watch(name, module, "draw" if hasattr(module, "draw") else "forward")
    return masks


def train(model, steps):
    """Train a model. Yield each step's input, its output, and a copy of the weights before it."""
    rng = np.random.default_rng(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        x, target = rng.standard_normal(SHAPE), torch.from_numpy(rng.integers(0, 3, SHAPE[:1]))
        weights = {name: w.detach().numpy().copy() for name, w in model.named_parameters()}
        y = model(torch.from_numpy(x))
        yield x, y.detach().numpy(), weights
        optimizer.zero_grad()
        cross_entropy(y, target).backward()
        optimizer.step()
