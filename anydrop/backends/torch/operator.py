"""The operator ``anydrop::select``: dropout as PyTorch's autograd, compiler and transforms see it.

It is opaque to them, and linear in x but for a constant: its derivative is itself, so the backward
pass draws the mask again, and nothing is kept of a call but its arguments. Those of them that may
be tensors, the step and a window's offset, travel in one int64 tensor: a compiled program takes
any step. The words of a key that are tensors stand before them, and the argument `key` is empty.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from anydrop.backends.torch import host, int64
from anydrop.backends.torch.int64 import number, signed
from anydrop.backends.torch.watchers import (
    apply_in_transform,
    apply_of,
    below_autograd,
    in_backward,
)
from anydrop.core.place import parts
from anydrop.core.recipe import Affine, Recipe, Window
from anydrop.core.stream import WORD, halves

LIBRARY = torch.library.Library("anydrop", "DEF")
LIBRARY.define(
    "select(Tensor x, Tensor place, SymInt[] extent, int[] key, float p, int[] shared_axes, "
    "str kernel, float scale, float? shift, float fill) -> Tensor",
    # A captured CUDA graph would keep a step that was read on the host, and repeat its mask.
    tags=(torch.Tag.cudagraph_unsafe, torch.Tag.pt2_compliant_tag),
)
OPERATOR = torch.ops.anydrop.select.default
# It is marked as random, so that no compiler leaves it out or runs it again on its own.
LIBRARY.define("once(Tensor step) -> Tensor", tags=(torch.Tag.nondeterministic_seeded,))
RUN_AGAIN = (
    "a layer counts its forwards, and this one is within a backward pass, where "
    "torch.utils.checkpoint runs it again: it would draw the next mask. Use a module, such as "
    "anydrop.torch.Dropout, or the function with its step: "
    "anydrop.dropout(x, p, seed=seed, step=step)"
)

_log = logging.getLogger(__name__)


def select(x: Tensor, recipe: Recipe, affine: Affine, kernel: str) -> Tensor:
    """Return ``where(keep, x * scale + shift, fill)`` by the operator.

    The kernel that draws the mask is "cpu", "triton" or "int64", or "" for that of the device.
    """
    return OPERATOR(x, *described(recipe, x.device), kernel, *affine)


def described(recipe: Recipe, device: torch.device) -> tuple[Any, ...]:
    """Return a recipe as operators take it: place, extent, key, p and shared axes."""
    place = parts(recipe)
    key = recipe.key
    if isinstance(key[0], Tensor):
        place, key = (*key, *place), ()  # type: ignore[assignment]
    there = next((value.device for value in place if isinstance(value, Tensor)), "cpu")
    numbers = [number(value, there) for value in place]
    if str(there) == "meta" and device.type != "meta":
        raise TypeError("a step or an offset on the meta device has no value: make it elsewhere")
    # It makes strides, which count modulo 2**64.
    extent = [signed(n) for n in recipe.window.shape] if recipe.window else ()
    return torch.stack(numbers), extent, key, recipe.p, recipe.shared_axes


def kernel_for(device: torch.device) -> str:
    """Return what draws the masks of a device."""
    if device.type == "cpu":
        return "cpu"
    return "triton" if device.type == "cuda" and _triton() else "int64"


def kernels(name: str) -> ModuleType:
    """Return the module of a kernel, by name: it has ``keep`` and ``select``."""
    return _triton() if name == "triton" else {"cpu": host, "int64": int64}[name]


@lru_cache
def _triton() -> Any:
    """Return the Triton kernel, or None where Triton is missing or broken."""
    try:
        return import_module("anydrop.backends.torch.triton")
    except Exception as error:  # A broken Triton raises anything; there is a way without it.
        _log.info("drawing without Triton: %r", error)
        return None


# The operator, key by key of PyTorch's dispatcher ----------------------------------------------


@torch.library.impl(LIBRARY, "select", "CompositeExplicitAutograd")
def _run(x: Tensor, place: Tensor, *rest: Any) -> Tensor:
    recipe, kernel = described_by(x, place, *rest[:-2])
    return draw(x, recipe, Affine(*rest[-3:]), kernel)


def described_by(
    x: Tensor,
    place: Tensor,
    extent: list[int],
    key: Any,
    p: float,
    shared_axes: list[int],
    kernel: str,
    scale: float,
) -> tuple[Recipe, str]:
    """Return the recipe that an operator's arguments describe, and the kernel that draws it."""
    if not key:
        key = [word & WORD for word in place[:2].tolist()]
        place = place[2:]
    kernel = kernel or kernel_for(x.device)
    if kernel == "cpu" or place.device.type == "cpu":
        step, *offset = (value & (2**64 - 1) for value in place.tolist())
    else:  # Reading it would wait for the device.
        step, *offset = place.unbind()
    window = Window(tuple(offset), tuple(n % 2**64 for n in extent)) if extent else None
    recipe = Recipe(tuple(key), step, tuple(x.shape), p, scale, tuple(shared_axes), window)
    return recipe, kernel


