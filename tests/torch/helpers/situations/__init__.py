"""Where dropout goes wrong: each situation tries one kind of module, and says what it found.

A situation is a function of a factory of dropout modules with p = 1/2; the factory takes the seed
of those that have one. It returns where all is right. It raises `SilentError` where gradients are
not those of the forward's mask, or a mask is drawn twice, or another than it should be.

    PYTHONPATH=tests/helpers:tests/torch/helpers python -m situations

writes docs/results/situations.json anew, from which the documentation makes its table.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import anydrop.torch
from situations import checkpoints, compiled, eager, states, transforms
from situations.trial import Make, SilentError

FILE = Path(anydrop.__file__).parent.parent / "docs" / "results" / "situations.json"
SITUATIONS: dict[str, Callable[[Make], None]] = {
    name: function
    for module in (eager, checkpoints, states, transforms, compiled)
    for name, function in module.SITUATIONS.items()
}
COLUMNS: dict[str, Make] = {
    "nn.Dropout(p)": lambda seed: nn.Dropout(0.5),
    "Dropout(p)": lambda seed: anydrop.torch.Dropout(0.5),
    "Dropout(p, seed=0)": lambda seed: anydrop.torch.Dropout(0.5, seed=seed),
}
RIGHT, REFUSED = "right", "refused: "


def verdict(name: str, make: Make) -> str:
    """Return what a situation finds: "right", "refused: " and an error, or a silent error."""
    torch.compiler.reset()
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, of what is deprecated
        try:
            SITUATIONS[name](make)
        except SilentError as found:
            return str(found)
        except Exception as error:
            return REFUSED + str(error).strip().partition("\n")[0]
    return RIGHT


def text(name: str) -> str:
    """Return what a situation is, in words."""
    said = inspect.getdoc(SITUATIONS[name])
    assert said is not None
    return said


def table() -> dict[str, dict[str, str]]:
    """Return what all situations find, by name."""
    return {
        name: {
            "situation": text(name),
            **{column: verdict(name, make) for column, make in COLUMNS.items()},
        }
        for name in SITUATIONS
    }
