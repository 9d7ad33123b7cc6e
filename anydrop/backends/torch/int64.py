"""The stream in plain PyTorch, in int64, for compilers and for devices without a kernel.

Nothing here reads a value, so a compiler can trace all of it, also with a step or an offset that is
a tensor. Signed arithmetic suffices: sums and products wrap at 64 bits, and only 32 bits are used
of a shifted word.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence

import array_api_compat.torch as xp
import torch
from torch import Tensor

from anydrop.backends.common.blocks import eroded
from anydrop.backends.common.normals import standard_normal
from anydrop.backends.torch.watchers import is_traced
from anydrop.core import stream
from anydrop.core.recipe import Affine, Recipe, scaled

NAME = "int64"
# Elements drawn at a time, so that about ten temporaries of 8 bytes each stay in the cache.
CHUNK = 2**16
HALVES = (torch.float16, torch.bfloat16)


def signed(value: int) -> int:
    """Return the int64 that has the bits of a 64-bit number."""
    # `index` makes a constant of a compiler's symbol, which has only 63 bits.
    return value if value < 2**63 else operator.index(value) - 2**64


def number(value: int | Tensor, device: torch.device | str) -> Tensor:
    """Return a step or an offset, which may be a tensor, as an int64 scalar tensor."""
    if not isinstance(value, Tensor):
        return torch.full((), signed(value), dtype=torch.int64, device=device)
    value = value.to(device, torch.int64)
    if value.ndim == 0:
        return value
    low, high = value.unbind()
    return (low & stream.WORD) | (high << 32)


def keep(recipe: Recipe, device: torch.device) -> Tensor:
    """Return the keep mask of a recipe."""
    return _drawn(recipe, device, lambda words: words >= recipe.threshold)


def normals(recipe: Recipe, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the standard normal numbers of a recipe, as float32 or float64."""
    name = str(dtype).removeprefix("torch.")
    return _drawn(
        recipe, device, lambda words: standard_normal(xp, words, name, device, high=_high_half)
    )


def _high_half(a: Tensor, b: Tensor) -> Tensor:
    # The product is not negative, since `b`, a coefficient or a part of one, is below 2**31.
    return a * b >> 32


