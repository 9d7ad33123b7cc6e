"""A small autograd engine whose dropout stores no mask: the example of docs/how_to/backward.md."""

import numpy as np

import anydrop


class Tensor:
    """An array that remembers its parents, and how to pass a gradient back to them."""

    def __init__(self, data, parents=(), pull_back=None):
        self.data, self.parents, self.pull_back = np.asarray(data), parents, pull_back
        self.grad = np.zeros_like(self.data)

    def __matmul__(self, other):
        a, b = self.data, other.data
        return Tensor(a @ b, (self, other), lambda g: (g @ b.T, a.T @ g))

    def sum(self):
        return Tensor(self.data.sum(), (self,), lambda g: (np.full_like(self.data, g),))

    def backward(self):
        order = []

        def visit(tensor):
            if tensor not in order:
                for parent in tensor.parents:
                    visit(parent)
                order.append(tensor)

        visit(self)
        self.grad = np.ones_like(self.data)
        for tensor in reversed(order):
            pulled = tensor.pull_back(tensor.grad) if tensor.parents else ()
            for parent, gradient in zip(tensor.parents, pulled, strict=True):
                parent.grad = parent.grad + gradient


class Dropout:
    """anydrop's layer, for the tensors of this engine."""

    def __init__(self, p, seed):
        self.layer = anydrop.Dropout(p, seed=seed)
        self.train, self.eval = self.layer.train, self.layer.eval

    def __call__(self, x):
        y = self.layer(x.data)
        if not self.layer.training:
            return Tensor(y, (x,), lambda g: (g,))
        recipe = self.layer.recipe  # a few numbers that describe this call's mask
        return Tensor(y, (x,), lambda g: (recipe.apply(g),))
