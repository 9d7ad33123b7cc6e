"""Distributed tensors: each process draws the window of the global mask that its shard lies in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anydrop.backends.torch.watchers import local_part
from anydrop.core import check
from anydrop.core.recipe import Affine, Recipe, Window


def select(
    local: Callable[..., Tensor], x: Any, keep: Recipe | Tensor | None, affine: Affine
) -> Any:
    """Return ``where(keep, x * scale + shift, fill)`` for a ``DTensor``.

    For its part, a plain tensor, `local` returns the same, as `Backend.select` does.
    """
    # Imported here, since those who have no DTensor need not wait for it.
    from torch.distributed.tensor import DTensor, Replicate, Shard

    if torch.compiler.is_compiling():
        raise TypeError(
            "a DTensor is not compiled: call the function outside of the compiled program, or pass "
            "the local part, x.to_local(), and its place as window="
        )
    if any(placement.is_partial() for placement in x.placements):
        raise TypeError(
            f"dropout needs the sum of a partial DTensor, got the placements {x.placements}: "
            "redistribute it first"
        )
    if not all(type(placement) in (Shard, Replicate) for placement in x.placements):
        raise TypeError(
            "dropout needs a DTensor whose parts are blocks of the whole, got the placements "
            f"{x.placements}: redistribute it first, to Shard or Replicate"
        )
    part = x.to_local()
    if isinstance(keep, Recipe):
        shape, start = local_part(x)
        if part.numel() and shape != part.shape:
            raise ValueError(
                f"this process's part of a DTensor of shape {tuple(x.shape)} and placements "
                f"{x.placements} must have the shape {shape}, got {tuple(part.shape)}, "
                "so which of its elements it has is unknown: pass shape= to DTensor.from_local"
            )
        if part.numel():
            whole = keep.window or Window((0,) * len(shape), tuple(x.shape))
            offset = tuple(a + b for a, b in zip(whole.offset, start, strict=True))
            keep = keep._replace(shape=shape, window=Window(offset, whole.shape))
    elif keep is not None:
        raise TypeError(
            f"a DTensor takes a recipe and no mask, got {check.type_name(keep)}: take its local "
            "part, x.to_local()"
        )
    y = local(part, keep, *affine) if part.numel() else part
    return DTensor.from_local(
        y, x.device_mesh, x.placements, run_check=False, shape=x.shape, stride=x.stride()
    )


def sum_to(local: Callable[..., Tensor], x: Any, shape: tuple[int, ...], dtype: str) -> Any:
    """Sum a ``DTensor`` as `Backend.sum_to` does, in one order for all its parts."""
    from torch.distributed.tensor import DTensor, Replicate

    everywhere = [Replicate()] * x.device_mesh.ndim
    total = local(x.redistribute(placements=everywhere).to_local(), shape, dtype)
    return DTensor.from_local(total, x.device_mesh, everywhere, run_check=False)
