"""The stream in Triton: one pass over memory on a CUDA device, by ``tl.philox``.

It has the functions of `anydrop.backends.torch.int64`, with the same bits. A recipe's step and a
window's offset may be tensors on the device, which the kernel reads there: nothing waits for the
device, and a captured graph may replay with another step.
"""

# Triton has no types, and compiles its functions by those of their arguments at run time.
# mypy: disable-error-code="import-untyped, no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import struct

import torch
import triton
import triton.language as tl
from torch import Tensor

from anydrop.backends.common.strides import joined
from anydrop.backends.torch.int64 import apply, number, signed
from anydrop.core import place
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


def select(x: Tensor, recipe: Recipe, affine: Affine) -> Tensor:
    """Return ``where(keep, x * scale + shift, fill)`` for a recipe.

    One pass over memory, in which the mask is drawn, unless an axis is shared.
    """
    if recipe.shared_axes:
        return apply(x, keep(recipe, x.device), affine)
    x = x.contiguous()
    y = torch.empty_like(x)
    _launch(x, y, recipe, affine)
    return y


def select_add(
    x: Tensor, residual: Tensor, bias: Tensor | None = None, *, mask: Recipe | None, scale: float
) -> Tensor:
    """Return ``residual + where(mask, (x + bias) * scale, 0)``, in one pass over memory."""
    recipe = mask or Recipe((0, 0), 0, tuple(x.shape), 0.0, scale)  # which draws nothing
    x, residual = x.contiguous(), residual.contiguous()
    y = torch.empty_like(residual)
    _launch(x, y, recipe, scaled(scale), residual, None if bias is None else bias.contiguous())
    return y


def _launch(
    x: Tensor,
    y: Tensor,
    recipe: Recipe,
    affine: Affine,
    residual: Tensor | None = None,
    bias: Tensor | None = None,
) -> None:
    """Run the kernel over contiguous tensors; into one of bools it writes the mask."""
    n = y.numel()
    if not n:
        return
    bias_axes = [] if bias is None else _broadcast(bias.expand(x.shape))
    parts = 2 if x.is_complex() else 1
    if parts == 2:
        x, y = torch.view_as_real(x), torch.view_as_real(y)
        residual, bias = (t if t is None else torch.view_as_real(t) for t in (residual, bias))
    at, step, first = _start(recipe, y)
    axes = _axes(recipe, recipe.keep_shape if y.dtype == torch.bool else recipe.shape)
    scale, shift, fill = affine
    # Doubles as the int64 with their bits: Triton would pass a float as a float32.
    numbers = struct.pack("<3d", scale, 0.0 if shift is None else shift, fill)
    with torch.cuda.device_of(y):
        _kernel[(triton.cdiv(n + 3, BLOCK),)](
            x,
            y.view(torch.uint8) if y.dtype == torch.bool else y,
            at,
            residual,
            bias,
            n,
            signed(recipe.key[0] | recipe.key[1] << 32),
            step,
            first,
            recipe.threshold,
            *struct.unpack("<3q", numbers),
            tuple(length for length, _ in axes),
            tuple(signed(stride) for _, stride in axes),
            tuple(length for length, _ in bias_axes),
            tuple(stride for _, stride in bias_axes),
            compute=FLOATS.get(x.dtype),
            parts=parts,
            shifts=shift is not None,
            draws=recipe.threshold > 0,
            narrow=n * parts < 2**31,
            reads=at is not y,
            lead=at is not y or first % 4 != 0,
            width=BLOCK,
            enable_fp_fusion=False,
        )


def _start(recipe: Recipe, y: Tensor) -> tuple[Tensor, int, int]:
    """Return the step and the first index: in a tensor on the device of y, or as numbers."""
    if place.is_known(recipe):
        return y, signed(place.known_step(recipe.step)), signed(recipe.placement.first)
    step, *offset = (number(value, y.device) for value in place.parts(recipe))
    first = torch.zeros_like(step)
    for start, stride in zip(offset, recipe.strides, strict=False):
        first = first + start * signed(stride)
    return torch.stack([step, first]), 0, 0


