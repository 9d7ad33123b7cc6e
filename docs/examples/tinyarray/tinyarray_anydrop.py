"""A backend for tinyarray: the worked example of docs/backends.md."""

import numpy as np
import tinyarray

from anydrop.backends.base import Backend
from anydrop.backends.numpy.backend import NumpyBackend

HOST = NumpyBackend()


class TinyBackend(Backend):
    """Draws on the host and copies, as a first version of any backend may."""

    kernel = "host"

    def __init__(self, name):
        self.name = name

    def owns(self, x):
        return isinstance(x, tinyarray.Array)

    def dtype_name(self, x):
        return x.dtype

    def device(self, x):
        return "cpu"

    def to_numpy(self, x):
        return np.asarray(x.values, x.dtype).reshape(x.shape)

    def from_numpy(self, x, like):
        return tinyarray.Array(x.ravel().tolist(), x.shape, x.dtype.name)

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

    def pack(self, keep):
        return self.from_numpy(HOST.pack(self.to_numpy(keep)), keep)

    def unpack(self, bits, shape, like):
        return self.from_numpy(HOST.unpack(self.to_numpy(bits), shape, None), like)

    def empty(self, device):
        return tinyarray.Array([], (0,))

    def probes(self):
        return [(self, self.empty("cpu"))]
