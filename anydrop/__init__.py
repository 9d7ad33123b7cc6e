"""anydrop: one dropout layer for every array library, with the same mask on all of them."""

from anydrop.backends import register, resolve
from anydrop.functional import dropout
from anydrop.layers import Dropout, Layer
from anydrop.mask import Mask, StoredMask, Window

__version__ = "0.1.0"

DropoutLayer = Dropout

__all__ = [
    "Dropout",
    "DropoutLayer",
    "Layer",
    "Mask",
    "StoredMask",
    "Window",
    "dropout",
    "register",
    "resolve",
]
