"""An array library that nobody has heard of: a list of numbers with a shape."""

import math


class Array:
    """A C-ordered array of Python floats."""

    dtype = "float64"

    def __init__(self, values, shape):
        self.values, self.shape, self.ndim = list(values), tuple(shape), len(shape)
        assert len(self.values) == math.prod(self.shape)
