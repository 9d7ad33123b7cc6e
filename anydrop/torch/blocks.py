"""DropBlock: torchvision's ``DropBlock2d`` and ``DropBlock3d``, and the same for sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from anydrop.core import check
from anydrop.core.docstrings import described_by
from anydrop.core.stream import Seed
from anydrop.layers.drop_block import (
    BlockSize,
    drop_block1d,
    drop_block2d,
    drop_block3d,
    lengths_of,
)
from anydrop.schedules import Rate
from anydrop.torch.module import Module
from anydrop.torch.standard import Standard


@described_by(Standard)
class Blocks(Module):
    """Base class of the modules that drop blocks.

    Parameters
    ----------
    p : float, default 0.1
        Probability that an element is dropped, ``0 <= p <= 1``. ``p=1`` gives zeros. You may change
        it later. A schedule needs a `seed`.
    block_size : int or sequence of int, default 7
        Length of a block along each axis of the feature map, in elements.
    eps : float, default 1e-06
        Not used, only accepted. torchvision divides by the fraction that a batch kept, plus this
        number. This module multiplies by ``1 / (1 - p)``.
    """

    _takes_one = True
    #: How many axes a feature map has.
    _spatial: ClassVar[int]

    def __init__(
        self,
        p: Rate = 0.1,
        block_size: BlockSize = 7,
        inplace: bool = False,
        eps: float = 1e-06,
        *,
        seed: Seed | Sequence[int] | None = None,
        per_rank: bool | int | None = None,
    ) -> None:
        super().__init__(seed=seed, per_rank=per_rank)
        self.p = p
        self.block_size = block_size
        self.inplace = inplace
        self.eps = check.number(eps, "eps")
        lengths_of(block_size, self._spatial)
        self._check_rate()

    def _settings(self, x: Tensor) -> dict[str, Any]:
        return {"block_size": self.block_size}

    def _shown(self) -> str:
        return f"p={self.p}, block_size={self.block_size}, inplace={self.inplace}"


@described_by(Blocks)
class DropBlock1d(Blocks):
    """Drop contiguous blocks of sequences.

    Neighbouring elements of a feature map say almost the same, so dropping a whole block removes
    more information than dropping single elements. Tensors have shape (batch, channels, length).

    See Also
    --------
    anydrop.drop_block1d : The function. With the same seed and step it draws the same mask.

    References
    ----------
    .. [1] G. Ghiasi et al., "DropBlock: a regularization method for convolutional networks", 2018,
       https://arxiv.org/abs/1810.12890

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> drop = anydrop.torch.DropBlock1d(0.3, 3, seed=2)
    >>> drop(torch.ones(1, 1, 12)) > 0
    tensor([[[ True,  True, False, False, False,  True,  True,  True,  True,  True,
               True,  True]]])
    """

    _function = staticmethod(drop_block1d)
    _spatial = 1


@described_by(Blocks)
class DropBlock2d(Blocks):
    """Drop contiguous blocks of images, as torchvision's ``DropBlock2d`` does.

    Neighbouring elements of a feature map say almost the same, so dropping a whole block removes
    more information than dropping single elements. Tensors have shape (batch, channels, height,
    width). The arguments are torchvision's. Here every element is dropped with probability `p`,
    while torchvision drops fewer at the edges and meets `p` only approximately.

    See Also
    --------
    anydrop.drop_block2d : The function. With the same seed and step it draws the same mask.

    References
    ----------
    .. [1] G. Ghiasi et al., "DropBlock: a regularization method for convolutional networks", 2018,
       https://arxiv.org/abs/1810.12890
    .. [2] torchvision, ``torchvision.ops.DropBlock2d``

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> drop = anydrop.torch.DropBlock2d(0.3, 3, seed=3)
    >>> (drop(torch.ones(1, 1, 6, 8))[0, 0] > 0).long()
    tensor([[1, 1, 1, 1, 1, 1, 1, 1],
            [1, 1, 1, 1, 1, 1, 1, 1],
            [1, 1, 1, 1, 1, 1, 1, 1],
            [1, 1, 1, 1, 1, 0, 0, 0],
            [1, 1, 1, 1, 1, 0, 0, 0],
            [1, 1, 1, 1, 1, 0, 0, 0]])
    """

    _function = staticmethod(drop_block2d)
    _spatial = 2


@described_by(Blocks)
class DropBlock3d(Blocks):
    """Drop contiguous blocks of volumes, as torchvision's ``DropBlock3d`` does.

    Neighbouring elements of a feature map say almost the same, so dropping a whole block removes
    more information than dropping single elements. Tensors have shape (batch, channels, depth,
    height, width). The arguments are torchvision's. Here every element is dropped with probability
    `p`, while torchvision drops fewer at the edges and meets `p` only approximately.

    See Also
    --------
    anydrop.drop_block3d : The function. With the same seed and step it draws the same mask.

    References
    ----------
    .. [1] G. Ghiasi et al., "DropBlock: a regularization method for convolutional networks", 2018,
       https://arxiv.org/abs/1810.12890
    .. [2] torchvision, ``torchvision.ops.DropBlock3d``

    Examples
    --------
    >>> import torch, anydrop.torch
    >>> drop = anydrop.torch.DropBlock3d(0.1, 3, seed=0)
    >>> drop(torch.ones(2, 3, 8, 8, 8)).shape
    torch.Size([2, 3, 8, 8, 8])
    """

    _function = staticmethod(drop_block3d)
    _spatial = 3
