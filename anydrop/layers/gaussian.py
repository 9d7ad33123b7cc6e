"""`gaussian_dropout`, `gaussian_noise` and their layers: normal noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack, final

from anydrop.backends.base import COMPUTE
from anydrop.core import check, seeds
from anydrop.core.docstrings import described_by
from anydrop.core.recipe import Recipe
from anydrop.core.setting import Setting
from anydrop.core.stream import Seed
from anydrop.core.typing import Array
from anydrop.layers.base import Layer
from anydrop.layers.call import Call, Keywords
from anydrop.layers.drop_layer import DropKeywords, DropLayer
from anydrop.layers.dropout import dropout
from anydrop.masks.noise import Noise
from anydrop.schedules import Rate

UNSCALED = "the mean is right in training already"


@described_by(dropout)
def gaussian_dropout(x: Array, p: float = 0.5, **keywords: Unpack[Keywords]) -> Any:
    """Multiply by random noise with mean 1 and the variance of dropout, ``p / (1 - p)``.

    Use it like dropout, where nothing should become exactly 0. The same `seed` and `step` give the
    same noise and the same result in every library, bit for bit. The backward pass is the same call
    on the gradient, which draws the noise again.

    Use different seeds for noise and for masks: with the same seed and step, both come from the
    same random bits.

    Parameters
    ----------
    x : array of any shape
        Array of a dtype that `dropout` takes, of any library.
    p : float, default 0.5
        Probability of the dropout with this variance, ``0 <= p < 1``.
    training : bool, default True
        Whether to multiply by noise. False, for inference, returns `x` itself.
    rng : None
        Refused: noise from a generator could not be drawn again for the backward pass.
    shared_axes : int or sequence of int, optional
        Axes along which all elements get the same noise. Negative axes count from the end.
    scaling : "train"
        "inference" is refused: the mean is right in training already.
    return_mask : bool, default False
        Whether to return ``(y, noise)`` instead of ``y``. ``noise.apply(gradient)`` is the backward
        pass, and ``noise.keep(like=x)`` is the noise. At inference it is None.

    Returns
    -------
    array, or tuple of array and Noise
        ``x * (1 + sqrt(p / (1 - p)) * z)`` with standard normal numbers ``z``, and with the shape,
        dtype, library and device of `x`.

    See Also
    --------
    GaussianDropout : the layer.
    anydrop.torch.GaussianDropout : the PyTorch module.
    gaussian_noise : adds noise.

    References
    ----------
    .. [1] N. Srivastava et al., "Dropout: a simple way to prevent neural networks from
       overfitting", JMLR 15, 2014, section 10
    .. [2] D. P. Kingma et al., "Variational dropout and the local reparameterization trick", 2015,
       https://arxiv.org/abs/1506.02557

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> y = anydrop.gaussian_dropout(np.ones(100_000), 0.2, seed=0, step=0)
    >>> f"{y.mean():.2f} {y.std():.2f}"
    '1.00 0.50'
    """
    call = Call(x, p, unscaled=UNSCALED, **keywords)
    return _perturbed(call, math.sqrt(call.p / (1.0 - call.p)), relative=True)


@described_by(gaussian_dropout, dropout)
def gaussian_noise(x: Array, std: float = 1.0, **keywords: Unpack[Keywords]) -> Any:
    """Add random noise with mean 0.

    Use it to regularize a network by noise of a fixed size, for example on its inputs. The same
    `seed` and `step` give the same noise and the same result in every library, bit for bit.

    Parameters
    ----------
    x : array of any shape
        Array of dtype float16, bfloat16, float32 or float64, of any library.
    std : float, default 1
        Standard deviation of the noise, in the units of `x`; finite and >= 0.
    training : bool, default True
        Whether to add noise. False, for inference, returns `x` itself.

    Returns
    -------
    array, or tuple of array and Noise
        ``x + std * z`` with standard normal numbers ``z``, and with the shape, dtype, library and
        device of `x`.

    See Also
    --------
    GaussianNoise : the layer.
    anydrop.torch.GaussianNoise : the PyTorch module.
    gaussian_dropout : multiplies by noise.

    References
    ----------
    .. [1] C. M. Bishop, "Training with noise is equivalent to Tikhonov regularization", Neural
       Computation 7, 1995

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> y = anydrop.gaussian_noise(np.zeros(100_000), 0.5, seed=0, step=0)
    >>> f"{abs(y.mean()):.2f} {y.std():.2f}"
    '0.00 0.50'
    """
    std = check.deviation(std)
    call = Call(x, 0.0, unscaled=UNSCALED, **keywords)
    name = call.backend.dtype_name(x)
    if name.startswith("complex"):
        raise TypeError(
            f"gaussian noise is real, got an array of dtype {name}: add it to the real and to the "
            "imaginary part, with different seeds"
        )
    return _perturbed(call, std, relative=False)


def _perturbed(call: Call, std: float, *, relative: bool) -> Any:
    seeds.forbid_rng(call.rng)
    if not call.training:
        return call.result(call.inferred())
    call.check_arrays()
    dtype = COMPUTE[call.backend.dtype_name(call.x)]
    noise = Noise(Recipe(*call.mask(1.0)), std, relative, dtype)
    if relative and not call.p:
        return call.result(call.written(call.x), noise)
    y = call.backend.perturb(call.x, noise.recipe, std, relative, call.out)
    return call.result(y, noise)


@final
@described_by(gaussian_dropout, DropLayer)
class GaussianDropout(DropLayer):
    """Multiply by random noise with mean 1 and the variance of dropout, ``p / (1 - p)``.

    The layer of `gaussian_dropout`. Its `mask` is the noise.

    See Also
    --------
    gaussian_dropout : the function.
    anydrop.torch.GaussianDropout : the PyTorch module.
    Dropout : has the methods of all layers.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.GaussianDropout(0.2, seed=0)
    >>> x = np.ones(5)
    >>> bool((drop(x) == drop.mask).all())
    True
    >>> bool((drop.backward(x) == drop.mask).all())
    True
    """

    _function = staticmethod(gaussian_dropout)
    _unscaled = UNSCALED

    def __init__(self, p: Rate = 0.5, **keywords: Unpack[DropKeywords]) -> None:
        seeds.forbid_rng(keywords.get("rng"))
        super().__init__(p, **keywords)


@final
@described_by(gaussian_noise, DropLayer)
class GaussianNoise(Layer):
    """Add random noise with mean 0.

    The layer of `gaussian_noise`. Its `mask` is the noise.

    See Also
    --------
    gaussian_noise : the function.
    anydrop.torch.GaussianNoise : the PyTorch module.
    Dropout : has the methods of all layers.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> noise = anydrop.GaussianNoise(0.1, seed=0)
    >>> y = noise(np.zeros(5))
    >>> bool((y == noise.mask).all())
    True
    >>> noise
    GaussianNoise(std=0.1, seed=0, step=1)
    """

    _function = staticmethod(gaussian_noise)

    std = Setting(check.deviation, "Standard deviation of the noise.", settable=True)
    shared_axes = Setting(check.axes, "Axes along which all elements get the same noise.")
    noise_shape = Setting(check.noise_shape, "The same as `shared_axes`, in Keras's notation.")

    def __init__(
        self,
        std: float = 1.0,
        *,
        seed: Seed | Sequence[int] | None = None,
        rng: None = None,
        shared_axes: int | Sequence[int] = (),
        noise_shape: Sequence[int | None] | None = None,
    ) -> None:
        seeds.forbid_rng(rng)
        super().__init__(seed=seed, std=std, shared_axes=shared_axes, noise_shape=noise_shape)