def _axes(recipe: Recipe, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return length and stride of each axis from the last to the first; none for one run."""
    if recipe.window is None and not recipe.shared_axes:
        return []
    window = recipe.window and recipe.window._replace(offset=(0,) * len(recipe.shape))
    recipe = recipe._replace(window=window)
    axes = (recipe.placement if shape == recipe.keep_shape else recipe.spread).axes
    return list(reversed(axes)) if len(axes) > 1 else []


def _broadcast(bias: Tensor) -> list[tuple[int, int]]:
    """Return length and stride of the axes of an expanded tensor, from the last to the first.

    Neighbours that run on are one axis, and what repeats a whole block is none.
    """
    axes = [(length, stride) for length, stride in reversed(joined(bias.shape, bias.stride()))]
    return axes[:-1] if axes and axes[-1][1] == 0 else axes


@triton.jit
def _float(bits, dtype: tl.constexpr):
    return bits.to(tl.int64).to(tl.float64, bitcast=True).to(dtype)


@triton.jit
def _philox(block, step, key):
    return tl.philox(
        key,
        block.to(tl.uint32),
        (block >> 32).to(tl.uint32),
        (block * 0 + step).to(tl.uint32),
        ((block * 0 + step) >> 32).to(tl.uint32),
    )


@triton.jit(
    do_not_specialize=["key", "step", "first", "threshold", "scale", "shift", "fill"],
)
def _kernel(
    x,
    y,
    at,
    residual,
    bias,
    n,
    key: tl.int64,
    step: tl.int64,
    first: tl.int64,
    threshold: tl.int64,
    scale: tl.int64,
    shift: tl.int64,
    fill: tl.int64,
    lengths,
    strides,
    bias_lengths,
    bias_strides,
    compute: tl.constexpr,
    parts: tl.constexpr,
    shifts: tl.constexpr,
    draws: tl.constexpr,
    narrow: tl.constexpr,
    reads: tl.constexpr,
    lead: tl.constexpr,
    width: tl.constexpr,
):
    if reads:
        step = tl.load(at)
        first = tl.load(at + 1)
    step = step.to(tl.int64).to(tl.uint64, bitcast=True)
    first = first.to(tl.int64).to(tl.uint64, bitcast=True)
    start = tl.program_id(0).to(tl.int64) * width
    if not draws:
        i = start + tl.arange(0, width)
        kept = i >= 0
    elif len(lengths) == 0:
        # One run of indices: a Philox block serves four neighbours.
        block = (first >> 2) + (start // 4 + tl.arange(0, width // 4)).to(tl.uint64)
        w0, w1, w2, w3 = _philox(block, step, key)
        word = tl.reshape(tl.join(tl.join(w0, w2), tl.join(w1, w3)), (width,))
        i = start + tl.arange(0, width)
        if lead:
            i -= (first & 3).to(tl.int64)
    else:
        i = start + tl.arange(0, width)
        left = i
        index = i.to(tl.uint64) * 0 + first
        for a in tl.static_range(len(lengths)):
            index += ((left % lengths[a]) * strides[a]).to(tl.uint64)
            left = left // lengths[a]
        w0, w1, w2, w3 = _philox(index >> 2, step, key)
        lane = index & 3
        word = tl.where(lane < 2, tl.where(lane == 0, w0, w1), tl.where(lane == 2, w2, w3))
    inside = (i >= 0) & (i < n)
    if draws:
        kept = word >= threshold.to(tl.uint32)
    if compute is None:
        tl.store(y + i, kept.to(tl.uint8), mask=inside)
    else:
        if bias is not None:
            left = i.to(tl.int32) if narrow else i  # whose divisions take a device much longer
            at_bias = left * 0
            for a in tl.static_range(len(bias_lengths)):
                at_bias += (left % bias_lengths[a]) * bias_strides[a]
                left = left // bias_lengths[a]
        for part in tl.static_range(parts):
            here = i * parts + part
            v = tl.load(x + here, mask=inside).to(compute)
            if bias is not None:
                v += tl.load(bias + at_bias * parts + part, mask=inside).to(compute)
            v *= _float(scale, compute)
            if part == 0:
                if shifts:
                    v += _float(shift, compute)
                v = tl.where(kept, v, _float(fill, compute))
            else:
                v = tl.where(kept, v, 0.0)
            if residual is not None:
                v += tl.load(residual + here, mask=inside).to(compute)
            tl.store(y + here, v.to(y.dtype.element_ty), mask=inside)


# TRITON_INTERPRET=1 has NumPy run the kernel, in the host's memory.
INTERPRETED = not isinstance(_kernel, triton.JITFunction)
NAME = "triton, interpreted" if INTERPRETED else "triton"
# Elements of one program. The interpreter takes its time for each, however many they are.
BLOCK = 2**15 if INTERPRETED else 2048
