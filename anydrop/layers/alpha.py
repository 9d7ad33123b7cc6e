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

# Of SELU, by Klambauer et al.: what it saturates at for x -> -inf is -SCALE * ALPHA.
ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805
SATURATION = -ALPHA * SCALE

UNSCALED = "survivors are shifted too, so that mean and variance are right in training already"


def affine(p: float) -> Affine:
    """Return what keeps mean 0 and variance 1 when dropped elements go to where SELU saturates."""
    a = ((1.0 - p) * (1.0 + p * SATURATION**2)) ** -0.5
    b = -a * p * SATURATION
    return Affine(a, b, a * SATURATION + b)


RULE = Rule(affine=affine, unscaled=UNSCALED)


@described_by(dropout)
def alpha_dropout(x: Array, p: float = 0.5, **keywords: Unpack[Keywords]) -> Any:
    """Set elements to where SELU saturates, and keep mean 0 and variance 1.

    For inputs of mean 0 and variance 1, as self-normalizing networks have them. Plain dropout would
    change both.

    Parameters
    ----------
    x : array of any shape
        Of a dtype that `dropout` takes, of any library. Of a complex element the real part is
        treated so, and the imaginary part scaled or dropped.
    scaling : "train"
        "inference" is refused: survivors are shifted too, so that mean and variance are right in
        training already.

    Returns
    -------
    array, or tuple of array and Mask
        ``where(keep, a * x + b, a * s + b)`` with the saturation ``s = -1.7580993408473766``,
        ``a = ((1 - p) * (1 + p * s**2)) ** -0.5`` and ``b = -a * p * s``. The gradient of a kept
        element is multiplied by ``a``: that is the mask's `scale`.

    See Also
    --------
    AlphaDropout : the layer.
    feature_alpha_dropout : whole channels.

    Notes
    -----
    The function is not linear. Its backward pass is ``mask.apply(gradient)`` for the mask that
    ``return_mask=True`` returns.

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
    """Set whole channels to where SELU saturates, and keep mean 0 and variance 1.

    Parameters
    ----------
    x : array of shape (batch, channels, ...), or as `data_format` and `batched` say
        Of a dtype that `dropout` takes, of any library.
    p : float, default 0.5
        Probability that a channel of an example is dropped, ``0 <= p < 1``.

    See Also
    --------
    FeatureAlphaDropout : the layer.

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
    """Set elements to where SELU saturates, and keep mean 0 and variance 1; see `alpha_dropout`.

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
    """Set whole channels to where SELU saturates; see `feature_alpha_dropout`.

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
