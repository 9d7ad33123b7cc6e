"""`stochastic_depth`, `StochasticDepth` (`DropPath`): residual branches."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, Unpack, final

from anydrop.core import check
from anydrop.core.docstrings import described_by
from anydrop.core.setting import Setting
from anydrop.core.typing import Array
from anydrop.layers.call import Keywords, Rule, drop
from anydrop.layers.drop_layer import DropKeywords, DropLayer
from anydrop.layers.dropout import dropout
from anydrop.schedules import Rate

Mode: TypeAlias = Literal["row", "batch"]


def check_mode(value: object, name: str = "mode") -> Mode:
    """Return the mode."""
    known: Mode = check.choice(value, name, ("row", "batch"))
    return known


def _branches(shape: tuple[int, ...], mode: Mode) -> tuple[int, ...]:
    ndim = len(shape)
    if mode == "row" and not ndim:
        raise ValueError(
            "stochastic_depth with mode='row' needs an axis of the batch, got a 0-d array"
        )
    return tuple(range(int(mode == "row"), ndim))


RULE = Rule(_branches, ("mode",))


@described_by(dropout)
def stochastic_depth(
    x: Array, p: float = 0.5, mode: Mode = "row", **keywords: Unpack[Keywords]
) -> Any:
    """Drop whole residual branches, for each example or for the whole batch.

    Apply it to the output of the branch, before you add the shortcut. An example whose branch is
    dropped skips the block. `drop_path` is another name of this function.

    Parameters
    ----------
    x : array of shape (batch, ...)
        Output of the branch, of a dtype that `dropout` takes.
    p : float, default 0.5
        Probability that the branch is dropped, ``0 <= p < 1``. `depth_rates` returns a value for
        each block of a network.
    mode : {"row", "batch"}
        "row", the default, drops the branch for each example independently. "batch" drops it for
        all examples or for none.

    See Also
    --------
    StochasticDepth : the layer.
    anydrop.torch.StochasticDepth : the PyTorch module.
    depth_rates : drop probabilities that grow with depth.

    References
    ----------
    .. [1] G. Huang et al., "Deep networks with stochastic depth", 2016,
       https://arxiv.org/abs/1603.09382
    .. [2] G. Larsson et al., "FractalNet: ultra-deep neural networks without residuals", 2016,
       https://arxiv.org/abs/1605.07648

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> anydrop.stochastic_depth(np.ones((4, 3)), 0.5, seed=0, step=0)
    array([[0., 0., 0.],
           [2., 2., 2.],
           [2., 2., 2.],
           [2., 2., 2.]])
    """
    return drop(RULE, x, p, (check_mode(mode),), **keywords)


drop_path = stochastic_depth


def depth_rates(p: float, depth: int, *, from_zero: bool = False) -> tuple[float, ...]:
    """Return drop probabilities that grow linearly with depth, one for each residual block.

    Early blocks extract features that all later ones need, so they are dropped less often.

    Parameters
    ----------
    p : float
        Probability of the last block, ``0 <= p < 1``.
    depth : int
        Number of blocks, > 0.
    from_zero : bool, default False
        Whether the first block has the probability 0, as in timm: ``torch.linspace(0, p, depth)``.
        By default it has ``p / depth``, as in the paper.

    Returns
    -------
    tuple of float
        ``p * l / depth`` for the blocks ``l = 1 ... depth``. With `from_zero`,
        ``p * (l - 1) / (depth - 1)``, and 0 for a single block.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    See Also
    --------
    stochastic_depth : drops the branches.

    References
    ----------
    .. [1] G. Huang et al., "Deep networks with stochastic depth", 2016, equation 4, which gives the
       survival probabilities: 1 minus these

    Examples
    --------
    >>> import anydrop
    >>> anydrop.depth_rates(0.5, 4)
    (0.125, 0.25, 0.375, 0.5)
    >>> anydrop.depth_rates(0.75, 4, from_zero=True)
    (0.0, 0.25, 0.5, 0.75)
    >>> branches = [anydrop.StochasticDepth(p) for p in anydrop.depth_rates(0.5, 4)]
    >>> list(anydrop.seed_layers(branches, 0))  # so that each draws its own masks
    ['0', '1', '2', '3']
    """
    p, depth = check.probability(p), check.positive(depth, "depth")
    if check.flag(from_zero, "from_zero"):
        return tuple(p * (branch / max(1, depth - 1)) for branch in range(depth))
    return tuple(p * branch / depth for branch in range(1, depth + 1))


@final
@described_by(stochastic_depth, DropLayer)
class StochasticDepth(DropLayer):
    """Drop whole residual branches, for each example or for the whole batch.

    The layer of `stochastic_depth`. Its input is the output of the branch, of shape (batch, ...).
    `DropPath` is another name of this class.

    See Also
    --------
    stochastic_depth : the function.
    depth_rates : drop probabilities that grow with depth.
    anydrop.torch.StochasticDepth : the PyTorch module.
    Dropout : has the methods of all layers.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> path = anydrop.StochasticDepth(0.5, seed=0)
    >>> path(np.ones((4, 3))).sum(axis=1), path.mask.shape
    (array([0., 6., 6., 6.]), (4, 1))
    """

    _function = staticmethod(stochastic_depth)
    _rule = RULE

    mode = Setting(check_mode, '"row": drop for each example; "batch": for all or none.')

    def __init__(
        self,
        p: Rate = 0.5,
        mode: Mode = "row",
        **keywords: Unpack[DropKeywords],
    ) -> None:
        super().__init__(p, mode=mode, **keywords)
