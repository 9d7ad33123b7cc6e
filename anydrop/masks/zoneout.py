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
    """The mask of what another mask drops."""

    __slots__ = ()

    def keep(self, like: Array) -> Array:
        """Return the boolean mask; see `Mask.keep`."""
        return resolve(like).xp.logical_not(self.mask.keep(like=like))


class Expectation(NamedTuple):
    """Zoneout at inference: ``(1 - p) * new + p * previous``, for states of a shape."""

    p: float
    shape: tuple[int, ...]

    def apply(self, gradient: Array) -> tuple[Array, Array]:
        """Return the gradients of the new and the previous state, from that of the result."""
        backend = resolve(gradient)
        backend.check_input(gradient)
        check.gradient_shape(backend.shape(gradient), self.shape)
        select = backend.select
        return select(gradient, None, 1.0 - self.p), select(gradient, None, self.p)


class _ZoneoutMask(NamedTuple):
    mask: Mask | StoredMask


class ZoneoutMask(_ZoneoutMask, Description):
    """Recipe of the mask of `zoneout`, with no array stored.

    Keep one for each time step, to go back through time.

    Attributes
    ----------
    mask : Mask or StoredMask
        True where a unit took its new state.

    See Also
    --------
    Mask : the mask of plain dropout.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> new, old = np.ones(4), np.zeros(4)
    >>> y, mask = anydrop.zoneout(new, old, 0.5, seed=0, step=0, return_mask=True)
    >>> mask.apply(np.ones(4))  # the gradients of both states
    (array([0., 1., 1., 1.]), array([1., 0., 0., 0.]))
    """

    __slots__ = ()

    def keep(self, like: Array) -> Array:
        """Return the boolean mask, True where a unit took its new state; see `Mask.keep`."""
        return self.mask.keep(like=like)

    def choose(self, backend: Backend, new: Array, previous: Array, out: Array | None) -> Array:
        """Apply this mask by `Backend.choose`; the states are checked."""
        mask = self.mask
        if isinstance(mask, Mask):
            return backend.choose(new, previous, mask, out)

        def chosen(new: Array, previous: Array) -> Array:
            return backend.choose(new, previous, mask.keep(like=new))

        y = backend.recompute(chosen, self.apply, new, previous)
        return y if out is None else backend.select(y, None, 1.0, out=out)

    def apply(self, gradient: Array) -> tuple[Array, Array]:
        """Return the gradients of the new and the previous state, from that of the result.

        Parameters
        ----------
        gradient : array
            Gradient of the result, with the shape of the states, of any library.

        Returns
        -------
        tuple of two arrays
            ``where(keep, gradient, 0)`` and ``where(keep, 0, gradient)``.
        """
        mask, backend = self.mask, resolve(gradient)
        if not isinstance(mask, Mask):
            return mask.apply(gradient), Complement(mask, mask.shape).apply(gradient)
        backend.check_input(gradient)
        check.gradient_shape(backend.shape(gradient), mask.shape)
        if not mask.drops:
            return gradient, backend.xp.zeros_like(gradient)
        return backend.choose(gradient, None, mask), backend.choose(None, gradient, mask)
