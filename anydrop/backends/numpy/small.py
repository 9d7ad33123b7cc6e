"""Plans for small plain arrays: they repeat a call of `select` without its checks."""

from __future__ import annotations

from functools import partial
from types import ModuleType

import numpy as np

from anydrop.backends.numpy import chunked, works
from anydrop.backends.plan import Pass, Plan
from anydrop.core.recipe import Affine, Recipe, scaled
from anydrop.core.stream import Key
from anydrop.core.typing import Array


def plan_of(kernels: ModuleType, x: Array, recipe: Recipe, affine: Affine) -> Plan:
    """Return the plan of a call for small plain arrays like x, with these kernels."""
    dtype, shape = x.dtype, x.shape
    kernel = partial(kernels.kernel, dtype, recipe.spread, recipe.threshold)

    def passing(draw: chunked.Kernel) -> Pass:
        def select(
            x: Array, key: Key, step: int, first: int = 0, out: Array | None = None
        ) -> Array | None:
            if type(x) is not np.ndarray or x.dtype is not dtype or x.shape != shape:
                return None
            flags = x.flags
            if not flags.c_contiguous or not flags.aligned:
                return None
            if out is not None and not _takes(out, x):
                return None
            y = np.empty(shape, dtype) if out is None else out
            draw(x.ravel(), y.ravel(), 0, key, step, first)
            return y

        return select

    forward, linear = kernel(affine), kernel(scaled(affine.scale))
    return Plan.of(recipe, passing(forward), passing(linear))


def _takes(out: Array, x: Array) -> bool:
    """Tell whether a kernel can write the result for a plain x to `out`."""
    return (
        type(out) is np.ndarray
        and out.dtype is x.dtype
        and out.shape == x.shape
        and out.flags.writeable
        and works.is_plain(out)
        and works.are_apart(x, out)
    )
