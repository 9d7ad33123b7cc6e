"""`DropLayer`: what all layers with a drop probability have in common."""

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
    """The keywords that every `DropLayer` takes in its constructor."""

    seed: Seed | Sequence[int] | None
    rng: Any
    shared_axes: int | Sequence[int]
    noise_shape: Sequence[int | None] | None
    scaling: check.Scaling


class DropLayer(Layer):
    """Base class of the layers with a drop probability.

    Derive from it to make a layer of your own function. `Dropout` shows the methods.

    Parameters
    ----------
    p : float or Schedule, default 0.5
        Probability that an element is dropped, ``0 <= p < 1`` and at most ``1 - 2**-32``.
    seed : int, sequence of int or numpy.random.SeedSequence, optional
        Seed of the masks. By default the operating system provides one, and the attribute `seed`
        reports it, so that you can repeat the run. Give each layer its own seed, or layers of one
        shape drop the same elements; `seed_layers` does that for a whole model.
    rng : generator, optional
        Generator of the library whose arrays will come, instead of `seed`. See `dropout`.
    shared_axes : int or sequence of int, optional
        Axes along which elements are dropped together, in addition to those that the layer always
        shares. Negative axes count from the end.
    noise_shape : sequence of int or None, optional
        The same as `shared_axes` in Keras's notation: 1 for a shared axis, and None for any other.
    scaling : {"train", "inference"}
        "train", the default, multiplies kept elements by ``1 / (1 - p)`` in training (inverted
        dropout). "inference" instead multiplies all elements by ``1 - p`` at inference, as
        Srivastava et al. did in 2014.
    **options
        The settings of the subclass, by name.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.
    """

    #: Why the layer refuses ``scaling="inference"``; empty if it takes it.
    _unscaled: ClassVar[str] = ""

    p = Setting(
        schedules.rate,
        "Drop probability, or its schedule. You can set it; the next forward uses the new value.",
        settable=True,
    )
    shared_axes = Setting(check.axes, "Axes along which elements are dropped together.")
    noise_shape = Setting(check.noise_shape, "The same as `shared_axes`, in Keras's notation.")
    scaling = Setting(check.scaling, 'When elements are scaled: "train" or "inference".')

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
