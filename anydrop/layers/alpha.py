"""`alpha_dropout`, `feature_alpha_dropout` and their layers, for self-normalizing networks."""

from __future__ import annotations

from typing import Any, Unpack, final

from anydrop.core.docstrings import described_by
from anydrop.core.recipe import Affine
from anydrop.core.typing import Array
from anydrop.layers.call import Keywords, Rule, drop
from anydrop.layers.drop_layer import DropKeywords, DropLayer
from anydrop.layers.dropout import dropout
from anydrop.layers.spatial import DataFormat, SpatialLayer, check_layout, dropout1d
from anydrop.schedules import Rate

# Constants of SELU, by Klambauer et al. For x -> -inf it saturates at -SCALE * ALPHA.
ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805
SATURATION = -ALPHA * SCALE

UNSCALED = "alpha dropout keeps mean and variance in training already"


def affine(p: float) -> Affine:
    """Return the map that keeps mean 0 and variance 1 when dropped elements saturate."""
    a = ((1.0 - p) * (1.0 + p * SATURATION**2)) ** -0.5
    b = -a * p * SATURATION
    return Affine(a, b, a * SATURATION + b)


RULE = Rule(affine=affine, unscaled=UNSCALED)


@described_by(dropout)
def alpha_dropout(x: Array, p: float = 0.5, **keywords: Unpack[Keywords]) -> Any:
    """Drop elements of a self-normalizing network, and keep mean 0 and variance 1.

    Use it in networks with SELU activations, where plain dropout would change mean and variance. A
    dropped element gets the value at which SELU saturates. Then all elements are scaled and
    shifted, so that inputs of mean 0 and variance 1 keep them.

    Parameters
    ----------
    x : array of any shape
        Array of a dtype that `dropout` takes, of any library. Of complex elements only the real
        part is treated like this; the imaginary part is scaled or set to 0.
    scaling : "train"
        "inference" is refused: alpha dropout keeps mean and variance in training already.

    Returns
    -------
    array, or tuple of array and Mask
        ``where(keep, a * x + b, a * s + b)`` with the saturation ``s = -1.7580993408473766``,
        ``a = ((1 - p) * (1 + p * s**2)) ** -0.5`` and ``b = -a * p * s``. The gradient of a kept
        element is multiplied by ``a``, which is the mask's `scale`.

    See Also
    --------
    AlphaDropout : the layer.
    anydrop.torch.AlphaDropout : the PyTorch module.
    feature_alpha_dropout : drops whole channels.

    Notes
    -----
    The function is not linear, so don't call it on the gradient. Its backward pass is
    ``mask.apply(gradient)``, with the mask that ``return_mask=True`` returns.

    References
    ----------
    .. [1] G. Klambauer et al., "Self-normalizing neural networks", 2017,
       https://arxiv.org/abs/1706.02515

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> x = np.random.default_rng(0).standard_normal(100_000)
    >>> y = anydrop.alpha_dropout(x, 0.3, seed=0, step=0)
    >>> f"{abs(y.mean()):.2f} {y.std():.2f}"
    '0.00 1.00'
    """
    return drop(RULE, x, p, **keywords)


def _features(shape: tuple[int, ...], data_format: DataFormat, batched: bool) -> tuple[int, ...]:
    ndim, examples = len(shape), int(batched)
    if ndim < examples + 1:
        raise ValueError(
            f"feature_alpha_dropout needs an array of {examples + 1} dimensions or more, with "
            f"channels, got {ndim}"
        )
    channel = examples if data_format == "channels_first" else ndim - 1
    return tuple(a for a in range(examples, ndim) if a != channel)


FEATURE_RULE = Rule(_features, ("data_format", "batched"), affine, UNSCALED)


@described_by(alpha_dropout, dropout1d, dropout)
def feature_alpha_dropout(
    x: Array,
    p: float = 0.5,
    *,
    data_format: DataFormat = "channels_first",
    batched: bool = True,
    **keywords: Unpack[Keywords],
) -> Any:
    """Drop whole channels of a self-normalizing network, and keep mean 0 and variance 1.

    Use it in convolutional networks with SELU activations. It does what `alpha_dropout` does, but
    to all positions of a channel together.

    Parameters
    ----------
    x : array of shape (batch, channels, ...)
        Feature maps, of a dtype that `dropout` takes. `data_format` and `batched` change the shape.
    p : float, default 0.5
        Probability that a channel of an example is dropped, ``0 <= p < 1``.

    See Also
    --------
    FeatureAlphaDropout : the layer.
    anydrop.torch.FeatureAlphaDropout : the PyTorch module.
    alpha_dropout : drops single elements.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> y = anydrop.feature_alpha_dropout(np.zeros((2, 3, 4)), 0.5, seed=0, step=0)
    >>> bool((y == y[:, :, :1]).all())
    True
    """
    return drop(FEATURE_RULE, x, p, check_layout(data_format, batched), **keywords)


@final
@described_by(alpha_dropout, DropLayer)
class AlphaDropout(DropLayer):
    """Drop elements of a self-normalizing network, and keep mean 0 and variance 1.

    The layer of `alpha_dropout`, for networks with SELU activations.

    See Also
    --------
    alpha_dropout : the function.
    anydrop.torch.AlphaDropout : the PyTorch module.
    Dropout : has the methods of all layers.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.AlphaDropout(0.5, seed=0)
    >>> drop(np.zeros(4)).round(4)
    array([-0.7792,  0.7792,  0.7792,  0.7792])
    >>> drop.backward(np.ones(4)).round(4)
    array([0.    , 0.8864, 0.8864, 0.8864])
    """

    _function = staticmethod(alpha_dropout)
    _rule = RULE
    _unscaled = UNSCALED

    def __init__(self, p: Rate = 0.5, **keywords: Unpack[DropKeywords]) -> None:
        super().__init__(p, **keywords)


@final
@described_by(feature_alpha_dropout, DropLayer)
class FeatureAlphaDropout(SpatialLayer):
    """Drop whole channels of a self-normalizing network, and keep mean 0 and variance 1.

    The layer of `feature_alpha_dropout`, for convolutional networks with SELU activations. Its
    input has the shape (batch, channels, ...), unless `data_format` or `batched` says otherwise.

    See Also
    --------
    feature_alpha_dropout : the function.
    anydrop.torch.FeatureAlphaDropout : the PyTorch module.
    Dropout : has the methods of all layers.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.FeatureAlphaDropout(0.5, seed=0)
    >>> drop(np.zeros((2, 3, 4))).shape, drop.mask.shape
    ((2, 3, 4), (2, 3, 1))
    """

    _function = staticmethod(feature_alpha_dropout)
    _rule = FEATURE_RULE
    _unscaled = UNSCALED
