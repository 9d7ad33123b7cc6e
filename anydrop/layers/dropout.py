"""`dropout` and `Dropout`: drop single elements, or whole axes together."""

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
    """Set random elements to 0, and scale the others by ``1 / (1 - p)``.

    Use it to regularize a network while it trains. The same `seed` and `step` give the same mask on
    every library, device and memory layout, so it need not be stored. For the backward pass, call
    the function again, with the gradient in place of the input and the same arguments.

    Parameters
    ----------
    x : array of any shape
        Array of NumPy, CuPy, PyTorch, JAX, Dask or another array API library, with dtype float16,
        bfloat16, float32, float64, complex64 or complex128.
    p : float, default 0.5
        Probability that an element is dropped, ``0 <= p < 1`` and at most ``1 - 2**-32``.
    training : bool, default True
        Whether to drop. False, for inference, returns `x` itself unless `scaling` is
        "inference".
    seed : int, sequence of int or numpy.random.SeedSequence
        Selects the sequence of masks. Ints must be >= 0, with at most 4,300 decimal digits. A
        training call needs either `seed` or `rng`.
    step : int, default 0
        Selects a mask of that sequence, ``0 <= step < 2**64``. Increase it by one at each training
        step, and use the same one in the backward pass. In a compiled function it may be an integer
        array of that library: a scalar, or two entries with the low and the high 32 bits.
    rng : generator of the library of `x`, optional
        Draws the mask instead of `seed`: a generator of ``numpy.random``, ``cupy.random`` or
        ``dask.array.random``, a ``torch.Generator``, or a key of ``jax.random``. Such a mask can't
        be drawn again. For a backward pass use `return_mask`, which stores one bit per element.
    shared_axes : int or sequence of int, optional
        Axes along which elements are dropped together. For example, ``(2, 3)`` drops whole channels
        of a (batch, channels, height, width) array. Negative axes count from the end.
    noise_shape : sequence of int or None, optional
        The same as `shared_axes` in Keras's notation: 1 for a shared axis, and None or the length
        of the axis for any other.
    window : Window, optional
        Where `x` lies in a larger array, of which it is a chunk or a shard. Its mask is then that
        part of the larger array's mask. By default `x` is the whole array.
    scaling : {"train", "inference"}
        "train", the default, multiplies kept elements by ``1 / (1 - p)`` in training (inverted
        dropout). "inference" instead multiplies all elements by ``1 - p`` at inference, as
        Srivastava et al. did in 2014.
    out : array, optional
        Where to write the result. It must have the shape, dtype, device and library of `x`, and
        may be `x` itself.
    return_mask : bool, default False
        Whether to return ``(y, mask)`` instead of ``y``. ``mask.apply(gradient)`` is the backward
        pass, and ``mask.keep(like=x)`` is the boolean array. At inference the mask is None.

    Returns
    -------
    array, or tuple of array and Mask
        ``where(keep, x * scale, 0)``, with the shape, dtype, library and device of `x`.
        A dropped NaN or Inf becomes 0. With `rng` the mask is a `StoredMask`.

    Raises
    ------
    TypeError
        If an argument has the wrong type; if `x` is not an array or has another dtype than
        those above; if a training call has neither `seed` nor `rng`; or if `rng` belongs to
        another library.
    ValueError
        If an argument is out of range or has the wrong shape, if another array does not match
        `x`, or if both `seed` and `rng` are given.

    See Also
    --------
    Dropout : the layer, which counts the steps.
    anydrop.torch.Dropout : the PyTorch module.
    Mask : the mask that `return_mask` returns.

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

    The backward pass is the same call on the gradient:

    >>> gradient = np.asarray([0.1, 0.2, 0.3, 0.4])
    >>> anydrop.dropout(gradient, 0.5, seed=0, step=7)
    array([0.2, 0.4, 0.6, 0. ])

    Or keep the mask, which is a small recipe, and apply it to the gradient:

    >>> y, mask = anydrop.dropout(x, 0.5, seed=0, step=7, return_mask=True)
    >>> mask.apply(gradient)
    array([0.2, 0.4, 0.6, 0. ])
    """
    # Passing these by position takes half the time.
    keywords = shared_axes, noise_shape, window, scaling, out, return_mask
    return drop(RULE, x, p, (), training, seed, step, rng, *keywords)


@final
@described_by(DropLayer)
class Dropout(DropLayer):
    """Set random elements to 0, and scale the others by ``1 / (1 - p)``.

    This layer counts the steps of a seed: each forward pass in training draws the next mask.
    `backward` draws that mask again, so none is stored. At inference the layer returns its input.

    `DropoutLayer` is another name of this class.

    See Also
    --------
    dropout : the function, without state.
    anydrop.torch.Dropout : the PyTorch module.
    seed_layers : gives each layer of a model its own seed.

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
    >>> drop.eval()(np.ones(3))
    array([1., 1., 1.])
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
