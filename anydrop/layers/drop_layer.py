"""`DropLayer`: what the layers with a drop probability have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypedDict

from anydrop import schedules
from anydrop.core import check
from anydrop.core.setting import Setting
from anydrop.core.stream import Seed
from anydrop.layers.base import Layer
from anydrop.schedules import Rate


class DropKeywords(TypedDict, total=False):
    """The keywords of the constructor of every `DropLayer`."""

    seed: Seed | Sequence[int] | None
    rng: Any
    shared_axes: int | Sequence[int]
    noise_shape: Sequence[int | None] | None
    scaling: check.Scaling


class DropLayer(Layer):
    """A layer with a drop probability.

    Parameters
    ----------
    p : float or Schedule, default 0.5
        Probability that an element is dropped, ``0 <= p < 1`` and at most ``1 - 2**-32``.
    seed : int, sequence of int or numpy.random.SeedSequence, optional
        Fresh entropy by default, which the attribute `seed` then reports. Layers that should
        draw independently need seeds of their own, such as those of ``SeedSequence.spawn``.
    rng : generator, optional
        A generator of the library whose arrays will come, instead of `seed`; see `dropout`.
    shared_axes : int or sequence of int, optional
        Axes along which all elements share one fate, in addition to those that a layer shares by
        itself; negative ones count from the end.
    noise_shape : sequence of int or None, optional
        Another spelling of `shared_axes`, Keras's: 1 along those axes, None along the others.
    scaling : {"train", "inference"}
        "train" scales survivors in training (inverted dropout); "inference" scales everything by
        ``1 - p`` at inference, as the paper of 2014 did.
    **options
        The settings of the subclass, by the names of their `Setting`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or outside its range.
    """

    #: Why ``scaling="inference"`` makes no sense for the layer; empty if it does.
    _unscaled: ClassVar[str] = ""

    p = Setting(
        schedules.rate,
        "Drop probability, or its schedule; setting it takes effect at the next forward.",
        settable=True,
    )
    shared_axes = Setting(check.axes, "Axes along which all elements share one fate.")
    noise_shape = Setting(check.noise_shape, "`shared_axes` as Keras spells it.")
    scaling = Setting(check.scaling, 'When the factor is applied: "train" or "inference".')

    def __init__(
        self,
        p: Rate = 0.5,
        *,
        seed: Seed | Sequence[int] | None = None,
        rng: Any = None,
        shared_axes: int | Sequence[int] = (),
        noise_shape: Sequence[int | None] | None = None,
        scaling: check.Scaling = "train",
        **options: Any,
    ) -> None:
        super().__init__(
            seed=seed,
            rng=rng,
            p=p,
            **options,
            shared_axes=shared_axes,
            noise_shape=noise_shape,
            scaling=scaling,
        )

    @classmethod
    def _check_settings(cls, settings: dict[str, Any]) -> dict[str, Any]:
        check.scaling(settings["scaling"], unscaled=cls._unscaled)
        return super()._check_settings(settings)
