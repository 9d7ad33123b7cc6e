"""`Repeat`: what a layer knows of its last call, so as to do it again without asking twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from anydrop.backends.base import Backend, Pass
from anydrop.core.typing import Array
from anydrop.layers.call import affine_of
from anydrop.masks.mask import Mask
from anydrop.schedules import Schedule


class Repeat(NamedTuple):
    """A call for arrays of one kind at any step, all that does not depend on either found out.

    Attributes
    ----------
    options : dict
        The layer's at that call: with another dict it would be another call.
    mask : Mask
        Its mask, of which each call has that of its step: see `drawn`.
    forward, backward : callable
        Take an array and a step to the result, or to None if the array is of another kind.
    """

    options: dict[str, Any]
    mask: Mask
    forward: Pass
    backward: Pass

    def drawn(self, step: int) -> Mask:
        """Return the mask of the call at a step, which nothing checks here."""
        # As _replace does it, in half the time.
        return tuple.__new__(Mask, (self.mask[0], step, *self.mask[2:]))


def repeat(
    function: Callable[..., Any],
    backend: Backend,
    x: Array,
    options: dict[str, Any],
    mask: Any,
    before: Any,
) -> Repeat | None:
    """Return how to do a call again, or None if it can't be, or nothing would be gained.

    Parameters
    ----------
    function : callable
        The layer's.
    backend : Backend
        Of the array.
    x : array
        Its argument.
    options : dict
        The layer's.
    mask, before : Mask or other
        What it drew, and what the call before did, None if there was none. If they differ by more
        than the step, as where a layer serves several places of a network in turn, what is
        prepared here would wait for another call than the next.
    """
    affine = affine_of(function)
    if affine is None or type(mask) is not Mask or type(mask.step) is not int:
        return None
    if any(isinstance(option, Schedule) for option in options.values()):
        return None
    if type(before) is Mask and before._replace(step=mask.step) != mask:
        return None
    passes = backend.again(x, mask, *affine(mask))
    return None if passes is None else Repeat(options, mask, *passes)
