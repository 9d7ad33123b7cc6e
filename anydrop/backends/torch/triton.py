"""The stream in Triton, by ``tl.philox``: one pass over memory on a CUDA device.

It has the functions of `anydrop.backends.torch.int64`, with the same bits. A step and the offset of
a window may be tensors on the device. The kernel reads them there, so nothing waits for the device,
and a captured graph may be replayed with another step.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

import array_api_compat.torch as xp
import torch
import triton
import triton.language as tl
from torch import Tensor

from anydrop.backends.common.blocks import eroded
from anydrop.backends.common.strides import joined
from anydrop.backends.torch import int64
from anydrop.backends.torch.int64 import apply, number, perturbed, signed, wide_dtype
from anydrop.backends.torch.triton_kernels import choose_kernel, perturb_kernel, select_kernel
from anydrop.core import place
from anydrop.core.quantile import table
from anydrop.core.recipe import Affine, Recipe, scaled

FLOATS = {
    torch.float16: tl.float32,
    torch.bfloat16: tl.float32,
    torch.float32: tl.float32,
    torch.float64: tl.float64,
}


def keep(recipe: Recipe, device: torch.device) -> Tensor:
    """Return the keep mask of a recipe."""
    kept = torch.empty(recipe.keep_shape, dtype=torch.bool, device=device)
    _launch(kept, kept, recipe, scaled(1.0))
    return kept


def select(x: Tensor, recipe: Recipe, scale: float, shift: float | None, fill: float) -> Tensor:
    """Return ``where(keep, x * scale + shift, fill)`` for a recipe.

    One pass over memory draws and applies the mask, unless an axis is shared.
    """
    affine = Affine(scale, shift, fill)
    if recipe.shared_axes:
        return apply(x, keep(recipe, x.device), affine)
    x = x.contiguous()
    y = torch.empty_like(x)
    _launch(x, y, recipe, affine)
    return y


def select_add(
    x: Tensor, residual: Tensor, bias: Tensor | None, mask: Recipe | None, scale: float
) -> Tensor:
    """Return ``residual + where(mask, (x + bias) * scale, 0)``, in one pass over memory."""
    recipe = mask or Recipe((0, 0), 0, tuple(x.shape), 0.0, scale)  # which draws nothing
    x, residual = x.contiguous(), residual.contiguous()
    y = torch.empty_like(residual)
    _launch(x, y, recipe, scaled(scale), residual, None if bias is None else bias.contiguous())
    return y


def perturb(x: Tensor, recipe: Recipe, std: float, relative: bool) -> Tensor:
    """Return ``x * (1 + std * z)`` or ``x + std * z``, with the normal numbers z of a recipe.

    One pass over memory, unless an axis is shared.
    """
    if not recipe.shared_axes:
        return _perturbed(x, recipe, std, relative)
    shape = recipe.keep_shape
    zeros = torch.zeros(shape, dtype=wide_dtype(x).to_real(), device=x.device)
    return perturbed(x, _perturbed(zeros, recipe._replace(shape=shape), 1.0, False), std, relative)


def _perturbed(x: Tensor, recipe: Recipe, std: float, relative: bool) -> Tensor:
    x = x.contiguous()
    y = torch.empty_like(x)
    parts = 2 if x.is_complex() else 1
    source, target = (torch.view_as_real(t) if parts == 2 else t for t in (x, y))
    if y.numel():
        with torch.cuda.device_of(y):
            perturb_kernel[_grid(y.numel())](
                source,
                target,
                table_on(x.device),
                n=y.numel(),
                std=_bits(std),
                **_placed(recipe, target, recipe.shape),
                compute=FLOATS[source.dtype],
                parts=parts,
                relative=relative,
                width=BLOCK,
                enable_fp_fusion=False,
            )
    return y


def choose(new: Tensor | None, previous: Tensor | None, recipe: Recipe) -> Tensor:
    """Return ``where(keep, new, previous)`` for a recipe, where None stands for zeros.

    One pass over memory draws and applies the mask, unless an axis is shared.
    """
    if recipe.shared_axes:
        like = next(x for x in (new, previous) if x is not None)
        return int64.choose(new, previous, keep(recipe, like.device))
    given = [x if x is None else x.contiguous() for x in (new, previous)]
    y = torch.empty_like(next(x for x in given if x is not None))
    parts = 2 if y.is_complex() else 1
    tensors = [torch.view_as_real(x) if x is not None and parts == 2 else x for x in (*given, y)]
    if y.numel():
        with torch.cuda.device_of(y):
            choose_kernel[_grid(y.numel())](
                *tensors,
                n=y.numel(),
                threshold=recipe.threshold,
                **_placed(recipe, tensors[-1], recipe.shape),
                parts=parts,
                width=BLOCK,
            )
    return y


def select_blocks(x: Tensor, recipe: Recipe, sizes: Sequence[int], scale: float) -> Tensor:
    """Return ``where(keep, x * scale, 0)`` with the mask of blocks."""
    return apply(x, eroded(xp, keep(recipe, x.device), tuple(sizes)), scaled(scale))


@cache
def table_on(device: torch.device) -> Tensor:
    """Return the coefficients of the normal numbers, viewed as int32."""
    return torch.from_numpy(table().view("i4").copy()).to(device)


def _launch(
    x: Tensor,
    y: Tensor,
    recipe: Recipe,
    affine: Affine,
    residual: Tensor | None = None,
    bias: Tensor | None = None,
) -> None:
    """Run the kernel over contiguous tensors. If y is of bools, it becomes the mask."""
    n = y.numel()
    if not n:
        return
    bias_axes = [] if bias is None else _broadcast(bias.expand(x.shape))
    parts = 2 if x.is_complex() else 1
    if parts == 2:
        x, y = torch.view_as_real(x), torch.view_as_real(y)
        residual, bias = (t if t is None else torch.view_as_real(t) for t in (residual, bias))
    scale, shift, fill = affine
    with torch.cuda.device_of(y):
        select_kernel[_grid(n)](
            x,
            y.view(torch.uint8) if y.dtype == torch.bool else y,
            residual=residual,
            bias=bias,
            n=n,
            threshold=recipe.threshold,
            scale=_bits(scale),
            shift=_bits(0.0 if shift is None else shift),
            fill=_bits(fill),
            bias_lengths=tuple(length for length, _ in bias_axes),
            bias_strides=tuple(stride for _, stride in bias_axes),
            **_placed(recipe, y, recipe.keep_shape if y.dtype == torch.bool else recipe.shape),
            compute=FLOATS.get(x.dtype),
            parts=parts,
            shifts=shift is not None,
            draws=recipe.threshold > 0,
            narrow=n * parts < 2**31,
            width=BLOCK,
            enable_fp_fusion=False,
        )


def _grid(n: int) -> tuple[int]:
    return (triton.cdiv(n + 3, BLOCK),)


def _bits(value: float) -> int:
    """Return the bits of a double as int64, since Triton would pass a float as a float32."""
    (number,) = struct.unpack("<q", struct.pack("<d", value))
    return number


def _placed(recipe: Recipe, y: Tensor, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return a recipe as arguments of kernels. They draw a word for each element of the shape."""
    at, step, first = _start(recipe, y)
    axes = _axes(recipe, shape)
    return {
        "at": at,
        "key": signed(recipe.key[0] | recipe.key[1] << 32),
        "step": step,
        "first": first,
        "lengths": tuple(length for length, _ in axes),
        "strides": tuple(signed(stride) for _, stride in axes),
        "reads": at is not y,
        "lead": at is not y or first % 4 != 0,
    }


