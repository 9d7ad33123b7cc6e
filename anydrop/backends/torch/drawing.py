"""Draws for tensors, and chooses the kernel of each call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anydrop.backends.base import COMPUTE, Backend
from anydrop.backends.torch import addition, dtensor, host, int64, operator, operators
from anydrop.backends.torch.watchers import (
    in_transform,
    is_distributed,
    is_memory,
    is_plain,
    is_plain_cpu,
    is_plain_memory,
    mode_of,
    read,
    requires_grad,
)
from anydrop.core.recipe import UNCHANGED, Affine, Recipe


class Drawing(Backend):
    """The methods of `TorchBackend` that draw masks or noise, and apply them to tensors.

    Parameters
    ----------
    name, namespace : str
        As for `Backend`.
    draws : {"", "cpu", "triton", "int64"}
        The kernel that draws. By default it depends on a tensor's device.
    """

    def __init__(self, name: str, namespace: str, draws: str) -> None:
        super().__init__(name, namespace)
        self._draws, self._on_host = draws, draws in ("", "cpu")

    @property
    def kernel(self) -> str:  # type: ignore[override]
        """Name of what draws the masks."""
        return host.HOST.kernel if self._on_host else operator.kernels(self._draws).NAME

    def keep(self, recipe: Recipe, like: Tensor) -> Tensor:
        """Return the boolean keep mask of a recipe; see `Backend.keep`.

        A compiler or a transform that traces the call sees ordinary int64 operations.
        """
        if is_distributed(like):
            raise TypeError(
                "no keep mask is drawn for a DTensor, so blocks, zoneout and tokens don't work: "
                "pass its local part, x.to_local(), and its place as window="
            )
        recipe, known = read(recipe)
        if known and is_plain(like):
            kernel = self._draws or operator.kernel_for(like.device)
            return operator.kernels(kernel).keep(recipe, like.device)
        with mode_of(like):
            return int64.keep(recipe, like.device)

    def select(
        self,
        x: Tensor,
        keep: Recipe | Tensor | None,
        scale: float,
        shift: float | None = None,
        fill: float = 0,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return ``where(keep, x * scale + shift, fill)``; see `Backend.select`.

        It works with autograd, forward mode, the transforms of ``torch.func`` and the compiler.
        """
        affine = Affine(scale, shift, fill)
        if is_distributed(x):
            y = dtensor.select(self.select, x, keep, affine)
        elif isinstance(keep, Recipe):
            return self._drawn(operators.SELECT, (x,), keep, affine, out)
        else:
            on_host = keep is not None and self._on_host and is_memory(x) and is_memory(keep)
            y = (host if on_host else int64).apply(x, keep, affine)
        return y if out is None else out.copy_(y)

    def select_add(
        self,
        x: Tensor,
        residual: Tensor,
        keep: Recipe | Tensor | None,
        scale: float,
        bias: Tensor | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return ``residual + where(keep, (x + bias) * scale, 0)``; see `Backend.select_add`."""
        if is_distributed(x) or is_distributed(residual) or is_distributed(bias):
            y = super().select_add(x, residual, keep, scale, bias)
            return y if out is None else out.copy_(y)
        return self._drawn(addition.SELECT_ADD, (x, residual, bias), keep, (scale,), out)

    def select_packed(
        self,
        x: Tensor,
        bits: Tensor,
        shape: tuple[int, ...],
        affine: Affine,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return `select` of x with a mask that `pack` packed; see `Backend.select_packed`."""
        known = x.dtype != torch.bfloat16 or host.BFLOAT16 is not None
        here = self._on_host and is_memory(x) and is_memory(bits) and x.is_contiguous()
        if not known or not here or x.shape != shape:
            return super().select_packed(x, bits, shape, affine, out)
        y = host.select_packed(x, bits, shape, affine)
        return y if out is None else out.copy_(y)

    def perturb(
        self, x: Tensor, recipe: Recipe, std: float, relative: bool, out: Tensor | None = None
    ) -> Tensor:
        """Return ``x * (1 + std * z)`` or ``x + std * z``; see `Backend.perturb`."""
        if is_distributed(x):
            return super().perturb(x, recipe, std, relative, out)
        return self._drawn(operators.PERTURB, (x,), recipe, (std, relative), out)

    def choose(
        self,
        new: Tensor | None,
        previous: Tensor | None,
        keep: Recipe | Tensor,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return ``where(keep, new, previous)``; see `Backend.choose`."""
        if is_distributed(new) or is_distributed(previous):
            return super().choose(new, previous, keep, out)
        return self._drawn(operators.CHOOSE, (new, previous), keep, (), out)

    def select_blocks(
        self,
        x: Tensor,
        recipe: Recipe,
        sizes: tuple[int, ...],
        scale: float,
        out: Tensor | None = None,
    ) -> Tensor:
        """Return ``where(keep, x * scale, 0)`` with a mask of blocks; see `Backend`."""
        if is_distributed(x):
            return super().select_blocks(x, recipe, sizes, scale, out)
        return self._drawn(operators.SELECT_BLOCKS, (x,), recipe, (sizes, scale), out)

    def _drawn(
        self,
        one: operators.Operator,
        tensors: tuple[Tensor | None, ...],
        keep: Recipe | Tensor | None,
        numbers: Sequence[Any],
        out: Tensor | None = None,
    ) -> Tensor:
        """Return the result of an operator, directly from a kernel if at most autograd tracks it.

        PyTorch's dispatcher takes longer than the rest of a small tensor's call. `keep` may also be
        a mask that was drawn before, or None to keep everything.
        """
        given = [t for t in tensors if t is not None]
        followed = any(map(requires_grad, given))
        keep, known = read(keep) if isinstance(keep, Recipe) else (keep, keep is None)
        here = known or (isinstance(keep, Tensor) and is_memory(keep))
        draw: Callable[..., Tensor] | None = None
        if here and self._on_host and all(map(is_plain_cpu, given)):
            run = getattr(host, one.name)
            if not followed and (out is None or is_memory(out.detach())):
                y: Tensor = run(*tensors, keep, *numbers, out)
                return y

            def draw(*tensors: Tensor | None) -> Tensor:
                y: Tensor = run(*tensors, keep, *numbers)
                return y

        elif known and all(map(self._by_triton, given)):
            draw = partial(one.draw, keep=keep, numbers=numbers, kernel="triton")
        if draw and followed:
            derivative = one.derivative(partial(self._again, keep), tensors, numbers)
            y = operator.recompute(draw, derivative, *tensors)
        elif draw:
            y = draw(*tensors)
        else:
            with mode_of(given[0]):
                if isinstance(keep, Recipe):
                    y = one(tensors, keep, numbers, self._draws)
                else:  # PyTorch's own operations, which a compiler may fuse
                    y = getattr(int64, one.name)(*tensors, keep, *numbers)
        return y if out is None else out.copy_(y)

    def _again(
        self,
        keep: Recipe | Tensor | None,
        name: str,
        *tensors: Tensor,
        numbers: Sequence[Any],
    ) -> Tensor:
        """Return a part of a derivative, with the mask drawn again.

        The gradient of a plain sum stays as it is.
        """
        if keep is None and numbers == UNCHANGED:
            return tensors[0]
        y: Tensor = getattr(self, name)(*tensors, keep, *numbers)
        return y

    def sum_to(self, x: Tensor, shape: tuple[int, ...], dtype: str) -> Tensor:
        """Sum x to a shape; see `Backend.sum_to`."""
        if is_distributed(x):
            return dtensor.sum_to(self.sum_to, x, shape, dtype)
        with mode_of(x):
            return addition.sum_to(x, shape, getattr(torch, dtype))

    def _by_triton(self, x: Tensor) -> bool:
        """Tell whether Triton draws for a tensor, and only autograd tracks the call."""
        kernel = self._draws or operator.kernel_for(x.device)
        return kernel == "triton" and is_plain_memory(x)

    def normals(self, recipe: Recipe, like: Tensor) -> Tensor:
        """Return standard normal numbers; see `Backend.normals`."""
        if is_distributed(like):
            raise TypeError(
                "normal noise is not drawn for a DTensor: pass its local part, x.to_local(), and "
                "its place as window="
            )
        dtype = COMPUTE[self.dtype_name(like)]
        recipe, known = read(recipe)
        if known and self._on_host and like.device.type == "cpu" and is_plain(like):
            return torch.from_numpy(host.HOST.normals(recipe, np.empty(0, dtype)))
        shape = recipe.keep_shape
        with mode_of(like):
            zeros = torch.zeros(shape, dtype=getattr(torch, dtype), device=like.device)
        return self.perturb(zeros, recipe._replace(shape=shape), 1.0, False)

    def recompute(
        self, forward: Callable[..., Tensor], backward: Callable[[Tensor], Any], *arrays: Tensor
    ) -> Tensor:
        """Return ``forward(*arrays)``. Autograd keeps nothing of it; see `Backend.recompute`.

        A compiler, a transform or forward mode traces its operations instead.
        """
        if any(map(requires_grad, arrays)) and all(map(is_plain, arrays)) and not in_transform():
            return operator.recompute(forward, backward, *arrays)
        return forward(*arrays)
