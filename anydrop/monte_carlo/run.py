"""`monte_carlo`: many passes of a model with its dropout on, and what they tell together."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from anydrop.core import check, seeds, stream
from anydrop.core.interrupts import surely
from anydrop.core.runs import Run
from anydrop.core.seedable import Lent, Seedable
from anydrop.core.typing import Array
from anydrop.layers.base import Layer
from anydrop.monte_carlo.lend import Loan
from anydrop.monte_carlo.scope import HasMode, has_mode, is_their_dropout, reached
from anydrop.monte_carlo.statistics import Classes, Moments

Outputs: TypeAlias = Literal["values", "probabilities", "logits"]


class _Statistics(NamedTuple):
    mean: Array
    std: Array
    entropy: Array | None
    mutual_information: Array | None
    samples: int


class MonteCarlo(_Statistics):
    """What the passes of `monte_carlo` tell together: a tuple of the first five.

    Attributes
    ----------
    mean : array
        Mean of the outputs; of the probabilities for ``outputs="logits"``.
    std : array
        Their standard deviation: the square root of the mean squared distance from the mean, with
        `samples` as its divisor, and real.
    entropy : array or None
        Entropy of the mean probabilities, in nats, without the classes' axis: all uncertainty,
        from 0 to the logarithm of the number of classes. None for ``outputs="values"``.
    mutual_information : array or None
        `entropy` less the mean of the single passes' entropies, in nats, >= 0: the part of the
        uncertainty in which the passes contradict each other. None for ``outputs="values"``.
    samples : int
        How many passes there were.
    outputs : array or None
        What each pass returned, along a new first axis, with ``return_samples=True``; else None.
        It is no part of the tuple.
    """

    outputs: Array | None = None


def monte_carlo(
    predict: Callable[..., Array],
    x: Any,
    *,
    samples: int,
    seed: stream.Seed | Sequence[int],
    outputs: Outputs = "values",
    axis: int = -1,
    same_masks: bool = False,
    layers: Sequence[Layer | Seedable] | None = None,
    return_samples: bool = False,
    progress: bool = False,
) -> MonteCarlo:
    """Run a model many times with its dropout layers, and nothing else, in training mode.

    The layers draw from seeds of their own for the time, and are afterwards as they were, also
    after an error: their modes, seeds, steps and masks. So the same call gives the same result.

    Parameters
    ----------
    predict : callable
        Takes `x` to an array of floating-point numbers, of any library, always of one shape. If it
        has keywords named `step` or `seed`, sample t is called with ``step=t`` and `seed`, for the
        functions that want them: the way for functions that a compiler traces.
    x : any
        What `predict` takes.
    samples : int
        How many passes, > 0.
    seed : int, sequence of int or numpy.random.SeedSequence
        Layer i draws from child i of ``SeedSequence(seed)``, beginning at step 0.
    outputs : {"values", "probabilities", "logits"}
        What `predict` returns. Of logits a softmax is taken first.
    axis : int, default -1
        Which axis of the outputs the classes are on, unless they are values.
    same_masks : bool, default False
        Whether all examples of a batch share one mask in each sample, so that a sample is one
        function of the inputs.
    layers : sequence of Layer or anydrop.torch.Module, optional
        The layers to run in training mode. By default all that `predict` leads to, by its object,
        attributes, containers, closure, and the globals that it names.
    return_samples : bool, default False
        Whether to keep what each pass returns, as ``result.outputs``.
    progress : bool, default False
        Show a bar, which needs the package ``rich``.

    Returns
    -------
    MonteCarlo
        In the outputs' library and on their device. Half types are summed and returned in float32.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, or `predict` returns no array of floating-point
        numbers.
    ValueError
        If an argument is out of range; if no dropout was found, every `p` is 0, or none drew a mask
        in the first sample; if the outputs change their shape, are no probabilities though said to
        be, or if `same_masks` is asked of a function with a `step`, or of a module of
        ``anydrop.torch``.
    RuntimeError
        If `predict` calls a layer that was not found, or trains one that was not named; if a layer
        is at work in another thread.
    ModuleNotFoundError
        If a bar is wanted and ``rich`` is not installed.

    Warns
    -----
    UserWarning
        If `predict` leads to another library's dropout, which does not run.

    See Also
    --------
    MonteCarlo : what it returns.

    Notes
    -----
    Nothing is stored of a sample without ``return_samples``: mean and variance are updated by
    Welford's formulas, so memory does not grow with `samples`. Objects that have modes but are no
    layers of anydrop, such as PyTorch's batch norm and dropout, run in inference mode meanwhile.

    References
    ----------
    .. [1] Y. Gal and Z. Ghahramani, "Dropout as a Bayesian approximation: representing model
       uncertainty in deep learning", 2016, https://arxiv.org/abs/1506.02142
    .. [2] N. Houlsby et al., "Bayesian active learning for classification and preference learning",
       2011, https://arxiv.org/abs/1112.5745, for the mutual information
    .. [3] B. P. Welford, "Note on a method for calculating corrected sums of squares and products",
       1962

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.Dropout(0.5, seed=0).eval()
    >>> weights = np.asarray([3.0, 4.0])
    >>> result = anydrop.monte_carlo(lambda x: drop(x) @ weights, np.ones(2), samples=1000, seed=1)
    >>> print(f"{result.mean:.0f} {result.std:.0f}")  # 3 + 4, and the root of 3**2 + 4**2
    7 5
    >>> drop
    Dropout(p=0.5, seed=0, step=0, training=False)
    """
    samples, seed = check.positive(samples, "samples"), seeds.checked(seed)
    same_masks = check.flag(same_masks, "same_masks")
    keep = check.flag(return_samples, "return_samples")
    statistics = (
        Moments(keep=keep)
        if check.choice(outputs, "outputs", get_args(Outputs)) == "values"
        else Classes(check.integer(axis, "axis"), logits=outputs == "logits", keep=keep)
    )
    taken = _taken(predict)
    if same_masks and "step" in taken:
        raise ValueError(
            "same_masks=True shares the masks of layers, and predict draws its own, by step=: "
            "call the functions in it with shared_axes=0, the axis of the batch"
        )
    things = reached(predict)
    found = list(filter(has_mode, things))
    chosen = _chosen(layers, found)
    if not chosen and "step" not in taken:
        raise ValueError(
            "predict leads to no dropout layer of anydrop: name them by layers=[...], or let "
            "predict take step= and pass it to functions such as anydrop.dropout"
        )
    _warn_of(filter(is_their_dropout, things))
    others = [one for one in found if not any(one is layer for layer in chosen)]
    loans = [_lent(layer, _child(seed, i), same_masks) for i, layer in enumerate(chosen)]
    if "step" not in taken:
        _check_rates(chosen, loans)
    modes, run = _AtInference(others, chosen), Run(searched=layers is None)
    spans: list[Lent | _AtInference | Run] = [*loans, modes, run]
    bar = _bar(samples) if check.flag(progress, "progress") else nullcontext(lambda: None)

    def sample() -> None:
        for span in spans:
            span.begin()
        with bar as tick:
            for t in range(samples):
                given = {"step": t, "seed": seed}
                statistics.add(predict(x, **{name: given[name] for name in taken}))
                if t == 0 and "step" not in taken:
                    _check_drawn(chosen, loans)
                tick()

    def restore() -> None:
        for span in reversed(spans):
            span.end()

    surely(sample, restore)
    result = MonteCarlo(*statistics.result(), samples)
    result.outputs = statistics.outputs()
    return result


def _taken(predict: Callable[..., Any]) -> list[str]:
    """Return which of the keywords `step` and `seed` a function takes."""
    if not callable(predict):
        raise TypeError(f"predict must be a function of x, got {check.described(predict)}")
    try:
        parameters = inspect.signature(predict).parameters
    except ValueError:  # Some that are written in C don't tell.
        return []
    first, *_ = (*parameters, "")  # which x is given to
    settled = {first, *(predict.keywords if isinstance(predict, partial) else {})}
    by_name = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [
        name
        for name in ("step", "seed")
        if name in parameters.keys() - settled and parameters[name].kind in by_name
    ]


def _chosen(
    layers: Sequence[Layer | Seedable] | None, found: list[HasMode]
) -> list[Layer | Seedable]:
    """Return the layers to run in training mode, each once."""
    if layers is None:
        return [one for one in found if isinstance(one, (Layer, Seedable))]
    if isinstance(layers, (Layer, Seedable)) or not isinstance(layers, Sequence):
        raise TypeError(f"layers must be a sequence of layers, got {check.described(layers)}")
    for layer in layers:
        if not isinstance(layer, (Layer, Seedable)):
            raise TypeError(f"layers must hold layers of anydrop, got {check.described(layer)}")
    return list({id(layer): layer for layer in layers}.values())


def _lent(layer: Layer | Seedable, seed: stream.Seed, share_batch: bool) -> Lent:
    """Return a loan, with which a layer draws from a seed for the time."""
    if isinstance(layer, Layer):
        return Loan(layer, seed, share_batch=share_batch)
    if share_batch:
        raise ValueError(
            f"same_masks=True is for anydrop's plain layers, and {check.type_name(layer)} is a "
            "module, which draws a mask for each example: leave same_masks out"
        )
    return layer.lend(seed)


def _child(seed: stream.Seed, i: int) -> np.random.SeedSequence:
    """Return child i of a seed, which does not count it among those that it spawned."""
    parent = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    return np.random.SeedSequence(
        parent.entropy, spawn_key=(*parent.spawn_key, i), pool_size=parent.pool_size
    )


class _AtInference:
    """Has things run in inference mode, but for layers that they may reach, and then as before."""

    def __init__(self, things: list[HasMode], layers: list[Layer | Seedable]) -> None:
        self._modes, self._layers = [(thing, thing.training) for thing in things], layers

    def begin(self) -> None:
        """Set the modes of a run."""
        for thing, training in self._modes:
            if training:
                thing.eval()
        for layer in filter(has_mode, self._layers):
            layer.train()

    def end(self) -> None:
        """Set the modes of before.

        A module's `train` and `eval` also change its children. So this repeats until every mode is
        right; each round settles one more level.
        """
        for _ in self._modes:
            for thing, mode in [pair for pair in self._modes if pair[0].training != pair[1]]:
                thing.train(mode)


def _names(layers: list[Layer | Seedable]) -> str:
    return f"{len(layers)} ({', '.join(type(layer).__name__ for layer in layers)})"


def _check_rates(layers: list[Layer | Seedable], loans: list[Lent]) -> None:
    if all(loan.rate == 0 for loan in loans):
        raise ValueError(
            f"every p is 0, so all samples would be alike: of {_names(layers)} none drops "
            "anything. Give one a p above 0; a schedule counts at the step where its layer is"
        )


def _warn_of(theirs: Iterable[Any]) -> None:
    if names := ", ".join(dict.fromkeys(map(check.type_name, theirs))):
        warnings.warn(
            f"predict leads to another library's dropout ({names}), which monte_carlo doesn't run: "
            "the samples leave it out. Put anydrop's layer in its place, such as anydrop.Dropout",
            stacklevel=3,
        )


def _check_drawn(layers: list[Layer | Seedable], loans: list[Lent]) -> None:
    if not any(loan.drew for loan in loans):
        raise ValueError(
            f"no dropout layer drew a mask in the first sample, so all samples would be alike: of "
            f"{_names(layers)} predict called none in training mode. Let it call them "
            "without training=, so that their own mode counts; in a compiled function take step= "
            "and pass it to functions such as anydrop.dropout"
        )


@contextmanager
def _bar(samples: int) -> Iterator[Callable[[], None]]:
    """Show a bar, and yield what moves it on by a sample."""
    try:
        from rich.progress import Progress
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "progress=True needs rich: python -m pip install 'anydrop[progress]'"
        ) from error
    with Progress() as progress:
        task = progress.add_task("Monte Carlo", total=samples)
        yield lambda: progress.advance(task)
