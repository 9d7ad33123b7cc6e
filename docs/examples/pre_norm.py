"""A pre-norm transformer block in plain NumPy, before and after `anydrop.DropoutAdd`.

The backward passes are written by hand. The dropout layers of both blocks have the same names, so
`anydrop.seed_layers` gives them the same masks.
"""

import numpy as np

import anydrop


class Before:
    def __init__(self, sublayers, p):
        self.sublayers = sublayers
        self.drops = [anydrop.Dropout(p) for _ in sublayers]

    def forward(self, x):
        for sublayer, drop in zip(self.sublayers, self.drops, strict=True):
            x = x + drop(sublayer.forward(x) + sublayer.bias)
        return x

    def backward(self, g):
        for sublayer, drop in zip(self.sublayers[::-1], self.drops[::-1], strict=True):
            dy = drop.backward(g)
            sublayer.dbias = dy.sum(axis=(0, 1))
            g = g + sublayer.backward(dy)
        return g


class After:
    def __init__(self, sublayers, p):
        self.sublayers = sublayers
        self.drops = [anydrop.DropoutAdd(p) for _ in sublayers]

    def forward(self, x):
        for sublayer, drop in zip(self.sublayers, self.drops, strict=True):
            x = drop(sublayer.forward(x), x, sublayer.bias)
        return x

    def backward(self, g):
        for sublayer, drop in zip(self.sublayers[::-1], self.drops[::-1], strict=True):
            dy, g, sublayer.dbias = drop.backward(g)
            g = g + sublayer.backward(dy)
        return g


# The sublayers. Each begins with its norm. The block adds the last bias of each.


class Attention:
    def __init__(self, rng, width):
        self.query, self.key, self.value, self.out = (Linear(rng, width, width) for _ in range(4))
        self.norm, self.bias = Norm(), rng.standard_normal(width)
        self.linears = [self.query, self.key, self.value, self.out]

    def forward(self, x):
        x = self.norm.forward(x)
        self.q, self.k, self.v = (part.forward(x) for part in self.linears[:3])
        powers = np.exp(self.q @ self.k.swapaxes(1, 2) / np.sqrt(x.shape[-1]))
        self.links = powers / powers.sum(axis=-1, keepdims=True)
        return self.out.forward(self.links @ self.v)

    def backward(self, g):
        g = self.out.backward(g)
        dlinks = g @ self.v.swapaxes(1, 2)
        dscores = self.links * (dlinks - (dlinks * self.links).sum(axis=-1, keepdims=True))
        dscores /= np.sqrt(g.shape[-1])
        dx = self.query.backward(dscores @ self.k)
        dx += self.key.backward(dscores.swapaxes(1, 2) @ self.q)
        dx += self.value.backward(self.links.swapaxes(1, 2) @ g)
        return self.norm.backward(dx)


class FeedForward:
    def __init__(self, rng, width):
        self.linears = [Linear(rng, width, 4 * width), Linear(rng, 4 * width, width)]
        self.norm, self.bias = Norm(), rng.standard_normal(width)

    def forward(self, x):
        self.hidden = np.tanh(self.linears[0].forward(self.norm.forward(x)))
        return self.linears[1].forward(self.hidden)

    def backward(self, g):
        g = self.linears[1].backward(g) * (1 - self.hidden**2)
        return self.norm.backward(self.linears[0].backward(g))


class Linear:
    def __init__(self, rng, inputs, outputs):
        self.weight = rng.standard_normal((inputs, outputs)) / np.sqrt(inputs)

    def forward(self, x):
        self.x = x
        return x @ self.weight

    def backward(self, g):
        self.dweight = np.einsum("bti,bto->io", self.x, g)
        return g @ self.weight.T


class Norm:
    def forward(self, x):
        self.width = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
        self.y = (x - x.mean(axis=-1, keepdims=True)) / self.width
        return self.y

    def backward(self, g):
        along = (g * self.y).mean(axis=-1, keepdims=True)
        return (g - g.mean(axis=-1, keepdims=True) - self.y * along) / self.width
