"""`LayerModule`: the base of modules that take the arguments of one of anydrop's layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypedDict

from torch import Tensor

from anydrop.core import check
from anydrop.core.docstrings import described_by
from anydrop.core.stream import Seed
from anydrop.layers.base import Layer
from anydrop.schedules import Rate
from anydrop.torch.module import Module

# Default values, which are not passed on to functions.
_DEFAULTS: tuple[Any, ...] = ((), None, "train")


class Keywords(TypedDict, total=False):
    """Keywords of the constructors of all modules with a drop probability here."""

    seed: Seed | Sequence[int] | None
    per_rank: bool | int | None
    shared_axes: int | Sequence[int]
    noise_shape: Sequence[int | None] | None
    scaling: check.Scaling


class LayerModule(Module):
    """A module with the settings of one of anydrop's layers. The layer checks them."""

    _layer: ClassVar[type[Layer]]

    def __init__(
        self,
        *,
        seed: Seed | Sequence[int] | None = None,
        per_rank: bool | int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(seed=seed, per_rank=per_rank)
        layer = self._layer(seed=0, **settings)
        for name in settings:
            setattr(self, name, getattr(layer, name))
        self._names = tuple(name for name in settings if name != self._rate_name)
        self._check_rate()

    def _infer(self, *inputs: Any) -> Any:
        if getattr(self, "scaling", "train") == "train":
            return inputs[0]
        return self._at_inference(*inputs)

    def _at_inference(self, *inputs: Any) -> Any:
        settings = self._settings(inputs[0])
        return self._function(*inputs, self._rate(), training=False, **settings)

    def _settings(self, x: Tensor) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in self._names}
        return {name: value for name, value in settings.items() if value not in _DEFAULTS}

    def _shown(self) -> str:
        settings = {name: getattr(self, name) for name in (self._rate_name, *self._names)}
        shown = {n: v for n, v in settings.items() if v is not False and v not in _DEFAULTS}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())


@described_by(Module)
class DropLayerModule(LayerModule):
    """A module for one of anydrop's layers with a drop probability.

    Parameters
    ----------
    p : float, default 0.5
        Probability that an element is dropped, ``0 <= p < 1``. You may change it later. A schedule
        needs a `seed`.
    shared_axes : int or sequence of int, optional
        Axes along which all elements are dropped together, in addition to those that the module
        shares anyway. Negative axes count from the end.
    noise_shape : sequence of int or None, optional
        Keras's way to write `shared_axes`: 1 for those axes, None for the others.
    scaling : {"train", "inference"}
        "train" multiplies survivors by ``1 / (1 - p)`` in training (inverted dropout). "inference"
        multiplies everything by ``1 - p`` at inference, as the paper of 2014 did.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.
    """

    p: Any

    def __init__(
        self,
        p: Rate = 0.5,
        *,
        seed: Seed | Sequence[int] | None = None,
        per_rank: bool | int | None = None,
        shared_axes: int | Sequence[int] = (),
        noise_shape: Sequence[int | None] | None = None,
        scaling: check.Scaling = "train",
        **options: Any,
    ) -> None:
        super().__init__(
            seed=seed,
            per_rank=per_rank,
            p=p,
            **options,
            shared_axes=shared_axes,
            noise_shape=noise_shape,
            scaling=scaling,
        )
