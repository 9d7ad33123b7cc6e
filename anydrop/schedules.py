"""Drop probabilities that change during training.

Pass a schedule as the `p` of a layer. It is called with the layer's step and returns the
probability for that step. It is plain data and part of the layer's state, so a run that is stopped
and resumed continues where it was.
"""

from __future__ import annotations

import abc
import inspect
import math
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from anydrop.core import check


@dataclass(frozen=True)
class Schedule(abc.ABC):
    """Base class of schedules: a drop probability that depends on the step.

    To write your own, make a frozen dataclass that derives from this class, with numbers or
    schedules as fields, and define ``__call__``. A layer saved with it can be loaded wherever the
    class is defined.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import anydrop
    >>> @dataclass(frozen=True)
    ... class Halving(anydrop.schedules.Schedule):
    ...     start: float
    ...     every: int
    ...     def __call__(self, step):
    ...         return self.start / 2 ** (step // self.every)
    >>> drop = anydrop.Dropout(Halving(0.4, every=100), seed=0)
    >>> drop.p(250)
    0.1
    """

    @abc.abstractmethod
    def __call__(self, step: int) -> float:
        """Return the probability at a step.

        Parameters
        ----------
        step : int
            Step of the layer, ``0 <= step < 2**64``.

        Returns
        -------
        float
            Drop probability, ``0 <= p < 1``.
        """

    def to_json(self) -> dict[str, Any]:
        """Return the schedule as a dict of strings and numbers.

        Returns
        -------
        dict
            The name of the class as ``"schedule"``, and the fields by name.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {n: v.to_json() if isinstance(v, Schedule) else v for n, v in values.items()}
        return {"schedule": _name(type(self)), **plain}


# How deep schedules may be nested, since layers call them at each step and save them.
DEPTH = 16

#: The `p` that a layer takes.
Rate: TypeAlias = float | Schedule


@dataclass(frozen=True)
class Constant(Schedule):
    """The same probability at each step, for use inside other schedules.

    Parameters
    ----------
    p : float
        Drop probability, ``0 <= p < 1``.

    Examples
    --------
    >>> from anydrop.schedules import Constant
    >>> Constant(0.2)(1000)
    0.2
    """

    p: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "p", check.probability(self.p))

    def __call__(self, step: int) -> float:
        """Return the probability at a step."""
        return self.p


@dataclass(frozen=True)
class _Ramp(Schedule):
    start: float
    stop: float
    steps: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", check.probability(self.start))
        object.__setattr__(self, "stop", check.probability(self.stop))
        object.__setattr__(self, "steps", _steps(self.steps))

    def __call__(self, step: int) -> float:
        """Return the probability at a step."""
        if step >= self.steps:
            return self.stop
        return self.start + (self.stop - self.start) * self._done(step / self.steps)

    @abc.abstractmethod
    def _done(self, share: float) -> float:
        """Return the fraction of the way that is done after a fraction of the steps."""


class Linear(_Ramp):
    """Change linearly from one probability to another, and then stay there.

    DropBlock increases its probability like this.

    Parameters
    ----------
    start, stop : float
        Probability at step 0, and from step `steps` on, ``0 <= p < 1``.
    steps : int
        Number of steps from `start` to `stop`, > 0 and at most 2**64.

    References
    ----------
    .. [1] G. Ghiasi et al., "DropBlock: a regularization method for convolutional networks",
       2018, https://arxiv.org/abs/1810.12890

    Examples
    --------
    >>> from anydrop.schedules import Linear
    >>> grow = Linear(0.0, 0.1, steps=4)
    >>> [grow(step) for step in (0, 1, 2, 4, 99)]
    [0.0, 0.025, 0.05, 0.1, 0.1]
    """

    def _done(self, share: float) -> float:
        return share


class Cosine(_Ramp):
    """Change from one probability to another along half a cosine, and then stay there.

    The change is slow at both ends.

    Parameters
    ----------
    start, stop : float
        Probability at step 0, and from step `steps` on, ``0 <= p < 1``.
    steps : int
        Number of steps from `start` to `stop`, > 0 and at most 2**64.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts",
       2016, https://arxiv.org/abs/1608.03983, which changes learning rates along this curve

    Examples
    --------
    >>> from anydrop.schedules import Cosine
    >>> fall = Cosine(0.5, 0.0, steps=4)
    >>> [round(fall(step), 4) for step in (0, 1, 2, 4, 99)]
    [0.5, 0.4268, 0.25, 0.0, 0.0]
    """

    def _done(self, share: float) -> float:
        return (1.0 - math.cos(math.pi * share)) / 2.0


@dataclass(frozen=True)
class WarmUp(Schedule):
    """Increase linearly from 0 to the start of another schedule, and then follow that one.

    Parameters
    ----------
    steps : int
        Number of steps of the warm-up, > 0 and at most 2**64.
    then : float or Schedule
        Probability or schedule that follows, from its own step 0. Schedules can be nested up to 16
        deep.

    References
    ----------
    .. [1] P. Morerio et al., "Curriculum dropout", 2017, https://arxiv.org/abs/1703.06229, which
       also begins without dropout

    Examples
    --------
    >>> from anydrop.schedules import Linear, WarmUp
    >>> p = WarmUp(2, then=Linear(0.5, 0.1, steps=4))
    >>> [p(step) for step in (0, 1, 2, 4, 6)]
    [0.0, 0.25, 0.5, 0.3, 0.1]
    """

    steps: int
    then: Rate

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", _steps(self.steps))
        object.__setattr__(self, "then", rate(self.then))

    def __call__(self, step: int) -> float:
        """Return the probability at a step."""
        if step >= self.steps:
            return at(self.then, step - self.steps)
        return at(self.then, 0) * step / self.steps


def rate(value: Any, name: str = "p") -> Rate:
    """Return a probability as a float, or a schedule, which may be given as JSON."""
    if not isinstance(value, (Schedule, dict)):
        return check.probability(value)
    inner, depth = [value], 0
    while inner := [part for whole in inner for part in _parts(whole)]:
        depth += 1
        if depth == DEPTH:
            raise ValueError(f"schedules can be nested at most {DEPTH} deep, got more")
    return from_json(value) if isinstance(value, dict) else value


def _parts(whole: Schedule | dict[str, Any]) -> list[Any]:
    """Return the schedules directly inside a schedule, or inside its JSON."""
    fields = whole.values() if isinstance(whole, dict) else vars(whole).values()
    return [part for part in fields if isinstance(part, (Schedule, dict))]


def _steps(value: object) -> int:
    steps = check.positive(value, "steps")
    if steps > 2**64:  # more than a layer can count, and maybe than a float can hold
        raise ValueError(f"steps must be at most 2**64, got {steps}")
    return steps


def at(value: Rate, step: int) -> float:
    """Return the probability at a step."""
    return check.probability(value(step)) if isinstance(value, Schedule) else value


def from_json(plain: dict[str, Any]) -> Schedule:
    """Return the schedule that `Schedule.to_json` wrote.

    Raises
    ------
    ValueError
        If it is not the JSON of a known schedule.
    """
    known = {_name(cls): cls for cls in _schedules() if not inspect.isabstract(cls)}
    name = plain.get("schedule")
    cls = known.get(name) if isinstance(name, str) else None
    arguments = {n: v for n, v in plain.items() if n != "schedule"}
    if cls is None or arguments.keys() != {f.name for f in fields(cls)}:
        raise ValueError(
            f"not a schedule: {plain!r}; it must name one of {', '.join(sorted(known))} "
            "and its fields"
        )
    return cls(**arguments)


def _name(cls: type[Schedule]) -> str:
    """Return the name of a schedule in JSON: without the module if it is one of anydrop's."""
    own = cls.__module__ == __name__
    return cls.__qualname__ if own else f"{cls.__module__}.{cls.__qualname__}"


def _schedules() -> list[type[Schedule]]:
    """Return the classes of all schedules that are defined."""
    known: list[type[Schedule]] = Schedule.__subclasses__()
    for cls in known:  # grows during the loop
        known += cls.__subclasses__()
    return known
