"""The operators ``anydrop::select_add`` and ``anydrop::sum_to``: `dropout_add` and its derivative.

They stand beside ``anydrop::select``, and take a recipe as it does. The result is linear in x, the
residual and the bias, so it is its own derivative forward. Backward, the gradient of x is `select`
of the result's, that of the residual is the result's own, and that of the bias is summed from that
of x. The sum is an operator, too: a compiler would trace its tree anew for each length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from anydrop.backends.base import Backend
from anydrop.backends.torch import host
from anydrop.backends.torch.operator import (
    LIBRARY,
    OPERATOR,
    described,
    described_by,
    in_order_of,
    kernels,
    shared_by,
)
from anydrop.backends.torch.watchers import (
    apply_in_transform,
    below_autograd,
    is_memory,
    requires_grad,
)
from anydrop.core.recipe import Recipe

LIBRARY.define(
    "select_add(Tensor x, Tensor residual, Tensor? bias, Tensor place, SymInt[] extent, int[] key, "
    "float p, int[] shared_axes, str kernel, float scale) -> Tensor",
    tags=(torch.Tag.cudagraph_unsafe, torch.Tag.pt2_compliant_tag),  # as of ``select``
)
LIBRARY.define(
    "sum_to(Tensor x, SymInt[] shape, ScalarType dtype) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
SELECT_ADD = torch.ops.anydrop.select_add.default
SUM_TO = torch.ops.anydrop.sum_to.default
# What adds up where there is no kernel, in PyTorch's own operations.
_TREE = Backend("torch", "array_api_compat.torch")


def select_add(
    x: Tensor, residual: Tensor, bias: Tensor | None, recipe: Recipe, scale: float, kernel: str
) -> Tensor:
    """Return ``residual + where(mask, (x + bias) * scale, 0)`` by the operator."""
    return SELECT_ADD(x, residual, bias, *described(recipe, x.device), kernel, scale)


def sum_to(x: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return x summed over the axes along which a tensor of `shape` broadcasts to its shape."""
    if is_memory(x):
        return host.sum_to(x, tuple(shape), dtype)
    y: Tensor = SUM_TO(x, shape, dtype)
    return y


def draw(
    x: Tensor,
    residual: Tensor,
    bias: Tensor | None = None,
    *,
    mask: Recipe | None,
    scale: float,
    kernel: str,
) -> Tensor:
    """Return what `select_add` does by a kernel, past the dispatcher, with the strides of `x`."""
    y = kernels(kernel).select_add(x, residual, bias, mask=mask, scale=scale)
    return in_order_of(x, y)


def derivative(
    drop: Callable[[Tensor], Tensor] | None, x: Tensor, residual: Tensor, bias: Tensor | None
) -> Callable[[Tensor], tuple[Tensor | None, ...]]:
    """Return a function from the gradient of the result to those of x, the residual and the bias.

    It keeps no tensor. `drop` makes the gradient of x, in the dtype of the result; it is None where
    that is the gradient of the result itself.
    """
    needed = [a is not None and requires_grad(a) for a in (x, residual, bias)]
    return partial(_gradients, drop, x.dtype, _kind(bias), needed)


# Shape and dtype of a bias, if there is one.
_Kind: TypeAlias = tuple[Sequence[int], torch.dtype] | None


def _kind(bias: Tensor | None) -> _Kind:
    return None if bias is None else (bias.shape, bias.dtype)


def _gradients(
    drop: Callable[[Tensor], Tensor] | None,
    dtype: torch.dtype,
    bias: _Kind,
    needed: Sequence[bool],
    gradient: Tensor,
) -> tuple[Tensor | None, ...]:
    of_x, _, of_bias = needed
    dx = None
    if of_x or of_bias:
        dx = (drop(gradient) if drop else gradient).to(dtype)
    total = sum_to(dx, *bias) if dx is not None and bias and of_bias else None
    return dx if of_x else None, gradient, total


