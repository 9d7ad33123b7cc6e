"""`locked_dropout` and `zoneout`, and their layers: what recurrent networks drop."""

from __future__ import annotations

from typing import Any, Unpack, final

from anydrop.backends.base import HALVES, Backend
from anydrop.core import check
from anydrop.core.docstrings import described_by
from anydrop.core.setting import Setting
from anydrop.core.typing import Array
from anydrop.layers.call import Call, Keywords, Rule, drop
from anydrop.layers.drop_layer import DropKeywords, DropLayer
from anydrop.layers.dropout import dropout
from anydrop.masks.mask import Differentiable
from anydrop.masks.zoneout import Expectation, ZoneoutMask
from anydrop.schedules import Rate

UNSCALED = "at inference zoneout takes the expectation already"


def _time(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    ndim = len(shape)
    if not -ndim <= axis < ndim:
        raise ValueError(f"time_axis {axis} is out of range for an array of {ndim} dimensions")
    return (axis % ndim,)


LOCKED = Rule(_time, ("time_axis",))


@described_by(dropout)
def locked_dropout(
    x: Array, p: float = 0.5, *, time_axis: int, **keywords: Unpack[Keywords]
) -> Any:
    """Drop the same features at all time steps of a sequence.

    Parameters
    ----------
    x : array of any shape
        Sequences, such as (batch, time, features) or (time, batch, features).
    p : float, default 0.5
        Probability that a feature of an example is dropped, ``0 <= p < 1``.
    time_axis : int
        Which axis is time; negative ones count from the end. There is no default, since libraries
        disagree, and the wrong one would share masks among examples unseen.

    See Also
    --------
    LockedDropout : the layer.

    References
    ----------
    .. [1] Y. Gal and Z. Ghahramani, "A theoretically grounded application of dropout in recurrent
       neural networks", 2015, https://arxiv.org/abs/1512.05287
    .. [2] S. Merity et al., "Regularizing and optimizing LSTM language models", 2017,
       https://arxiv.org/abs/1708.02182

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> anydrop.locked_dropout(np.ones((1, 3, 4)), 0.5, time_axis=1, seed=0, step=0)[0]
    array([[0., 2., 2., 2.],
           [0., 2., 2., 2.],
           [0., 2., 2., 2.]])
    """
    return drop(LOCKED, x, p, (check.integer(time_axis, "time_axis"),), **keywords)


@described_by(dropout)
def zoneout(new: Array, previous: Array, p: float = 0.5, **keywords: Unpack[Keywords]) -> Any:
    """Let units of a recurrent network keep their previous state.

    Parameters
    ----------
    new : array of any shape
        State that the cell has computed, of a dtype that `dropout` takes.
    previous : array
        State before it, of the shape, dtype, library and device of `new`.
    p : float, default 0.5
        Probability that a unit keeps its previous state, ``0 <= p < 1``.
    training : bool, default True
        False takes the expectation of the two states.
    scaling : "train"
        "inference" is refused: at inference zoneout takes the expectation already.

    Returns
    -------
    array, or tuple of array and ZoneoutMask
        ``where(keep, new, previous)``; at inference the expectation ``(1 - p) * new + p *
        previous``.

    See Also
    --------
    Zoneout : the layer.

    References
    ----------
    .. [1] D. Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden
       activations", 2016, https://arxiv.org/abs/1606.01305

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> anydrop.zoneout(np.ones(7), np.zeros(7), 0.5, seed=0, step=0)
    array([0., 1., 1., 1., 1., 1., 0.])
    >>> anydrop.zoneout(np.ones(3), np.zeros(3), 0.25, training=False)
    array([0.75, 0.75, 0.75])
    """
    call = Call(new, p, unscaled=UNSCALED, **keywords)
    call.check_arrays()
    backend = call.backend
    backend.check_like(previous, new, "previous")
    if not call.training:
        return call.result(call.written(_expectation(backend, new, previous, call.p)))
    zones = ZoneoutMask(call.mask(1.0))
    if not call.p:
        return call.result(call.written(new), zones)
    return call.result(zones.choose(backend, new, previous, call.out), zones)


def _expectation(backend: Backend, new: Array, previous: Array, p: float) -> Array:
    if not p:  # An infinite state that plays no part would make a NaN.
        return new
    xp, name, select = backend.xp, backend.dtype_name(new), backend.select

    def expected(new: Array, previous: Array) -> Array:
        dtype = new.dtype
        if name in HALVES:  # computed in float32 and rounded once
            new, previous = (xp.astype(state, xp.float32) for state in (new, previous))
        # As an array, and in its byte order, which NumPy's sum of two need not be.
        old = backend.aligned(previous, new)
        y = xp.asarray(select(new, None, 1.0 - p) + select(old, None, p))
        return xp.astype(y, dtype, copy=False)

    def shares(gradient: Array) -> tuple[Array, Array]:
        return select(gradient, None, 1.0 - p), select(gradient, None, p)

    return backend.recompute(expected, shares, new, previous)


@final
@described_by(locked_dropout, DropLayer)
class LockedDropout(DropLayer):
    """Drop the same features at all time steps of a sequence; see `locked_dropout`.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.LockedDropout(0.5, time_axis=1, seed=0)
    >>> drop(np.ones((2, 10, 4))).shape, drop.mask.shape
    ((2, 10, 4), (2, 1, 4))
    """

    _function = staticmethod(locked_dropout)
    _rule = LOCKED

    time_axis = Setting(check.integer, "Which axis is time.")

    def __init__(self, p: Rate = 0.5, *, time_axis: int, **keywords: Unpack[DropKeywords]) -> None:
        super().__init__(p, time_axis=time_axis, **keywords)

    def _batch_axes(self, ndim: int) -> tuple[int, ...]:
        if self.time_axis not in (0, -ndim):
            return (0,)
        if ndim == 2:
            raise ValueError(
                "an array of (time, features) has no batch, and one of (time, batch) has: which of "
                "the two LockedDropout got can't be told. Give it a third axis"
            )
        return (1,)


@final
@described_by(zoneout, DropLayer)
class Zoneout(DropLayer):
    """Let units of a recurrent network keep their previous state; see `zoneout`.

    Each time step of a sequence is a forward pass of its own, with a mask of its own. `backward`
    belongs to the last one: to go back through time, keep each step's `recipe`, which is small, and
    call its ``apply``.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> zone = anydrop.Zoneout(0.5, seed=0)
    >>> zone(np.ones(4), np.zeros(4))
    array([0., 1., 1., 1.])
    >>> zone.backward(np.ones(4))
    (array([0., 1., 1., 1.]), array([1., 0., 0., 0.]))
    """

    _function = staticmethod(zoneout)
    _unscaled = UNSCALED

    def __init__(self, p: Rate = 0.5, **keywords: Unpack[DropKeywords]) -> None:
        super().__init__(p, **keywords)

    @described_by(DropLayer.forward)
    def forward(  # type: ignore[override]
        self, x: Array, previous: Array, training: bool | None = None
    ) -> Array:
        """Take the new state or, in training and where the mask says so, the previous one.

        Parameters
        ----------
        x : array
            New state.
        previous : array
            Previous state, of the shape, dtype, library and device of `x`.

        Returns
        -------
        array
            ``where(keep, x, previous)``; at inference ``(1 - p) * x + p * previous``.
        """
        return self._forward(x, training, previous=previous)

    def _inference(self, x: Array, **inputs: Any) -> Differentiable:
        return Expectation(self._arguments()["p"], tuple(x.shape))

    __call__ = forward  # type: ignore[assignment]
