"""Dropout for every array library. The same seed draws the same mask on all of them."""

import importlib
from types import ModuleType

from anydrop import schedules
from anydrop._version import __version__
from anydrop.backends import register, resolve
from anydrop.backends.common.threads import get_num_threads, set_num_threads
from anydrop.core.recipe import Window
from anydrop.layers.alpha import (
    AlphaDropout,
    FeatureAlphaDropout,
    alpha_dropout,
    feature_alpha_dropout,
)
from anydrop.layers.attention import AttentionDropout, attention_dropout
from anydrop.layers.base import Layer
from anydrop.layers.drop_block import (
    DropBlock1d,
    DropBlock2d,
    DropBlock3d,
    drop_block1d,
    drop_block2d,
    drop_block3d,
)
from anydrop.layers.drop_connect import DropConnect, drop_connect
from anydrop.layers.drop_layer import DropLayer
from anydrop.layers.dropout import Dropout, dropout
from anydrop.layers.dropout_add import DropoutAdd, dropout_add
from anydrop.layers.gaussian import (
    GaussianDropout,
    GaussianNoise,
    gaussian_dropout,
    gaussian_noise,
)
from anydrop.layers.recurrent import LockedDropout, Zoneout, locked_dropout, zoneout
from anydrop.layers.spatial import Dropout1d, Dropout2d, Dropout3d, dropout1d, dropout2d, dropout3d
from anydrop.layers.stochastic_depth import (
    StochasticDepth,
    depth_rates,
    drop_path,
    stochastic_depth,
)
from anydrop.layers.tokens import EmbeddingDropout, TokenDropout, embedding_dropout, token_dropout
from anydrop.masks.blocks import BlockMask
from anydrop.masks.drop_connect import DropConnectMask
from anydrop.masks.dropout_add import DropoutAddMask
from anydrop.masks.mask import Mask
from anydrop.masks.noise import Noise
from anydrop.masks.stored import StoredMask
from anydrop.masks.zoneout import ZoneoutMask
from anydrop.monte_carlo.run import MonteCarlo, monte_carlo
from anydrop.seeding import seed_layers

# Aliases.
DropoutLayer = Dropout
DropPath = StochasticDepth

__all__ = [
    "AlphaDropout",
    "AttentionDropout",
    "BlockMask",
    "DropBlock1d",
    "DropBlock2d",
    "DropBlock3d",
    "DropConnect",
    "DropConnectMask",
    "DropLayer",
    "DropPath",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "DropoutAdd",
    "DropoutAddMask",
    "DropoutLayer",
    "EmbeddingDropout",
    "FeatureAlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "Layer",
    "LockedDropout",
    "Mask",
    "MonteCarlo",
    "Noise",
    "StochasticDepth",
    "StoredMask",
    "TokenDropout",
    "Window",
    "Zoneout",
    "ZoneoutMask",
    "__version__",
    "alpha_dropout",
    "attention_dropout",
    "depth_rates",
    "drop_block1d",
    "drop_block2d",
    "drop_block3d",
    "drop_connect",
    "drop_path",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "dropout_add",
    "embedding_dropout",
    "feature_alpha_dropout",
    "gaussian_dropout",
    "gaussian_noise",
    "get_num_threads",
    "locked_dropout",
    "monte_carlo",
    "register",
    "resolve",
    "schedules",
    "seed_layers",
    "set_num_threads",
    "stochastic_depth",
    "token_dropout",
    "zoneout",
]

# Submodules that are imported on first use, since each imports its framework.
_FRAMEWORKS = ("jax", "torch")


def __getattr__(name: str) -> ModuleType:
    if name in _FRAMEWORKS:
        return importlib.import_module(f"anydrop.{name}")
    raise AttributeError(f"module 'anydrop' has no attribute {name!r}")
