"""`stochastic_depth`, `StochasticDepth` (`DropPath`): whole branches of residual networks."""

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
    """Return whether rows or the batch have a fate."""
    known: Mode = check.choice(value, name, ("row", "batch"))
    return known


def _branches(shape: tuple[int, ...], mode: Mode) -> tuple[int, ...]:
    ndim = len(shape)
    if mode == "row" and not ndim:
        raise ValueError(
            "stochastic_depth with mode='row' needs a batch's axis, got an array of no dimensions"
        )
    return tuple(range(int(mode == "row"), ndim))


RULE = Rule(_branches, ("mode",))


@described_by(dropout)
def stochastic_depth(
    x: Array, p: float = 0.5, mode: Mode = "row", **keywords: Unpack[Keywords]
) -> Any:
    """Drop the whole of a residual branch, for single examples or for the batch.

    `drop_path` is the same function. Apply it to the branch, before its sum with the shortcut.

    Parameters
    ----------
    x : array of shape (batch, ...)
        What the branch returned, of a dtype that `dropout` takes.
    p : float, default 0.5
        Probability that a branch is dropped, ``0 <= p < 1``; see `depth_rates`.
    mode : {"row", "batch"}
        Whether each example has a fate of its own, or the batch has one.

    See Also
    --------
    StochasticDepth : the layer.
    depth_rates : the probabilities of a network's branches.

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
    """Return drop probabilities that grow in equal steps with depth: the paper's linear rule.

    Parameters
    ----------
    p : float
        Of the last branch, ``0 <= p < 1``.
    depth : int
        How many branches there are, > 0.
    from_zero : bool, default False
        False is the rule of the paper, whose first branch has ``p / depth``. True is that of timm
        and others, ``torch.linspace(0, p, depth)``, whose first branch is never dropped.

    Returns
    -------
    tuple of float
        ``p * l / depth`` for the branches ``l = 1 ... depth``, or ``p * (l - 1) / (depth - 1)``;
        of a single branch that is 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or outside its range.

    References
    ----------
    .. [1] G. Huang et al., "Deep networks with stochastic depth", 2016, equation 4, where the
       survival probabilities are 1 minus these

    Examples
    --------
    >>> import anydrop
    >>> anydrop.depth_rates(0.5, 4)
    (0.125, 0.25, 0.375, 0.5)
    >>> anydrop.depth_rates(0.75, 4, from_zero=True)
    (0.0, 0.25, 0.5, 0.75)
    >>> import numpy as np
    >>> seeds = np.random.SeedSequence(0).spawn(4)  # with one seed for all their fates would agree
    >>> rates = anydrop.depth_rates(0.5, 4)
    >>> branches = [anydrop.StochasticDepth(p, seed=s) for p, s in zip(rates, seeds)]
    """
    p, depth = check.probability(p), check.positive(depth, "depth")
    if check.flag(from_zero, "from_zero"):
        return tuple(p * (branch / max(1, depth - 1)) for branch in range(depth))
    return tuple(p * branch / depth for branch in range(1, depth + 1))


@final
@described_by(stochastic_depth, DropLayer)
class StochasticDepth(DropLayer):
    """Drop the whole of a residual branch; see `stochastic_depth`. `DropPath` is the same class.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> path = anydrop.StochasticDepth(0.5, seed=0)
    >>> path(np.ones((4, 3))).sum(axis=1), path.mask.shape
    (array([0., 6., 6., 6.]), (4, 1))
    """

    _function = staticmethod(stochastic_depth)
    _rule = RULE

    mode = Setting(check_mode, '"row": each example has a fate of its own; "batch": all share one.')

    def __init__(
        self,
        p: Rate = 0.5,
        mode: Mode = "row",
        **keywords: Unpack[DropKeywords],
    ) -> None:
        super().__init__(p, mode=mode, **keywords)
