"""Modules for PyTorch: drop-in replacements of its own, with the same masks as other libraries.

A saved or exported program that uses anydrop's operators needs this import, too. Import it in a new
process before you load the program.
"""

try:
    import anydrop.backends.torch.operator  # noqa: F401  (registers the operators)
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"anydrop.torch needs PyTorch, which can't be imported here ({error}): "
        "pip install 'anydrop[torch]'"
    ) from error

from anydrop.torch.blocks import DropBlock1d, DropBlock2d, DropBlock3d
from anydrop.torch.catalogue import (
    AttentionDropout,
    DropConnect,
    EmbeddingDropout,
    GaussianDropout,
    GaussianNoise,
    LockedDropout,
    TokenDropout,
    Zoneout,
)
from anydrop.torch.conversion import (
    Conversion,
    Place,
    RandomCall,
    Remaining,
    convert,
    remaining,
    revert,
)
from anydrop.torch.dropout_add import DropoutAdd
from anydrop.torch.explicit import steps, without_steps
from anydrop.torch.module import Module
from anydrop.torch.paths import DropPath, StochasticDepth
from anydrop.torch.standard import (
    AlphaDropout,
    Dropout,
    Dropout1d,
    Dropout2d,
    Dropout3d,
    FeatureAlphaDropout,
)

__all__ = [
    "AlphaDropout",
    "AttentionDropout",
    "Conversion",
    "DropBlock1d",
    "DropBlock2d",
    "DropBlock3d",
    "DropConnect",
    "DropPath",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "DropoutAdd",
    "EmbeddingDropout",
    "FeatureAlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "LockedDropout",
    "Module",
    "Place",
    "RandomCall",
    "Remaining",
    "StochasticDepth",
    "TokenDropout",
    "Zoneout",
    "convert",
    "remaining",
    "revert",
    "steps",
    "without_steps",
]
