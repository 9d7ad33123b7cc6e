"""What anydrop's operators share: how they take a recipe, and which kernel draws it.

The step and the offset of a window may be tensors. They are passed in one int64 tensor, so a
compiled program takes any step. If the words of the key are tensors, too, they come first in it,
and the argument `key` is empty.
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
from anydrop.backends.torch.watchers import apply_of, in_backward
from anydrop.core.place import parts
from anydrop.core.recipe import Recipe, Window
from anydrop.core.stream import WORD, halves

LIBRARY = torch.library.Library("anydrop", "DEF")
# It is marked as random, so that compilers neither remove nor repeat it.
LIBRARY.define("once(Tensor step) -> Tensor", tags=(torch.Tag.nondeterministic_seeded,))
RUN_AGAIN = (
    "a layer counts its forwards, so it would draw the next mask in this backward pass, where "
    "torch.utils.checkpoint runs it again: use a module, such as anydrop.torch.Dropout, or the "
    "function with its step, anydrop.dropout(x, p, seed=seed, step=step)"
)

# A recipe in the language of PyTorch's schemas. The kernel is "cpu", "triton", "int64", or "" for
# the device's.
DESCRIPTION = "Tensor place, SymInt[] extent, int[] key, float p, int[] shared_axes, str kernel"

_log = logging.getLogger(__name__)


def described(recipe: Recipe, device: torch.device) -> tuple[Any, ...]:
    """Return a recipe as operators take it: place, extent, key, p and shared axes."""
    place = parts(recipe)
    key = recipe.key
    if isinstance(key[0], Tensor):
        place, key = (*key, *place), ()  # type: ignore[assignment]
    there = next((value.device for value in place if isinstance(value, Tensor)), "cpu")
    numbers = [number(value, there) for value in place]
    if str(there) == "meta" and device.type != "meta":
        raise TypeError("a step or offset on the meta device has no value: use another device")
    # Strides are made of it, modulo 2**64.
    extent = [signed(n) for n in recipe.window.shape] if recipe.window else ()
    return torch.stack(numbers), extent, key, recipe.p, recipe.shared_axes


def kernel_for(device: torch.device) -> str:
    """Return the name of the kernel that draws the masks of a device."""
    if device.type == "cpu":
        return "cpu"
    return "triton" if device.type == "cuda" and _triton() else "int64"


def kernels(name: str) -> ModuleType:
    """Return the module of a kernel. It has ``keep``, and a function for each operator."""
    return _triton() if name == "triton" else {"cpu": host, "int64": int64}[name]


@lru_cache
def _triton() -> Any:
    """Return the module of the Triton kernels, or None if Triton is missing or broken."""
    try:
        return import_module("anydrop.backends.torch.triton")
    except Exception as error:  # A broken Triton may raise anything, and is not needed.
        _log.info("drawing without Triton: %r", error)
        return None


def described_by(
    shape: tuple[int, ...],
    device: torch.device,
    place: Tensor,
    extent: list[int],
    key: Any,
    p: float,
    shared_axes: list[int],
    kernel: str,
) -> tuple[Recipe, str]:
    """Return the recipe that an operator's arguments describe, and the name of its kernel."""
    if not key:
        key = [word & WORD for word in place[:2].tolist()]
        place = place[2:]
    kernel = kernel or kernel_for(device)
    if kernel == "cpu" or place.device.type == "cpu":
        step, *offset = (value & (2**64 - 1) for value in place.tolist())
    else:  # Reading the values would wait for the device.
        step, *offset = place.unbind()
    window = Window(tuple(offset), tuple(n % 2**64 for n in extent)) if extent else None
    return Recipe(tuple(key), step, shape, p, 1.0, tuple(shared_axes), window), kernel


def in_order_of(x: Tensor, y: Tensor) -> Tensor:
    """Return y with the strides of `x`."""
    if y.stride() == x.stride():
        return y
    like = torch.empty_like(x, dtype=y.dtype)  # has the strides that the operator promises
    return y if y.stride() == like.stride() else like.copy_(y)


def shared_by(
    n: int, place: Tensor, extent: list[int], key: list[int], p: float, shared_axes: list[int]
) -> tuple[Any, ...]:
    """Return the description of one mask for n examples, along a new first axis."""
    if extent:
        extent, first = [n, *extent], 1 if key else 3  # where the offset begins
        place = torch.cat([place[:first], torch.zeros_like(place[:1]), place[first:]])
    return place, extent, key, p, [0, *(axis + 1 for axis in shared_axes)]


def once(step: int | Tensor) -> Tensor:
    """Return the step of a layer in a compiled program. It raises in a backward pass."""
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
    """A function of tensors. Autograd keeps only the two functions, and no tensor.

    The arguments are those of `anydrop.backends.base.Backend.recompute`.
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


# Skips the checks of Function.apply for transforms. None is active where this is called.
recompute = apply_of(_Recompute)