def _start(recipe: Recipe, y: Tensor) -> tuple[Tensor, int, int]:
    """Return the step and the first index, as a tensor on the device of y or as numbers."""
    if place.is_known(recipe):
        return y, signed(place.known_step(recipe.step)), signed(recipe.placement.first)
    step, *offset = (number(value, y.device) for value in place.parts(recipe))
    first = torch.zeros_like(step)
    for start, stride in zip(offset, recipe.strides, strict=False):
        first = first + start * signed(stride)
    return torch.stack([step, first]), 0, 0


def _axes(recipe: Recipe, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return length and stride of each axis, last axis first. Empty for one run."""
    if recipe.window is None and not recipe.shared_axes:
        return []
    window = recipe.window and recipe.window._replace(offset=(0,) * len(recipe.shape))
    recipe = recipe._replace(window=window)
    axes = (recipe.placement if shape == recipe.keep_shape else recipe.spread).axes
    return list(reversed(axes)) if len(axes) > 1 else []


def _broadcast(bias: Tensor) -> list[tuple[int, int]]:
    """Return length and stride of the axes of an expanded tensor, last axis first.

    Contiguous axes are merged, and axes that repeat a whole block are left out.
    """
    axes = [(length, stride) for length, stride in reversed(joined(bias.shape, bias.stride()))]
    return axes[:-1] if axes and axes[-1][1] == 0 else axes


# With TRITON_INTERPRET=1, NumPy runs the kernel on the CPU.
INTERPRETED = not isinstance(select_kernel, triton.JITFunction)
NAME = "triton, interpreted" if INTERPRETED else "triton"
# Elements of one program. In the interpreter each program is slow, whatever its size.
BLOCK = 2**15 if INTERPRETED else 2048
