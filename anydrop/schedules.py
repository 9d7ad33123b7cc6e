"""Drop probabilities that change with the step: plain data, which goes into a layer's state.

A schedule is called with a step and returns the probability there. It counts the draws of its
layer, so a run that was stopped and resumed goes on where it was.
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
    """A drop probability that depends on the step.

    A schedule of your own is a frozen dataclass that derives from this, whose fields are numbers or
    schedules. Layers that were saved with it can be loaded wherever it is defined.
    """

    @abc.abstractmethod
    def __call__(self, step: int) -> float:
        """Return the probability at a step.

        Parameters
        ----------
        step : int
            ``0 <= step < 2**64``.

        Returns
        -------
        float
            ``0 <= p < 1``.
        """

    def to_json(self) -> dict[str, Any]:
        """Return the schedule as a dict of strings and numbers."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {n: v.to_json() if isinstance(v, Schedule) else v for n, v in values.items()}
        return {"schedule": _name(type(self)), **plain}


# How many schedules may stand one within another: layers call them at each step, and save them.
DEPTH = 16

#: What a layer takes for a probability.
Rate: TypeAlias = float | Schedule


@dataclass(frozen=True)
class Constant(Schedule):
    """The same probability at every step.

    Parameters
    ----------
    p : float
        ``0 <= p < 1``.

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
        """Return how much of the way is done when a share of the steps is."""


class Linear(_Ramp):
    """From one probability to another in equal steps, and then the latter.

    Parameters
    ----------
    start, stop : float
        Probability at step 0, and at step `steps` and after it.
    steps : int
        How many steps the way takes, > 0 and at most 2**64.

    References
    ----------
    .. [1] G. Ghiasi et al., "DropBlock: a regularization method for convolutional networks",
       2018, https://arxiv.org/abs/1810.12890, where p grows like this

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
    """From one probability to another along half a cosine, slowly at both ends.

    Parameters
    ----------
    start, stop : float
        Probability at step 0, and at step `steps` and after it.
    steps : int
        How many steps the way takes, > 0 and at most 2**64.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts",
       2016, https://arxiv.org/abs/1608.03983, for its shape

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
    """From 0 in equal steps to where another schedule begins, which then runs from its step 0.

    Parameters
    ----------
    steps : int
        How many steps the warm-up takes, > 0 and at most 2**64.
    then : float or Schedule
        What follows. At most 16 schedules may stand one within another.

    References
    ----------
    .. [1] P. Morerio et al., "Curriculum dropout", 2017, https://arxiv.org/abs/1703.06229, which
       begins without dropout as well

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
    """Return a probability as a float, or a schedule, which may be given as its JSON."""
    if not isinstance(value, (Schedule, dict)):
        return check.probability(value)
    inner, depth = [value], 0
    while inner := [part for whole in inner for part in _parts(whole)]:
        depth += 1
        if depth == DEPTH:
            raise ValueError(f"at most {DEPTH} schedules may stand one within another, got more")
    return from_json(value) if isinstance(value, dict) else value


def _parts(whole: Schedule | dict[str, Any]) -> list[Any]:
    """Return the schedules that stand directly within another, or within its JSON."""
    fields = whole.values() if isinstance(whole, dict) else vars(whole).values()
    return [part for part in fields if isinstance(part, (Schedule, dict))]


def _steps(value: object) -> int:
    steps = check.positive(value, "steps")
    if steps > 2**64:  # which no layer ever gets to, and a float may not hold
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
        If it is none.
    """
    known = {_name(cls): cls for cls in _schedules() if not inspect.isabstract(cls)}
    name = plain.get("schedule")
    cls = known.get(name) if isinstance(name, str) else None
    arguments = {n: v for n, v in plain.items() if n != "schedule"}
    if cls is None or arguments.keys() != {f.name for f in fields(cls)}:
        raise ValueError(
            f"not a schedule: {plain!r}; it names one of {', '.join(sorted(known))} "
            "and what that takes"
        )
    return cls(**arguments)


def _name(cls: type[Schedule]) -> str:
    """Return what a schedule is called in JSON: one of anydrop's by its name alone."""
    own = cls.__module__ == __name__
    return cls.__qualname__ if own else f"{cls.__module__}.{cls.__qualname__}"


def _schedules() -> list[type[Schedule]]:
    """Return the classes of all schedules that are defined anywhere."""
    known: list[type[Schedule]] = Schedule.__subclasses__()
    for cls in known:  # which grows on the way
        known += cls.__subclasses__()
    return known
