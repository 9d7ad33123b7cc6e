"""CPU tensors: NumPy's kernels read and write their memory in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from anydrop.backends.numpy.backend import NumpyBackend
from anydrop.backends.torch import int64
from anydrop.core.recipe import Affine, Recipe, scaled
from anydrop.core.stream import Key
from anydrop.core.typing import Array

try:
    import ml_dtypes

    BFLOAT16: np.dtype | None = np.dtype(ml_dtypes.bfloat16)
except ImportError:
    BFLOAT16 = None

HOST = NumpyBackend()

# Takes a tensor, a key, a step, the first index, and optionally the tensor to write to.
Draw: TypeAlias = Callable[..., Tensor]


def array(x: Tensor) -> Array:
    """Return a tensor's memory as a NumPy array."""
    if x.dtype != torch.bfloat16:
        return x.numpy()
    if BFLOAT16 is None:
        raise TypeError(
            "NumPy has no bfloat16 unless ml_dtypes is installed: install it, or convert x"
        )
    return x.view(torch.int16).numpy().view(BFLOAT16)


def tensor(x: Array) -> Tensor:
    """Copy a NumPy array, of any strides and byte order, to a tensor."""
    x = np.array(x, x.dtype.newbyteorder("="), order="C")
    if x.dtype == BFLOAT16:
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)


def keep(recipe: Recipe, device: torch.device) -> Tensor:
    """Return the keep mask of a recipe. The device is the CPU."""
    return torch.from_numpy(HOST.keep(recipe, None))


def select(
    x: Tensor,
    keep: Recipe | Tensor,
    scale: float,
    shift: float | None,
    fill: float,
    out: Tensor | None = None,
) -> Tensor:
    """Return ``where(keep, x * scale + shift, fill)``, in `out` if there is one."""
    return _written_by(HOST.select, (x,), (_mask(keep), scale, shift, fill), out)


def select_add(
    x: Tensor,
    residual: Tensor,
    bias: Tensor | None,
    keep: Recipe | Tensor | None,
    scale: float,
    out: Tensor | None = None,
) -> Tensor:
    """Return ``residual + where(keep, (x + bias) * scale, 0)``, in `out` if there is one."""

    def add(x: Array, residual: Array, bias: Array | None, out: Array | None) -> Array:
        return HOST.select_add(x, residual, _mask(keep), scale, bias, out)

    return _written_by(add, (x, residual, bias), (), out)


def perturb(
    x: Tensor, recipe: Recipe, std: float, relative: bool, out: Tensor | None = None
) -> Tensor:
    """Return ``x * (1 + std * z)`` or ``x + std * z``, in `out` if there is one."""
    return _written_by(HOST.perturb, (x,), (recipe, std, relative), out)


def choose(
    new: Tensor | None, previous: Tensor | None, keep: Recipe | Tensor, out: Tensor | None = None
) -> Tensor:
    """Return ``where(keep, new, previous)``, in `out` if there is one."""
    return _written_by(HOST.choose, (new, previous), (_mask(keep),), out)


def select_blocks(
    x: Tensor, recipe: Recipe, sizes: Sequence[int], scale: float, out: Tensor | None = None
) -> Tensor:
    """Return ``where(keep, x * scale, 0)`` with the mask of blocks, in `out` if there is one."""
    return _written_by(HOST.select_blocks, (x,), (recipe, tuple(sizes), scale), out)


def _mask(keep: Recipe | Tensor | None) -> Recipe | Array | None:
    return keep.numpy() if isinstance(keep, Tensor) else keep


def _written_by(
    method: Callable[..., Array],
    tensors: tuple[Tensor | None, ...],
    others: tuple[Any, ...],
    out: Tensor | None,
) -> Tensor:
    """Call a method of NumPy's backend on tensors, and write to `out` if there is one.

    A new result is like the first tensor, with the dtype of the second if there is one.
    """
    given = [t for t in tensors if t is not None]
    if out is not None:
        y = written(out).detach()
    elif len(given) == 1:
        y = torch.empty_like(given[0])
    else:
        y = torch.empty_like(given[0], dtype=given[1].dtype)
    if BFLOAT16 is None and any(t.dtype == torch.bfloat16 for t in given):
        # Computed in float32 and rounded once, as the kernels do for each element.
        wide = [t if t is None else t.detach().float().numpy() for t in tensors]
        y.copy_(torch.from_numpy(method(*wide, *others, None)))
    else:
        arrays = [t if t is None else array(t.detach()) for t in tensors]
        method(*arrays, *others, array(y))
    return y if out is None else out


def sum_to(x: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Sum x over the axes along which a tensor of `shape` broadcasts to the shape of x."""
    x = x.detach()
    if x.dtype == torch.bfloat16:
        x = x.float()
    # PyTorch rounds a sum in a half type, since NumPy may have no bfloat16.
    name = "float32" if dtype in int64.HALVES else str(dtype).removeprefix("torch.")
    return tensor(np.asarray(HOST.sum_to(array(x), shape, name))).to(dtype)


def apply(x: Tensor, keep: Tensor, affine: Affine) -> Tensor:
    """Return ``where(keep, x * scale + shift, fill)`` for a mask that was drawn before.

    PyTorch's ``where`` takes twice as long, since it branches at each element.
    """
    if x.dtype == torch.bfloat16 and BFLOAT16 is None:
        return int64.apply(x, keep, affine)
    x, y = x.detach(), torch.empty_like(x)
    order = int64.memory_order(y)
    tensors = x, int64.aligned(keep.expand(x.shape), y), y
    source, kept, target = (array(tensor.permute(order)) for tensor in tensors)
    HOST.select(source, kept, *affine, out=target)
    return y


def select_packed(x: Tensor, bits: Tensor, shape: tuple[int, ...], affine: Affine) -> Tensor:
    """Return ``where(keep, x * scale + shift, fill)`` for a mask of one bit an element."""
    x, y = x.detach(), torch.empty_like(x)
    HOST.select_packed(array(x), bits.numpy(), shape, affine, array(y))
    return y


def written(out: Tensor) -> Tensor:
    """Tell autograd that a kernel writes the memory of a tensor, and return the tensor."""
    if not out.is_inference():
        torch.autograd.graph.increment_version(out)
    return out


def draws(x: Tensor, recipe: Recipe, affine: Affine) -> tuple[Draw, Draw] | None:
    """Return functions that repeat `select`, and its linear part, for small tensors like x.

    The tensors must be contiguous CPU tensors. None if x is no such tensor.
    """
    if x.dtype == torch.bfloat16 and BFLOAT16 is None:
        return None
    memory = array(x.detach())
    kernel_at = getattr(HOST.settled(memory), "kernel_at", None)
    if kernel_at is None:
        return None
    kernel = partial(kernel_at, memory.dtype, recipe.spread, recipe.threshold)
    n = memory.size

    def drawing(draw: Callable[..., None]) -> Draw:
        def select(x: Tensor, key: Key, step: int, first: int, out: Tensor | None = None) -> Tensor:
            y = torch.empty_like(x) if out is None else written(out)
            draw(x.data_ptr(), y.data_ptr(), n, key, step, first)
            return y

        return select

    return drawing(kernel(affine)), drawing(kernel(scaled(affine.scale)))
