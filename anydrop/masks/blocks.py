"""`BlockMask`: the keep mask of blocks."""

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
    """Recipe of the mask of `drop_block1d`, `drop_block2d` or `drop_block3d`, with no array stored.

    Attributes
    ----------
    seeds : Mask or StoredMask
        False where a block starts. It is longer than the arrays by the length of a block less one,
        so that blocks may reach in over the edges.
    shape : tuple of int
        Shape of the arrays that the mask applies to.
    scale : float
        Factor of kept elements.
    sizes : tuple of int
        Lengths of a block along each axis; 1 for the batch and the channels.

    See Also
    --------
    Mask : the mask of plain dropout.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> x = np.ones((1, 1, 12))
    >>> y, mask = anydrop.drop_block1d(x, 0.3, 3, seed=1, step=0, return_mask=True)
    >>> mask.keep(like=x)[0, 0].astype(int)
    array([1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    """

    __slots__ = ()

    @property
    def drops(self) -> bool:
        """Whether an element may be dropped; see `KeepMask.drops`."""
        return self.seeds.drops

    def keep(self, like: Array) -> Array:
        """Return the boolean mask, True where an element is kept; see `Mask.keep`.

        It has length 1 along shared axes.
        """
        backend = resolve(like)
        if isinstance(self.seeds, Mask):
            return backend.keep_blocks(self.seeds, self.sizes, like)
        return eroded(backend.xp, self.seeds.keep(like=like), self.sizes)

    def select(self, backend: Backend, x: Array, affine: Affine, out: Array | None) -> Array:
        """Apply this mask by `Backend.select_blocks`; x and `out` are checked."""
        if isinstance(self.seeds, Mask) and affine == scaled(affine.scale):
            return backend.select_blocks(x, self.seeds, self.sizes, affine.scale, out)
        return super().select(backend, x, affine, out)
