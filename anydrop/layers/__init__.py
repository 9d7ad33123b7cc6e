"""The layers: state around the functions of `anydrop.functional`."""

from anydrop.layers.base import Layer
from anydrop.layers.dropout import Dropout

__all__ = ["Dropout", "Layer"]
