"""`BlockMask`: the keep mask of blocks, described by the places where they begin."""

from __future__ import annotations

from typing import NamedTuple

from anydrop.backends import resolve
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
        xp, kept = resolve(like).xp, self.seeds.keep(like=like)
        for axis, size in enumerate(self.sizes):
            # What a block of 2 n elements keeps, two of n side by side keep.
            reach = 1
            while reach < size:
                by = min(reach, size - reach)
                kept = xp.logical_and(_from(kept, axis, 0, -by), _from(kept, axis, by, None))
                reach += by
        return kept


def _from(x: Array, axis: int, start: int, stop: int | None) -> Array:
    part = [slice(None)] * x.ndim
    part[axis] = slice(start, stop)
    return x[tuple(part)]
