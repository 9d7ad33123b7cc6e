"""anydrop: one dropout layer for every array library, with the same mask on all of them."""

from anydrop._version import __version__
from anydrop.backends import register, resolve
from anydrop.functional import dropout
from anydrop.layers import Dropout, Layer
from anydrop.mask import Mask, StoredMask
from anydrop.recipe import Window

DropoutLayer = Dropout

__all__ = [
    "Dropout",
    "DropoutLayer",
    "Layer",
    "Mask",
    "StoredMask",
    "Window",
    "__version__",
    "dropout",
    "register",
    "resolve",
]
