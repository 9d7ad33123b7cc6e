"""The public functions: they check their arguments, find the backend and delegate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anydrop import check
from anydrop._typing import Array
from anydrop.backends import resolve
from anydrop.backends.base import Backend
from anydrop.mask import Mask, StoredMask
from anydrop.recipe import Window, keep_shape
from anydrop.stream import Seed


def dropout(
    x: Array,
    p: float = 0.5,
    *,
    training: bool = True,
    seed: Seed | Sequence[int] | None = None,
    step: int = 0,
    rng: Any = None,
    shared_axes: int | Sequence[int] = (),
    window: Window | None = None,
    scaling: check.Scaling = "train",
    out: Array | None = None,
    return_mask: bool = False,
) -> Array:
    """Drop elements with probability `p` and scale the survivors by ``1 / (1 - p)``.

    The mask depends on `seed`, `step` and an element's logical index alone, so every library,
    device and memory layout draws the same one. Dropout is linear and its own transpose: the
    backward pass is the same call on the gradient.

    Parameters
    ----------
    x : array of any shape
        float16, bfloat16, float32, float64, complex64 or complex128, of any library.
    p : float, default 0.5
        Probability that an element is dropped, ``0 <= p < 1``.
    training : bool, default True
        False returns `x` itself (times ``1 - p`` with ``scaling="inference"``).
    seed : int, sequence of int or numpy.random.SeedSequence
        Ints must be >= 0 and may be of any size. A training call needs a `seed` or an `rng`.
    step : int, default 0
        Which draw of that seed, ``0 <= step < 2**64``. Where a compiler traces the call, it may be
        an integer array of its library: a scalar, or the low and high 32 bits of one.
    rng : generator of the library of `x`, optional
        Draws the mask instead of `seed`, which ties it to one library: a generator of
        ``numpy.random``, ``cupy.random`` or ``dask.array.random``, a `torch.Generator`, a key of
        ``jax.random``.
    shared_axes : int or sequence of int, optional
        Axes along which all elements share one fate, such as the pixels of a channel.
    window : Window, optional
        Where `x` lies in a larger array, whose mask it then shares.
    scaling : {"train", "inference"}
        "train" scales survivors in training (inverted dropout); "inference" scales everything by
        ``1 - p`` at inference, as the paper of 2014 did.
    out : array, optional
        Where to write the result, `x` itself included: shape, dtype, device and library of `x`.
    return_mask : bool, default False
        Return ``(y, mask)``; the mask is None if `training` is False.

    Returns
    -------
    array, or tuple of array and Mask
        ``where(keep, x * scale, 0)``, with the shape, dtype, library and device of `x`. A dropped
        NaN or Inf is 0.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind: `x` is no array or holds integers, `p` is no number,
        neither `seed` nor `rng` is given in training, or `rng` is of another library.
    ValueError
        If an argument is out of range, or both `seed` and `rng` are given.

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
    backend = resolve(x)
    p = check.probability(p)
    check.one_source(seed, rng)
    scaled_in_training = check.scaling(scaling) == "train"
    return_mask = check.flag(return_mask, "return_mask")
    if not check.flag(training, "training"):
        # Nothing is drawn, but what would be wrong in training is wrong here too.
        check.step(step)
        check.shared_axes(shared_axes, len(x.shape))
        if seed is not None:
            check.seed(seed)
        if window is not None:
            check.window(window, backend.shape(x))
        y = _infer(backend, x, 1.0 if scaled_in_training else 1.0 - p, out)
        return (y, None) if return_mask else y
    scale = 1.0 / (1.0 - p) if scaled_in_training else 1.0
    mask: Mask | StoredMask
    if rng is None:
        mask = Mask.from_seed(
            backend.shape(x),
            p,
            seed=check.a_seed(seed),
            step=step,
            scale=scale,
            shared_axes=shared_axes,
            window=window,
        )
    else:
        check.no_place(step, window)
        # What apply will refuse is refused before the generator is asked for anything.
        backend.check_input(x)
        backend.check_out(out, x)
        mask = _drawn_by(rng, backend, x, p, scale, shared_axes)
    y = mask.apply(x, out=out)
    return (y, mask) if return_mask else y


def _infer(backend: Backend, x: Array, scale: float, out: Array | None) -> Array:
    if scale == 1.0 and out is None:
        return x
    backend.check_input(x)
    return backend.select(x, None, scale, out=backend.check_out(out, x))


def _drawn_by(
    rng: Any,
    backend: Backend,
    x: Array,
    p: float,
    scale: float,
    shared_axes: int | Sequence[int],
) -> StoredMask:
    shape = backend.shape(x)
    shared = check.shared_axes(shared_axes, len(shape))
    keep = backend.draw(rng, keep_shape(shape, shared), p, x)
    return StoredMask(backend.pack(keep), shape, p, scale, shared)