# The operators, key by key of PyTorch's dispatcher ---------------------------------------------


@torch.library.impl(LIBRARY, "select_add", "CompositeExplicitAutograd")
def _run(x: Tensor, residual: Tensor, bias: Tensor | None, place: Tensor, *rest: Any) -> Tensor:
    recipe, kernel = described_by(x, place, *rest)
    return draw(x, residual, bias, mask=recipe, scale=recipe.scale, kernel=kernel)


@torch.library.register_fake("anydrop::select_add", lib=LIBRARY)
def _shape_of(x: Tensor, residual: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(x, dtype=residual.dtype)


class _SelectAdd(torch.autograd.Function):
    """The derivative of ``select_add``, as `_Select` is that of ``select``."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor, bias: Tensor | None, place: Tensor, *rest: Any
    ) -> Tensor:
        ctx.save_for_backward(place)
        ctx.save_for_forward(place)
        ctx.rest, ctx.dtype, ctx.bias = rest, x.dtype, _kind(bias)
        with below_autograd():
            return SELECT_ADD(x, residual, bias, place, *rest)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (place,) = ctx.saved_tensors

        def drop(gradient: Tensor) -> Tensor:
            return OPERATOR(gradient, place, *ctx.rest, None, 0.0)

        found = _gradients(drop, ctx.dtype, ctx.bias, ctx.needs_input_grad[:3], gradient)
        return *found, *(None,) * (len(ctx.rest) + 1)

    @staticmethod
    def jvp(ctx: Any, x: Tensor, residual: Tensor, bias: Tensor | None, *rest: Any) -> Tensor:
        (place,) = ctx.saved_tensors
        return SELECT_ADD(x, residual, bias, place, *ctx.rest)


@torch.library.impl(LIBRARY, "select_add", "Autograd")
def _differentiable(*arguments: Any) -> Tensor:
    return apply_in_transform(_SelectAdd, *arguments)


@torch.library.register_vmap("anydrop::select_add", lib=LIBRARY)
def _batched(info: Any, dims: Any, *arguments: Any) -> tuple[Tensor, int]:
    """Return the operator over a batch: one mask for all examples, unless a step is mapped."""
    n, (x, residual, bias, place, *rest) = info.batch_size, arguments
    if dims[3] is not None:
        pairs = zip((x, residual, bias, place), dims, strict=False)
        each = [[t] * n if dim is None else t.unbind(dim) for t, dim in pairs]
        return torch.stack([SELECT_ADD(*one, *rest) for one in zip(*each, strict=True)]), 0
    x, residual = _first(x, dims[0], n), _first(residual, dims[1], n)
    if dims[2] is not None:
        bias = bias.movedim(dims[2], 0)
        bias = bias.reshape(n, *(1,) * (x.ndim - bias.ndim), *bias.shape[1:])
    return SELECT_ADD(x, residual, bias, *shared_by(n, place, *rest[:4]), *rest[4:]), 0


def _first(x: Tensor, dim: int | None, n: int) -> Tensor:
    """Return a tensor whose first axis is that of n examples."""
    return x.expand(n, *x.shape) if dim is None else x.movedim(dim, 0)


@torch.library.impl(LIBRARY, "sum_to", "CompositeExplicitAutograd")
def _sum(x: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    run = host.sum_to if x.device.type == "cpu" else tree_sum
    return run(x, tuple(shape), dtype)


def tree_sum(x: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return x summed in PyTorch's own operations; see `sum_to`."""
    if x.is_complex():  # by parts, as in `int64.select_add`
        total = tree_sum(torch.view_as_real(x), (*shape, 2), dtype.to_real())
        return torch.view_as_complex(total)
    summed: Tensor = _TREE.sum_to(x, shape, str(dtype).removeprefix("torch."))
    # An operator's result has memory of its own, also where there is nothing to add up.
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
