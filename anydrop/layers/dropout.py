"""`dropout` and `Dropout`: every element by itself, or whole axes together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from anydrop.core import check
from anydrop.core.docstrings import described_by
from anydrop.core.recipe import Window
from anydrop.core.stream import Seed
from anydrop.core.typing import Array
from anydrop.layers.call import Rule, drop
from anydrop.layers.drop_layer import DropLayer
from anydrop.schedules import Rate

RULE = Rule()


def dropout(
    x: Array,
    p: float = 0.5,
    *,
    training: bool = True,
    seed: Seed | Sequence[int] | None = None,
    step: int = 0,
    rng: Any = None,
    shared_axes: int | Sequence[int] = (),
    noise_shape: Sequence[int | None] | None = None,
    window: Window | None = None,
    scaling: check.Scaling = "train",
    out: Array | None = None,
    return_mask: bool = False,
) -> Any:
    """Drop elements with probability `p` and scale the survivors by ``1 / (1 - p)``.

    The mask depends on `seed`, `step` and an element's logical index alone, so every library,
    device and memory layout draws the same one. Dropout is linear and its own transpose: the
    backward pass is the same call on the gradient.

    Parameters
    ----------
    x : array of any shape
        float16, bfloat16, float32, float64, complex64 or complex128, of any library.
    p : float, default 0.5
        Probability that an element is dropped, ``0 <= p < 1`` and at most ``1 - 2**-32``.
    training : bool, default True
        False returns `x` itself, unless `scaling` says otherwise.
    seed : int, sequence of int or numpy.random.SeedSequence
        Ints must be >= 0 and of at most 4,300 decimal digits. A training call needs a `seed` or an
        `rng`.
    step : int, default 0
        Which draw of that seed, ``0 <= step < 2**64``. Where a compiler traces the call, it may be
        an integer array of its library: a scalar, or the low and high 32 bits of one.
    rng : generator of the library of `x`, optional
        Draws the mask instead of `seed`, which ties it to one library: a generator of
        ``numpy.random``, ``cupy.random`` or ``dask.array.random``, a ``torch.Generator``, a key of
        ``jax.random``.
    shared_axes : int or sequence of int, optional
        Axes along which all elements share one fate, such as the pixels of a channel; negative
        ones count from the end.
    noise_shape : sequence of int or None, optional
        Another spelling of `shared_axes`, Keras's: 1 along those axes, None (or the array's
        length) along the others.
    window : Window, optional
        Where `x` lies in a larger array, whose mask it then shares.
    scaling : {"train", "inference"}
        "train" scales survivors in training (inverted dropout); "inference" scales everything by
        ``1 - p`` at inference, as the paper of 2014 did.
    out : array, optional
        Where to write the result, of the shape, dtype, device and library of `x`, which it may
        be itself.
    return_mask : bool, default False
        Return ``(y, mask)``; the mask is None if `training` is False.

    Returns
    -------
    array, or tuple of array and Mask
        ``where(keep, x * scale, 0)``, with the shape, dtype, library and device of `x`.
        A dropped NaN or Inf is 0. The mask is a `StoredMask` if `rng` drew it.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind: `x` is no array or of another dtype than above,
        neither `seed` nor `rng` is given in training, or `rng` is of another library.
    ValueError
        If an argument is out of range or of the wrong shape, another array does not match `x`,
        or both `seed` and `rng` are given.

    See Also
    --------
    Dropout : the layer, which counts the steps.
    Mask : the mask, described and not stored.

    References
    ----------
    .. [1] G. E. Hinton et al., "Improving neural networks by preventing co-adaptation of feature
       detectors", 2012, https://arxiv.org/abs/1207.0580
    .. [2] N. Srivastava et al., "Dropout: a simple way to prevent neural networks from
       overfitting", JMLR 15, 2014, https://jmlr.org/papers/v15/srivastava14a.html

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> x = np.asarray([1.0, 2.0, 3.0, 4.0])
    >>> anydrop.dropout(x, 0.5, seed=0, step=7)
    array([2., 4., 6., 0.])
    >>> gradient = np.asarray([0.1, 0.2, 0.3, 0.4])
    >>> anydrop.dropout(gradient, 0.5, seed=0, step=7)
    array([0.2, 0.4, 0.6, 0. ])
    """
    # By position, which takes half the time.
    keywords = shared_axes, noise_shape, window, scaling, out, return_mask
    return drop(RULE, x, p, (), training, seed, step, rng, *keywords)


@final
@described_by(DropLayer)
class Dropout(DropLayer):
    """Drop elements with probability `p` and scale the survivors by ``1 / (1 - p)``.

    Each training forward draws the next mask of the seed; `backward` draws the last one again.
    `DropoutLayer` is the same class.

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

    _function = staticmethod(dropout)
    _rule = RULE

    def __init__(
        self,
        p: Rate = 0.5,
        *,
        seed: Seed | Sequence[int] | None = None,
        rng: Any = None,
        shared_axes: int | Sequence[int] = (),
        noise_shape: Sequence[int | None] | None = None,
        scaling: check.Scaling = "train",
    ) -> None:
        super().__init__(
            p,
            seed=seed,
            rng=rng,
            shared_axes=shared_axes,
            noise_shape=noise_shape,
            scaling=scaling,
        )
