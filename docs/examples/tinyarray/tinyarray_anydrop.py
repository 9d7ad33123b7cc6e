"""A backend for tinyarray: the worked example of docs/how_to/backend.md."""

import numpy as np
import tinyarray

from anydrop.backends.base import Backend
from anydrop.backends.numpy.backend import NumpyBackend

HOST = NumpyBackend()


class TinyBackend(Backend):
    """Draws with NumPy and copies, which is enough for a first version."""

    kernel = "host"
    namespace = None  # tinyarray has no namespace of the array API standard

    def keep(self, recipe, like):
        return self.from_numpy(HOST.keep(recipe, None), like)

    def select(self, x, keep, scale, shift=None, fill=0.0, out=None):
        if isinstance(keep, tinyarray.Array):
            keep = self.to_numpy(keep)
        y = self.from_numpy(HOST.select(self.to_numpy(x), keep, scale, shift, fill), x)
        if out is None:
            return y
        out.values[:] = y.values
        return out

    def to_numpy(self, x):
        return np.asarray(x.values, x.dtype).reshape(x.shape)

    def from_numpy(self, x, like):
        return tinyarray.Array(x.ravel().tolist(), x.shape, x.dtype.name)