def _drawn(recipe: Recipe, device: torch.device, made_of: Callable[[Tensor], Tensor]) -> Tensor:
    """Return a function of a recipe's words, in pieces, or at once if a compiler traces it."""
    shape = recipe.keep_shape
    n = math.prod(shape)
    step = number(recipe.step, device)
    in_blocks = recipe.window is None and not recipe.shared_axes
    draw, last = (_words_in_blocks, (n + 3) // 4) if in_blocks else (_words, n)
    end = max(last, 1)  # so that there is at least one piece, maybe empty
    chunk = end if is_traced() else CHUNK
    counts = (torch.arange(a, min(a + chunk, last), device=device) for a in range(0, end, chunk))
    pieces = [made_of(draw(count, step, recipe)) for count in counts]
    return torch.cat(pieces)[:n].reshape(shape)


def select(x: Tensor, recipe: Recipe, scale: float, shift: float | None, fill: float) -> Tensor:
    """Return ``where(keep, x * scale + shift, fill)`` for a recipe."""
    return apply(x, keep(recipe, x.device), Affine(scale, shift, fill))


def select_add(
    x: Tensor,
    residual: Tensor,
    bias: Tensor | None,
    mask: Recipe | Tensor | None,
    scale: float,
) -> Tensor:
    """Return ``residual + where(mask, (x + bias) * scale, 0)``."""
    mask = None if mask is None else drawn(mask, x.device)
    if x.is_complex():  # by parts, since PyTorch's sum is `a + 1 * b`; see `apply`
        real, imag = (
            select_add(x, residual, bias, mask, scale)
            for x, residual, bias in (
                (x.real, residual.real, None if bias is None else bias.real),
                (x.imag, residual.imag, None if bias is None else bias.imag),
            )
        )
        return torch.complex(real, imag)
    y = x.to(wide_dtype(x))
    y = y if bias is None else y + bias
    return (apply(y, mask, scaled(scale)) + residual).to(residual.dtype)  # in x's order


def perturb(x: Tensor, recipe: Recipe, std: float, relative: bool) -> Tensor:
    """Return ``x * (1 + std * z)`` or ``x + std * z``, with the normal numbers z of a recipe."""
    return perturbed(x, normals(recipe, x.device, wide_dtype(x).to_real()), std, relative)


def perturbed(x: Tensor, z: Tensor, std: float, relative: bool) -> Tensor:
    """Return `perturb` of x with given normal numbers."""
    if x.is_complex():
        return torch.complex(*(perturbed(part, z, std, relative) for part in (x.real, x.imag)))
    noise = aligned(z * std + 1.0 if relative else z * std, x)
    wide = x.to(wide_dtype(x))
    return (wide * noise if relative else wide + noise).to(x.dtype)


def choose(new: Tensor | None, previous: Tensor | None, mask: Recipe | Tensor) -> Tensor:
    """Return ``where(mask, new, previous)``, where None stands for zeros."""
    like = next(x for x in (new, previous) if x is not None)
    zero = like.new_zeros(())
    kept = aligned(drawn(mask, like.device), like)
    return torch.where(kept, *(zero if x is None else aligned(x, like) for x in (new, previous)))


def select_blocks(x: Tensor, recipe: Recipe, sizes: Sequence[int], scale: float) -> Tensor:
    """Return ``where(keep, x * scale, 0)`` with the mask of blocks."""
    return apply(x, eroded(xp, keep(recipe, x.device), tuple(sizes)), scaled(scale))


def drawn(mask: Recipe | Tensor, device: torch.device) -> Tensor:
    """Return a keep mask, drawn from a recipe if it is one."""
    return keep(mask, device) if isinstance(mask, Recipe) else mask


def wide_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which a tensor is computed."""
    return torch.float32 if x.dtype in HALVES else x.dtype


def apply(x: Tensor, keep: Tensor | None, affine: Affine) -> Tensor:
    """Return ``where(keep, x * scale + shift, fill)``. None keeps everything."""
    if x.is_complex():
        # By parts: a complex product would make a NaN beside an infinite part.
        imag = apply(x.imag, keep, scaled(affine.scale))
        return torch.complex(apply(x.real, keep, affine), imag)
    y = x.to(wide_dtype(x)) * affine.scale
    if affine.shift is not None:
        y = y + affine.shift
    if keep is not None:
        y = torch.where(aligned(keep, y), y, affine.fill)
    return y.to(x.dtype)


def aligned(x: Tensor, like: Tensor) -> Tensor:
    """Return a tensor in the memory order of another of as many dimensions.

    An operation on several tensors gives its result the order of the first.
    """
    if like.is_contiguous():
        return x
    like = torch.empty_like(like)  # has ordered axes even if `like` is expanded
    order = memory_order(like)
    back = [order.index(axis) for axis in range(like.ndim)]
    return x.permute(order).contiguous().permute(back)


def memory_order(x: Tensor) -> list[int]:
    """Return the axes of a tensor in the order of memory, outermost first."""
    return sorted(range(x.ndim), key=x.stride, reverse=True)


def _indices(at: Tensor, recipe: Recipe) -> Tensor:
    """Return the logical indices of elements of a keep mask, counted in C order."""
    offset = recipe.window.offset if recipe.window else (0,) * len(recipe.shape)
    index = torch.zeros_like(at)
    axes = zip(recipe.keep_shape, offset, recipe.strides, strict=True)
    for length, start, stride in reversed(list(axes)):
        if stride:
            first = number(start, at.device) if isinstance(start, Tensor) else signed(start)
            index = index + (at % length + first) * signed(stride)
        at = at // length
    return index


def _words_in_blocks(blocks: Tensor, step: Tensor, recipe: Recipe) -> Tensor:
    """Return the words of the four indices of each block, one after the other."""
    return torch.stack(_philox(blocks, step, recipe), dim=1).flatten()


def _words(elements: Tensor, step: Tensor, recipe: Recipe) -> Tensor:
    """Return the words of elements of a keep mask, counted in C order."""
    index = _indices(elements, recipe)
    w0, w1, w2, w3 = _philox((index >> 2) & (2**62 - 1), step, recipe)
    lane = index & 3
    return torch.where(lane < 2, torch.where(lane == 0, w0, w1), torch.where(lane == 2, w2, w3))


def _philox(block: Tensor, step: Tensor, recipe: Recipe) -> tuple[Tensor, ...]:
    """Return the four words of each block."""
    c0, c1 = block & stream.WORD, block >> 32
    c2, c3 = step & stream.WORD, (step >> 32) & stream.WORD
    for k0, k1 in stream.round_keys(recipe.key):
        p0, p1 = c0 * stream.MULTIPLIERS[0], c2 * stream.MULTIPLIERS[1]
        c0, c1 = ((p1 >> 32) & stream.WORD) ^ c1 ^ k0, p1 & stream.WORD
        c2, c3 = ((p0 >> 32) & stream.WORD) ^ c3 ^ k1, p0 & stream.WORD
    return c0, c1, c2, c3
