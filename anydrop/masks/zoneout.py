"""`ZoneoutMask`: which units took their new state."""

from __future__ import annotations

from typing import NamedTuple

from anydrop.backends import resolve
from anydrop.backends.base import Backend
from anydrop.core import check
from anydrop.core.recipe import Description
from anydrop.core.typing import Array
from anydrop.masks.mask import KeepMask, Mask
from anydrop.masks.stored import StoredMask


class _Complement(NamedTuple):
    mask: StoredMask
    shape: tuple[int, ...]
    scale: float = 1.0


class Complement(_Complement, KeepMask):
    """The mask of what another one drops."""

    __slots__ = ()

    def keep(self, like: Array) -> Array:
        """Return the boolean mask; see `Mask.keep`."""
        return resolve(like).xp.logical_not(self.mask.keep(like=like))


class Expectation(NamedTuple):
    """What zoneout does at inference to states of a shape: ``(1 - p) * new + p * previous``."""

    p: float
    shape: tuple[int, ...]

    def apply(self, gradient: Array) -> tuple[Array, Array]:
        """Return the gradients of the new and of the previous state for that of the result."""
        backend = resolve(gradient)
        backend.check_input(gradient)
        check.gradient_shape(backend.shape(gradient), self.shape)
        select = backend.select
        return select(gradient, None, 1.0 - self.p), select(gradient, None, self.p)


class _ZoneoutMask(NamedTuple):
    mask: Mask | StoredMask


class ZoneoutMask(_ZoneoutMask, Description):
    """Which units took their new state, described by the mask and not stored.

    Attributes
    ----------
    mask : Mask or StoredMask
        True where the new state was taken.
    """

    __slots__ = ()

    def keep(self, like: Array) -> Array:
        """Return the boolean mask, True where the new state was taken; see `Mask.keep`."""
        return self.mask.keep(like=like)

    def choose(self, backend: Backend, new: Array, previous: Array, out: Array | None) -> Array:
        """Return what `Backend.choose` makes of states with this mask; they are checked."""
        mask = self.mask
        if isinstance(mask, Mask):
            return backend.choose(new, previous, mask, out)

        def chosen(new: Array, previous: Array) -> Array:
            return backend.choose(new, previous, mask.keep(like=new))

        y = backend.recompute(chosen, self.apply, new, previous)
        return y if out is None else backend.select(y, None, 1.0, out=out)

    def apply(self, gradient: Array) -> tuple[Array, Array]:
        """Return the gradients of the new and of the previous state for that of the result.

        Parameters
        ----------
        gradient : array
            Of the shape of the states, of any library.
        """
        mask, backend = self.mask, resolve(gradient)
        if not isinstance(mask, Mask):
            return mask.apply(gradient), Complement(mask, mask.shape).apply(gradient)
        backend.check_input(gradient)
        check.gradient_shape(backend.shape(gradient), mask.shape)
        if not mask.drops:
            return gradient, backend.xp.zeros_like(gradient)
        return backend.choose(gradient, None, mask), backend.choose(None, gradient, mask)
