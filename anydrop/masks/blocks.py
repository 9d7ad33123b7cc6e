"""`BlockMask`: the keep mask of blocks, described by the places where they begin."""

from __future__ import annotations

from typing import NamedTuple

from anydrop.backends import resolve
from anydrop.backends.base import Backend
from anydrop.backends.common.blocks import eroded
from anydrop.core.recipe import Affine, scaled
from anydrop.core.typing import Array
from anydrop.masks.mask import KeepMask, Mask
from anydrop.masks.stored import StoredMask


class _Blocks(NamedTuple):
    seeds: Mask | StoredMask
    shape: tuple[int, ...]
    scale: float
    sizes: tuple[int, ...]


class BlockMask(_Blocks, KeepMask):
    """A keep mask of which connected blocks are dropped, described and not stored.

    Attributes
    ----------
    seeds : Mask or StoredMask
        False where a block begins. It is longer than the arrays by a block less one, so that blocks
        reach in over the edges.
    shape : tuple of int
        Shape of the arrays that it applies to.
    scale : float
        What survivors are multiplied by.
    sizes : tuple of int
        Lengths of a block along each axis; 1 where it has none.
    """

    __slots__ = ()

    @property
    def drops(self) -> bool:
        """Whether an element may be dropped; see `KeepMask.drops`."""
        return self.seeds.drops

    def keep(self, like: Array) -> Array:
        """Return the boolean keep mask; see `Mask.keep`.

        Axes that the seeds share have length 1.
        """
        backend = resolve(like)
        if isinstance(self.seeds, Mask):
            return backend.keep_blocks(self.seeds, self.sizes, like)
        return eroded(backend.xp, self.seeds.keep(like=like), self.sizes)

    def select(self, backend: Backend, x: Array, affine: Affine, out: Array | None) -> Array:
        """Return what `Backend.select` makes of x with this mask; x and `out` are checked."""
        if isinstance(self.seeds, Mask) and affine == scaled(affine.scale):
            return backend.select_blocks(x, self.seeds, self.sizes, affine.scale, out)
        return super().select(backend, x, affine, out)
