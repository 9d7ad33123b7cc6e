"""A backend for tinyarray: the worked example of docs/backends.md."""

import numpy as np
import tinyarray

from anydrop.backends.base import Backend
from anydrop.backends.numpy import NumpyBackend

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
        return np.reshape(x.values, x.shape)

    def from_numpy(self, x, like):
        return tinyarray.Array(x.ravel().tolist(), x.shape)

    def keep(self, mask, like):
        return self.from_numpy(HOST.keep(mask, None), like)

    def select(self, x, mask, scale, shift=-0.0, fill=0.0, out=None):
        return self.from_numpy(HOST.select(self.to_numpy(x), mask, scale, shift, fill), x)

    def empty(self, device):
        return tinyarray.Array([], (0,))

    def probes(self):
        return [(self, self.empty("cpu"))]
