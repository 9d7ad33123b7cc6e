"""`locked_dropout` and `zoneout`, and their layers: dropout for recurrent networks."""

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

UNSCALED = "zoneout takes the expectation at inference already"


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

    Use it for the inputs and outputs of recurrent layers. Plain dropout would draw another mask at
    each time step, which disturbs what a recurrent network remembers. This is also known as
    variational dropout.

    Parameters
    ----------
    x : array of any shape
        Sequences, such as (batch, time, features) or (time, batch, features), of a dtype that
        `dropout` takes.
    p : float, default 0.5
        Probability that a feature of an example is dropped, ``0 <= p < 1``.
    time_axis : int
        The axis of time. Negative numbers count from the end. There is no default, since libraries
        order the axes differently, and the wrong axis would share masks between examples.

    See Also
    --------
    LockedDropout : the layer.
    anydrop.torch.LockedDropout : the PyTorch module.
    zoneout : keeps units at their previous state.

    References
    ----------
    .. [1] Y. Gal and Z. Ghahramani, "A theoretically grounded application of dropout in recurrent
       neural networks", 2015, https://arxiv.org/abs/1512.05287
    .. [2] S. Merity et al., "Regularizing and optimizing LSTM language models", 2017,
       https://arxiv.org/abs/1708.02182

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> x = np.ones((1, 3, 4))
    >>> anydrop.locked_dropout(x, 0.5, time_axis=1, seed=0, step=0)[0]
    array([[0., 2., 2., 2.],
           [0., 2., 2., 2.],
           [0., 2., 2., 2.]])
    """
    return drop(LOCKED, x, p, (check.integer(time_axis, "time_axis"),), **keywords)


@described_by(dropout)
def zoneout(new: Array, previous: Array, p: float = 0.5, **keywords: Unpack[Keywords]) -> Any:
    """Keep random units of a recurrent network at their previous state.

    Use it on the hidden states of a recurrent network, at each time step. Where dropout would set a
    unit to 0, zoneout lets it keep its state, so information and gradients pass through time.

    Parameters
    ----------
    new : array of any shape
        State after the time step, of a dtype that `dropout` takes.
    previous : array
        State before it, with the shape, dtype, library and device of `new`.
    p : float, default 0.5
        Probability that a unit keeps its previous state, ``0 <= p < 1``.
    training : bool, default True
        Whether to draw. False, for inference, returns the expectation of the two states.
    scaling : "train"
        "inference" is refused: zoneout takes the expectation at inference already.
    out : array, optional
        Where to write the result. It must have the shape, dtype, device and library of `new`, and
        may be either state.

    Returns
    -------
    array, or tuple of array and ZoneoutMask
        ``where(keep, new, previous)`` in training, and ``(1 - p) * new + p * previous`` at
        inference. ``mask.apply(gradient)`` returns the gradients of both states.

    See Also
    --------
    Zoneout : the layer.
    anydrop.torch.Zoneout : the PyTorch module.
    locked_dropout : drops the same features at all time steps.

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
    if not p:  # 0 times an infinite state would be NaN.
        return new
    xp, name, select = backend.xp, backend.dtype_name(new), backend.select

    def expected(new: Array, previous: Array) -> Array:
        dtype = new.dtype
        if name in HALVES:  # computed in float32 and rounded once
            new, previous = (xp.astype(state, xp.float32) for state in (new, previous))
        # NumPy's sum of two arrays may be a scalar, or have another byte order.
        old = backend.aligned(previous, new)
        y = xp.asarray(select(new, None, 1.0 - p) + select(old, None, p))
        return xp.astype(y, dtype, copy=False)

    def shares(gradient: Array) -> tuple[Array, Array]:
        return select(gradient, None, 1.0 - p), select(gradient, None, p)

    return backend.recompute(expected, shares, new, previous)


@final
@described_by(locked_dropout, DropLayer)
class LockedDropout(DropLayer):
    """Drop the same features at all time steps of a sequence.

    The layer of `locked_dropout`, also known as variational dropout. Its input is a batch of whole
    sequences.

    See Also
    --------
    locked_dropout : the function.
    anydrop.torch.LockedDropout : the PyTorch module.
    Dropout : has the methods of all layers.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.LockedDropout(0.5, time_axis=1, seed=0)
    >>> drop(np.ones((2, 10, 4))).shape, drop.mask.shape
    ((2, 10, 4), (2, 1, 4))
    """

    _function = staticmethod(locked_dropout)
    _rule = LOCKED

    time_axis = Setting(check.integer, "The axis of time.")

    def __init__(self, p: Rate = 0.5, *, time_axis: int, **keywords: Unpack[DropKeywords]) -> None:
        super().__init__(p, time_axis=time_axis, **keywords)

    def _batch_axes(self, ndim: int) -> tuple[int, ...]:
        if self.time_axis not in (0, -ndim):
            return (0,)
        if ndim == 2:
            raise ValueError(
                "LockedDropout can't tell whether an array of two axes is (time, features) or "
                "(time, batch), so which axis is the batch is unknown: give it a third axis"
            )
        return (1,)


@final
@described_by(zoneout, DropLayer)
class Zoneout(DropLayer):
    """Keep random units of a recurrent network at their previous state.

    The layer of `zoneout`. Call it with the new and the previous state at each time step; each call
    draws its own mask. `backward` belongs to the last call. To go back through time, keep the
    `recipe` of each step, which is small, and call its ``apply``.

    See Also
    --------
    zoneout : the function.
    anydrop.torch.Zoneout : the PyTorch module.
    Dropout : has the methods of all layers.

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
        """Return the new state, with random units at their previous state in training.

        Parameters
        ----------
        x : array
            New state.
        previous : array
            Previous state, with the shape, dtype, library and device of `x`.

        Returns
        -------
        array
            ``where(keep, x, previous)`` in training, and ``(1 - p) * x + p * previous`` at
            inference.
        """
        return self._forward(x, training, previous=previous)

    def _inference(self, x: Array, **inputs: Any) -> Differentiable:
        return Expectation(self._arguments()["p"], tuple(x.shape))

    __call__ = forward  # type: ignore[assignment]
