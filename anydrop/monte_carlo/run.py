"""`monte_carlo`: run a model many times with its dropout on, and compute statistics."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
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
    """Result of `monte_carlo`: a tuple of the first five attributes.

    Attributes
    ----------
    mean : array
        Mean of the outputs. With ``outputs="logits"``, mean of the probabilities.
    std : array
        Standard deviation of the same numbers: the square root of their mean squared distance from
        the mean, divided by `samples`. It is real, also for complex outputs.
    entropy : array or None
        Entropy of the mean probabilities, in nats, without the axis of the classes. It measures the
        total uncertainty, from 0 to the logarithm of the number of classes. None for
        ``outputs="values"``.
    mutual_information : array or None
        `entropy` minus the mean entropy of the single samples, in nats, >= 0. It is the part of the
        uncertainty that comes from disagreement between samples. None for ``outputs="values"``.
    samples : int
        Number of samples.
    outputs : array or None
        The output of each sample, along a new first axis, with ``return_samples=True``; else None.
        Not part of the tuple.

    See Also
    --------
    monte_carlo : returns it.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> drop = anydrop.Dropout(0.5, seed=0)
    >>> x = np.ones((2, 3))
    >>> result = anydrop.monte_carlo(drop, x, samples=100, seed=1, outputs="logits")
    >>> result.mean.shape, result.entropy.shape, result.samples
    ((2, 3), (2,), 100)
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
    """Run a model many times with dropout on, and return the mean and the spread of its outputs.

    This is Monte Carlo dropout: the spread estimates how uncertain the model is. Only dropout
    layers of anydrop run in training mode, with seeds derived from `seed`. All else, such as batch
    norm, runs in inference mode. Afterwards everything is as before, also after an error: modes,
    seeds, steps and masks. The same call gives the same result.

    Parameters
    ----------
    predict : callable
        The model: takes `x` and returns one array of floating-point numbers, of any library, always
        with the same shape. If it has parameters named `step` or `seed`, sample t passes ``step=t``
        and `seed`. Use them for dropout functions and in compiled functions.
    x : any
        Input of `predict`.
    samples : int
        Number of samples, > 0: how often `predict` is called.
    seed : int, sequence of int or numpy.random.SeedSequence
        Seed of the run. Layer i draws from child i of ``SeedSequence(seed)``, from step 0 on.
    outputs : {"values", "probabilities", "logits"}
        What `predict` returns. For classes, the result has entropies, too. Logits are turned into
        probabilities by a softmax. "values", the default, is for anything else.
    axis : int, default -1
        Axis of the classes in the outputs; not used for "values".
    same_masks : bool, default False
        Whether all examples of a batch share one mask in each sample. Each sample is then one
        function of the input.
    layers : sequence of Layer or anydrop.torch.Module, optional
        The dropout layers that run in training mode. By default all that `predict` leads to: by its
        object, attributes, containers, closure, and the globals that it names.
    return_samples : bool, default False
        Whether to keep the output of each sample, as ``result.outputs``.
    progress : bool, default False
        Whether to show a progress bar. It needs the package ``rich``.

    Returns
    -------
    MonteCarlo
        Statistics, as arrays of the outputs' library and device. For half types they are float32.

    Raises
    ------
    TypeError
        If an argument has the wrong type, or `predict` does not return an array of floating-point
        numbers.
    ValueError
        If an argument is out of range. If no dropout layer was found, every `p` is 0, or no layer
        drew a mask in the first sample. If the outputs change their shape, or are not probabilities
        though `outputs` says so. If `same_masks` is given for a `predict` with a `step`, or for a
        module of ``anydrop.torch``.
    RuntimeError
        If `predict` calls a layer that was not found, or a layer in training mode that `layers`
        does not name; or if a layer is running in another thread.
    ModuleNotFoundError
        If `progress` is True and ``rich`` is not installed.

    Warns
    -----
    UserWarning
        If `predict` leads to another library's layer that drops, which stays off.

    See Also
    --------
    MonteCarlo : the result.

    Notes
    -----
    Mean and variance are updated with each sample, by Welford's formulas. So memory does not grow
    with `samples`, unless you keep them with `return_samples`.

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
    >>> def predict(x):
    ...     return drop(x) @ weights
    >>> result = anydrop.monte_carlo(predict, np.ones(2), samples=1000, seed=1)
    >>> print(f"{result.mean:.0f} {result.std:.0f}")  # 3 + 4, sqrt(3**2 + 4**2)
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
            "same_masks=True works for layers, and predict takes step= to draw its own masks: call "
            "its dropout functions with shared_axes=0, the axis of the batch"
        )
    things = reached(predict)
    found = list(filter(has_mode, things))
    chosen = _chosen(layers, found)
    theirs = _described(list(filter(is_their_dropout, things)))
    if not chosen and "step" not in taken:
        raise ValueError(
            "predict leads to no dropout layer of anydrop: pass the layers as layers=[...], or let "
            "predict take step= and pass it to functions such as anydrop.dropout"
            + (theirs and f". It leads to {theirs}")
        )
    if theirs:
        warnings.warn(f"predict leads to {theirs}", stacklevel=2)
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
    """Return which of the parameters `step` and `seed` a function has."""
    if not callable(predict):
        raise TypeError(f"predict must be a function of x, got {check.described(predict)}")
    try:
        parameters = inspect.signature(predict).parameters
    except ValueError:  # Some functions written in C have no signature.
        return []
    first, *_ = (*parameters, "")  # takes x
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
            raise TypeError(f"layers must contain layers of anydrop, got {check.described(layer)}")
    return list({id(layer): layer for layer in layers}.values())


def _lent(layer: Layer | Seedable, seed: stream.Seed, share_batch: bool) -> Lent:
    """Return a loan, during which a layer draws from another seed."""
    if isinstance(layer, Layer):
        return Loan(layer, seed, share_batch=share_batch)
    if share_batch:
        raise ValueError(
            f"same_masks=True is for anydrop's plain layers, and {check.type_name(layer)} is a "
            "module of a framework: leave same_masks out"
        )
    return layer.lend(seed)


def _child(seed: stream.Seed, i: int) -> np.random.SeedSequence:
    """Return child i of a seed, without counting it as spawned."""
    parent = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    return np.random.SeedSequence(
        parent.entropy, spawn_key=(*parent.spawn_key, i), pool_size=parent.pool_size
    )


class _AtInference:
    """Runs all objects in inference mode, except for the layers, and restores their modes."""

    def __init__(self, things: list[HasMode], layers: list[Layer | Seedable]) -> None:
        self._modes, self._layers = [(thing, thing.training) for thing in things], layers

    def begin(self) -> None:
        """Set the modes for the run."""
        for thing, training in self._modes:
            if training:
                thing.eval()
        for layer in filter(has_mode, self._layers):
            layer.train()

    def end(self) -> None:
        """Restore the modes of before.

        A module's `train` and `eval` also change its children. So this repeats until all modes are
        right; each round settles at least one level.
        """
        for _ in self._modes:
            for thing, mode in [pair for pair in self._modes if pair[0].training != pair[1]]:
                thing.train(mode)


def _names(layers: list[Layer | Seedable]) -> str:
    return f"{len(layers)} ({', '.join(type(layer).__name__ for layer in layers)})"


def _check_rates(layers: list[Layer | Seedable], loans: list[Lent]) -> None:
    if all(loan.rate == 0 for loan in loans):
        raise ValueError(
            f"every p is 0, so all samples would be equal: none of {_names(layers)} drops. Set a p "
            "above 0; a schedule is evaluated at its layer's current step"
        )


def _described(theirs: list[Any]) -> str:
    """Name the layers of other libraries that drop and don't run, and say what to do."""
    if not (names := ", ".join(dict.fromkeys(map(check.type_name, theirs)))):
        return ""
    bases = [base for one in theirs for base in type(one).__mro__]
    of_torch = any(base.__module__.partition(".")[0] == "torch" for base in bases)
    way = (
        "call anydrop.torch.convert(model), which replaces it"
        if of_torch
        else "replace it with a layer of anydrop, such as anydrop.Dropout"
    )
    return f"another library's dropout ({names}), which monte_carlo doesn't switch on: {way}"


def _check_drawn(layers: list[Layer | Seedable], loans: list[Lent]) -> None:
    if not any(loan.drew for loan in loans):
        raise ValueError(
            "no dropout layer drew a mask in the first sample, so all samples would be equal: "
            f"predict called none of {_names(layers)} in training mode. Call them without "
            "training=, so that their own mode counts; in a compiled function take step= and "
            "pass it to functions such as anydrop.dropout"
        )


@contextmanager
def _bar(samples: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar, and yield the function that advances it by a sample."""
    try:
        from rich.progress import Progress
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "progress=True needs rich: python -m pip install 'anydrop[progress]'"
        ) from error
    with Progress() as progress:
        task = progress.add_task("Monte Carlo", total=samples)
        yield lambda: progress.advance(task)
