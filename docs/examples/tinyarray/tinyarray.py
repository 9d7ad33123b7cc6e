"""A tiny array library: a list of numbers with a shape."""

import math


class Array:
    """A C-ordered array of Python numbers."""

    def __init__(self, values, shape, dtype="float64"):
        self.values, self.shape, self.dtype = list(values), tuple(shape), dtype
        assert len(self.values) == math.prod(self.shape)
