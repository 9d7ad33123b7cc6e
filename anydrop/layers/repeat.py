"""`Repeat`: what a layer knows of its last call, so as to do it again without asking twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from anydrop._typing import Array
from anydrop.backends import resolve
from anydrop.backends.base import Pass
from anydrop.mask import Mask
from anydrop.schedules import Schedule


class Repeat(NamedTuple):
    """A call for arrays of one kind at any step, all that does not depend on either found out.

    Attributes
    ----------
    options : dict
        The layer's at that call: with another dict it would be another call.
    mask : Mask
        Its mask, of which each call has that of its step.
    forward, backward : callable
        Take an array and a step to the result, or to None if the array is of another kind.
    """

    options: dict[str, Any]
    mask: Mask
    forward: Pass
    backward: Pass


def repeat(
    function: Callable[..., Any], x: Array, mask: Any, options: dict[str, Any]
) -> Repeat | None:
    """Return how to do a call again, or None if it can't be, or nothing would be gained.

    Parameters
    ----------
    function : callable
        The layer's.
    x : array
        Its argument.
    mask : Mask or other
        What it drew.
    options : dict
        The layer's.
    """
    affine = vars(function).get("affine")  # see `anydrop.call.selects`
    if affine is None or type(mask) is not Mask or type(mask.step) is not int:
        return None
    if any(isinstance(option, Schedule) for option in options.values()):
        return None
    passes = resolve(x).again(x, mask, *affine(mask))
    return None if passes is None else Repeat(options, mask, *passes)
