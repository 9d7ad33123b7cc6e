"""`ZoneoutMask`: which units took their new state."""

from __future__ import annotations

from typing import NamedTuple

from anydrop.backends import resolve
from anydrop.core import check
from anydrop.core.recipe import Description
from anydrop.core.typing import Array
from anydrop.masks.mask import KeepMask, Mask
from anydrop.masks.stored import StoredMask


class _Complement(NamedTuple):
    mask: Mask | StoredMask
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

    def apply(self, gradient: Array) -> tuple[Array, Array]:
        """Return the gradients of the new and of the previous state for that of the result.

        Parameters
        ----------
        gradient : array
            Of the shape of the states, of any library.
        """
        new = self.mask.apply(gradient)
        if not self.mask.drops:
            return new, resolve(gradient).xp.zeros_like(gradient)
        return new, Complement(self.mask, self.mask.shape).apply(gradient)
