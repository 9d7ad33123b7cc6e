"""`Dropout`: every element by itself, or whole axes together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from anydrop import check
from anydrop._typing import Array
from anydrop.functional import dropout
from anydrop.layers.base import Layer
from anydrop.mask import Mask, StoredMask
from anydrop.stream import Seed


@final
class Dropout(Layer):
    """Drop elements with probability `p` and scale the survivors by ``1 / (1 - p)``.

    Each training forward draws the next mask of the seed; `backward` draws the last one again.
    `DropoutLayer` is the same class.

    Parameters
    ----------
    p : float, default 0.5
        Probability that an element is dropped, ``0 <= p < 1``.
    seed : int, sequence of int or numpy.random.SeedSequence, optional
        Fresh entropy by default, which the attribute `seed` then reports. Layers that should
        drop independently need seeds of their own, such as those of ``SeedSequence.spawn``.
    rng : generator, optional
        A generator of the library whose arrays will come, instead of `seed`; see `dropout`.
    shared_axes : int or sequence of int, optional
        Axes along which all elements share one fate; negative ones count from the end.
    scaling : {"train", "inference"}
        "train" scales survivors in training (inverted dropout); "inference" scales everything by
        ``1 - p`` at inference, as the paper of 2014 did.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or outside its range.

    See Also
    --------
    dropout : the function, without state.

    References
    ----------
    .. [1] N. Srivastava et al., "Dropout: a simple way to prevent neural networks from
       overfitting", JMLR 15, 2014, https://jmlr.org/papers/v15/srivastava14a.html

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.Dropout(p=0.5, seed=0)
    >>> drop(np.ones(7, dtype=np.float32))
    array([0., 2., 2., 2., 2., 2., 0.], dtype=float32)
    >>> drop.backward(np.full(7, 0.25, dtype=np.float32))
    array([0. , 0.5, 0.5, 0.5, 0.5, 0.5, 0. ], dtype=float32)
    >>> drop
    Dropout(p=0.5, seed=0, step=1)
    """

    def __init__(
        self,
        p: float = 0.5,
        *,
        seed: Seed | Sequence[int] | None = None,
        rng: Any = None,
        shared_axes: int | Sequence[int] = (),
        scaling: check.Scaling = "train",
    ) -> None:
        super().__init__(p, seed=seed, rng=rng)
        self._shared_axes = check.axes(shared_axes)
        self._scaling = check.scaling(scaling)

    @property
    def shared_axes(self) -> tuple[int, ...]:
        """Axes along which all elements share one fate."""
        return self._shared_axes

    @property
    def scaling(self) -> check.Scaling:
        """When the factor is applied: "train" or "inference"."""
        return self._scaling

    def _drop(self, x: Array, training: bool) -> tuple[Array, Mask | StoredMask | None]:
        result: tuple[Array, Mask | StoredMask | None] = dropout(
            x,
            self.p,
            training=training,
            shared_axes=self.shared_axes,
            scaling=self.scaling,
            return_mask=True,
            **(self._source(x) if training else {}),
        )
        return result

    def _config(self) -> dict[str, Any]:
        return {
            "p": self.p,
            "shared_axes": self.shared_axes,
            "scaling": self.scaling,
        }
