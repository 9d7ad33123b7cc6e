"""The operators ``anydrop::select_add`` and ``anydrop::sum_to``: `dropout_add` and its derivative.

In the backward pass, the gradient of x is `select` of the result's gradient, that of the residual
is the result's gradient itself, and that of the bias is the sum of the gradient of x. The sum is an
operator, too, because a compiler would trace its tree again for each length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from anydrop.backends.base import Backend
from anydrop.backends.torch import host
from anydrop.backends.torch.operator import LIBRARY
from anydrop.backends.torch.operators import Again, Kind, Operator
from anydrop.backends.torch.watchers import apply_in_transform, below_autograd, is_memory


def _gradients(
    again: Again,
    kinds: Sequence[Kind],
    needed: Sequence[bool],
    gradient: Tensor,
    scale: float,
) -> tuple[Tensor | None, ...]:
    (of_x, _, of_bias), (x, _, bias) = needed, kinds
    dx = total = None
    if x and (of_x or of_bias):
        dx = again("select", gradient, numbers=(scale, None, 0.0)).to(x[1])
        total = sum_to(dx, *bias) if bias and of_bias else None
    return dx if of_x else None, gradient, total


SELECT_ADD = Operator(
    "select_add", "Tensor x, Tensor residual, Tensor? bias", "float scale", _gradients
)
LIBRARY.define(
    "sum_to(Tensor x, SymInt[] shape, ScalarType dtype) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
SUM_TO = torch.ops.anydrop.sum_to.default
# Sums in PyTorch's own operations, where there is no kernel.
_TREE = Backend("torch", "array_api_compat.torch")


def sum_to(x: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Sum x over the axes along which a tensor of `shape` broadcasts to the shape of x."""
    if is_memory(x):
        return host.sum_to(x, tuple(shape), dtype)
    y: Tensor = SUM_TO(x, shape, dtype)
    return y


# The operator ``sum_to``, key by key of PyTorch's dispatcher --------------------------------------


@torch.library.impl(LIBRARY, "sum_to", "CompositeExplicitAutograd")
def _sum(x: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    run = host.sum_to if x.device.type == "cpu" else tree_sum
    return run(x, tuple(shape), dtype)


def tree_sum(x: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Sum x in PyTorch's own operations; see `sum_to`."""
    if x.is_complex():  # by parts, as in `int64.select_add`
        total = tree_sum(torch.view_as_real(x), (*shape, 2), dtype.to_real())
        return torch.view_as_complex(total)
    summed: Tensor = _TREE.sum_to(x, shape, str(dtype).removeprefix("torch."))
    # The result of an operator needs its own memory, even if there was nothing to sum.
    return summed.clone(memory_format=torch.contiguous_format)


@torch.library.register_fake("anydrop::sum_to", lib=LIBRARY)
def _shape_of_sum(x: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return x.new_empty(shape, dtype=dtype)


class _SumTo(torch.autograd.Function):
    """The derivative of ``sum_to``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        ctx.x, ctx.sum = (x.shape, x.dtype), (shape, dtype)
        with below_autograd():
            return SUM_TO(x, shape, dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        shape, dtype = ctx.x
        return gradient.to(dtype).expand(shape), None, None

    @staticmethod
    def jvp(ctx: Any, x: Tensor, *rest: Any) -> Tensor:
        return SUM_TO(x, *ctx.sum)


@torch.library.impl(LIBRARY, "sum_to", "Autograd")
def _differentiable_sum(*arguments: Any) -> Tensor:
    return apply_in_transform(_SumTo, *arguments)


@torch.library.register_vmap("anydrop::sum_to", lib=LIBRARY)
def _batched_sum(
    info: Any, dims: Any, x: Tensor, shape: Sequence[int], dtype: torch.dtype
) -> tuple[Tensor, int]:
    x, n = x.movedim(dims[0], 0), info.batch_size
    ones = (1,) * (x.ndim - 1 - len(shape))
    return SUM_TO(x, [n, *ones, *shape], dtype).reshape(n, *shape), 0
