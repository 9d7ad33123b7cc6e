"""The classes of dropout modules that `convert` knows, and the classes of ours for them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from anydrop.torch.blocks import DropBlock2d, DropBlock3d
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

# PyTorch's classes.
STANDARD: dict[type[nn.Module], type[Module]] = {
    nn.Dropout: Dropout,
    nn.Dropout1d: Dropout1d,
    nn.Dropout2d: Dropout2d,
    nn.Dropout3d: Dropout3d,
    nn.AlphaDropout: AlphaDropout,
    nn.FeatureAlphaDropout: FeatureAlphaDropout,
}


class TimmDropBlock2d(DropBlock2d):
    """For timm's ``DropBlock2d``: its drop probability is scaled, and channels may share a mask."""

    drop_prob: float
    gamma_scale: float
    couple_channels: bool

    @property
    def p(self) -> Any:  # type: ignore[override]
        """The probability that an element is dropped."""
        return self.drop_prob * self.gamma_scale

    def _settings(self, x: Tensor) -> dict[str, Any]:
        shared = {"shared_axes": 1} if self.couple_channels else {}
        return {**super()._settings(x), **shared}


class StableDropout(Dropout):
    """For modules with a ``drop_prob``, such as DeBERTa's."""

    drop_prob: float

    @property
    def p(self) -> Any:
        """The probability that an element is dropped."""
        return self.drop_prob


class Known(NamedTuple):
    """A class of ours for a dropout module, and the attributes to set."""

    ours: type[Module]
    attributes: dict[str, Any] = {}  # noqa: RUF012 - a tuple's default


def known(module: nn.Module) -> Known | str | None:
    """Return what a dropout module becomes, or why it is left, or None for another module.

    PyTorch's modules are known by their class, others by the name of the class and by their
    attributes and behaviour.
    """
    kind = type(module)
    if kind in STANDARD:
        return Known(STANDARD[kind])
    for ending, stands_for in NAMED.items():
        if kind.__name__.endswith(ending):
            return stands_for(module)
    is_leaf = next(module.children(), None) is None
    if is_leaf and "drop" in kind.__name__.lower() and not isinstance(module, tuple(STANDARD)):
        return "its class is not known"
    return None


def _path(module: nn.Module) -> Known | str:
    values = vars(module)
    if "drop_prob" not in values:
        return "it has no drop_prob"
    attributes: dict[str, Any] = {} if "scale_by_keep" in values else {"scale_by_keep": True}
    if values["drop_prob"] is None:
        attributes["drop_prob"] = 0.0
    scales = values.get("scale_by_keep", True)
    if not _drops_rows(module, "drop_prob", 4 / 3 if scales else 1.0):
        return "it does not drop examples as timm's DropPath does"
    return Known(DropPath, attributes)


def _depth(module: nn.Module) -> Known | str:
    has = {"p", "mode"} <= vars(module).keys()
    if not has or not _drops_rows(module, "p", 4 / 3, mode="row"):
        return "it does not drop examples as torchvision's StochasticDepth does"
    return Known(StochasticDepth)


def _drops_rows(module: nn.Module, rate: str, scale: float, **attributes: Any) -> bool:
    """Tell whether a module drops whole examples with the probability in an attribute.

    It is tried with 1/4 on 256 examples. Only one trial in 10**17 drops half of them or more, so a
    probability of keeping can be told from a probability of dropping.
    """
    trial = copy.copy(module)
    vars(trial).update({rate: 0.25, "training": True, **attributes})
    x = torch.ones(256, 2, 3, device="cpu")
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            rows = trial.forward(x.clone()).flatten(1)
            vars(trial)["training"] = False
            unchanged = torch.equal(trial.forward(x.clone()), x)
    except Exception:  # Code that is not ours may raise anything. The table says why it is left.
        return False
    first = rows[:, :1]
    kept = torch.full_like(first, scale)
    right = ((first == 0) | torch.isclose(first, kept)) & (rows == first)
    return unchanged and bool(right.all()) and 0 < int((first == 0).sum()) < 128


def _blocks(ours: type[Module]) -> Callable[[nn.Module], Known | str]:
    def stands_for(module: nn.Module) -> Known | str:
        values = vars(module)
        if {"p", "block_size", "inplace", "eps"} <= values.keys():  # torchvision's
            return Known(ours)
        timms = {"drop_prob", "gamma_scale", "block_size", "inplace", "couple_channels"}
        if ours is not DropBlock2d or not timms <= values.keys():
            return "its class is not known"
        if values.get("with_noise") or not values.get("scale_by_keep", True):
            return "with_noise=True and scale_by_keep=False have no counterpart"
        return Known(TimmDropBlock2d, {"eps": 1e-6})

    return stands_for


def _stable(module: nn.Module) -> Known | str:
    if "drop_prob" not in vars(module):
        return "it has no drop_prob"
    return Known(StableDropout, {"inplace": False})


# Classes of other packages, by the end of their names.
NAMED: dict[str, Callable[[nn.Module], Known | str]] = {
    "DropPath": _path,
    "StochasticDepth": _depth,
    "DropBlock2d": _blocks(DropBlock2d),
    "DropBlock3d": _blocks(DropBlock3d),
    "StableDropout": _stable,
}
