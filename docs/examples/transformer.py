"""A transformer's encoder in plain NumPy: the worked example of docs/how_to/port.md.

Its attributes have the names of PyTorch's modules. `anydrop.seed_layers` makes the seed of a layer
from its name, so each layer gets the seed that `anydrop.torch.convert` gives this place in PyTorch.
"""

import numpy as np

import anydrop


class SelfAttention:
    def __init__(self, heads, p):
        self.heads = heads
        # In PyTorch, `convert` gives attention a child module of this name.
        self.anydrop = anydrop.Dropout(p)

    def __call__(self, x, weights, name):
        batch, length, width = x.shape
        projected = x @ weights[f"{name}.in_proj_weight"].T + weights[f"{name}.in_proj_bias"]
        parts = projected.reshape(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.transpose(2, 0, 3, 1, 4)
        links = self.anydrop(softmax(query @ key.swapaxes(-2, -1) / np.sqrt(query.shape[-1])))
        joined = (links @ value).swapaxes(1, 2).reshape(x.shape)
        return linear(joined, weights, f"{name}.out_proj")


class Layer:
    def __init__(self, heads, p):
        self.self_attn = SelfAttention(heads, p)
        self.dropout = anydrop.Dropout(p)
        self.dropout1 = anydrop.Dropout(p)
        self.dropout2 = anydrop.Dropout(p)

    def __call__(self, x, weights, name):
        y = self.dropout1(self.self_attn(x, weights, f"{name}.self_attn"))
        x = normed(x + y, weights, f"{name}.norm1")
        y = self.dropout(np.tanh(linear(x, weights, f"{name}.linear1")))
        y = self.dropout2(linear(y, weights, f"{name}.linear2"))
        return normed(x + y, weights, f"{name}.norm2")


class Classifier:
    def __init__(self, layers, heads, p):
        self.layers = [Layer(heads, p) for _ in range(layers)]

    def __call__(self, x, weights):
        for i, layer in enumerate(self.layers):
            x = layer(x, weights, f"layers.{i}")
        return linear(x.mean(axis=1), weights, "head")


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def normed(x, weights, name):
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