def draw(x: Tensor, recipe: Recipe, affine: Affine, kernel: str) -> Tensor:
    """Return ``where(keep, x * scale + shift, fill)`` by a kernel, with the strides of `x`."""
    return in_order_of(x, kernels(kernel).select(x, recipe, affine))


def in_order_of(x: Tensor, y: Tensor) -> Tensor:
    """Return y with the strides of `x`."""
    if y.stride() == x.stride():
        return y
    like = torch.empty_like(x, dtype=y.dtype)  # whose strides the operator promises
    return y if y.stride() == like.stride() else like.copy_(y)


@torch.library.register_fake("anydrop::select", lib=LIBRARY)
def _shape_of(x: Tensor, place: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(x)


class _Select(torch.autograd.Function):
    """The derivative. It is used beneath the dispatcher, one level of a transform at a time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, place: Tensor, *rest: Any) -> Tensor:
        ctx.save_for_backward(place)
        ctx.save_for_forward(place)
        *ctx.linear, _, _ = rest
        ctx.set_materialize_grads(False)
        with below_autograd():
            return OPERATOR(x, place, *rest)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        return _Select.jvp(ctx, gradient), *(None,) * (len(ctx.linear) + 3)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor | None, *rest: Any) -> Tensor | None:
        (place,) = ctx.saved_tensors
        return None if tangent is None else OPERATOR(tangent, place, *ctx.linear, None, 0.0)


@torch.library.impl(LIBRARY, "select", "Autograd")
def _differentiable(*arguments: Any) -> Tensor:
    # Function.apply would refuse transforms for want of a `setup_context`: here they are the
    # dispatcher's business.
    return apply_in_transform(_Select, *arguments)


@torch.library.register_vmap("anydrop::select", lib=LIBRARY)
def _batched(info: Any, dims: Any, x: Tensor, place: Tensor, *rest: Any) -> tuple[Tensor, int]:
    """Return the operator over a batch: one mask for all examples, unless a step is mapped."""
    n = info.batch_size
    if dims[1] is not None:
        examples = [x] * n if dims[0] is None else x.unbind(dims[0])
        pairs = zip(examples, place.unbind(dims[1]), strict=True)
        return torch.stack([OPERATOR(a, b, *rest) for a, b in pairs]), 0
    return OPERATOR(x.movedim(dims[0], 0), *shared_by(n, place, *rest[:4]), *rest[4:]), 0


def shared_by(
    n: int, place: Tensor, extent: list[int], key: list[int], p: float, shared_axes: list[int]
) -> tuple[Any, ...]:
    """Return the description of one mask for n examples, along a new first axis."""
    if extent:
        extent, first = [n, *extent], 1 if key else 3  # of the offset
        place = torch.cat([place[:first], torch.zeros_like(place[:1]), place[first:]])
    return place, extent, key, p, [0, *(axis + 1 for axis in shared_axes)]


def once(step: int | Tensor) -> Tensor:
    """Return the step of a layer in a compiled program; raise if it runs in a backward pass."""
    if not isinstance(step, Tensor):
        step = torch.stack([number(word, "cpu") for word in halves(step)])
    return torch.ops.anydrop.once(step)


@torch.library.impl(LIBRARY, "once", "CompositeExplicitAutograd")
def _once(step: Tensor) -> Tensor:
    if in_backward():
        raise TypeError(RUN_AGAIN)
    return step.clone()


@torch.library.register_fake("anydrop::once", lib=LIBRARY)
def _once_shape(step: Tensor) -> Tensor:
    return torch.empty_like(step)


class _Recompute(torch.autograd.Function):
    """A function of tensors, of which autograd keeps two functions, and no tensor.

    It takes what `anydrop.backends.base.Backend.recompute` does.
    """

    @staticmethod
    def forward(
        ctx: Any, forward: Callable[..., Tensor], backward: Callable[[Tensor], Any], *arrays: Tensor
    ) -> Tensor:
        ctx.gradients_of = backward
        ctx.set_materialize_grads(False)
        return forward(*arrays)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Any:
        if gradient is None:
            return (None,) * len(ctx.needs_input_grad)
        gradients = ctx.gradients_of(gradient)
        return None, None, *(gradients if isinstance(gradients, tuple) else (gradients,))


# Past what Function.apply asks of transforms, none of which is at work where this is called.
recompute = apply_of(_Recompute)
