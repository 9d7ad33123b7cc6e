"""The expected results, computed slowly: element by element, in Python's own integers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from anydrop.core import quantile, stream

Array: TypeAlias = "np.ndarray[Any, Any]"


@lru_cache(maxsize=2**16)
def _block(number: int, step: int, key: stream.Key) -> tuple[int, ...]:
    return stream.philox((*stream.halves(number), *stream.halves(step)), key)


def keep(shape: Sequence[int], p: float, **place: Any) -> Array:
    """Return the keep mask, with length 1 along the shared axes; see `words`."""
    least = min(round(p * 2**32), 2**32 - 1)
    kept: Array = words(shape, **place) >= least
    return kept


def normals(shape: Sequence[int], **place: Any) -> Array:
    """Return the standard normal numbers, exact in float64; see `words`."""
    drawn = words(shape, **place)
    flat = [quantile.numerator(word) * 2.0**-28 for word in drawn.ravel().tolist()]
    return np.asarray(flat, np.float64).reshape(drawn.shape)


def words(
    shape: Sequence[int],
    *,
    seed: stream.Seed,
    step: int = 0,
    shared_axes: Sequence[int] = (),
    window: tuple[Sequence[int], Sequence[int]] | None = None,
) -> Array:
    """Return the random words of an array, with length 1 along the shared axes."""
    offset, extent = window or ((0,) * len(shape), shape)
    shape = tuple(1 if a in shared_axes else n for a, n in enumerate(shape))
    offset = tuple(0 if a in shared_axes else o for a, o in enumerate(offset))
    extent = tuple(1 if a in shared_axes else n for a, n in enumerate(extent))
    key = stream.key_of(seed)
    out = np.empty(shape, np.uint32)
    for at in np.ndindex(*shape):
        index = 0
        for here, start, length in zip(at, offset, extent, strict=True):
            index = index * length + start + here
        out[at] = _block(index // 4, step, key)[index % 4]
    return out


def select(
    x: Array,
    kept: Any,
    scale: float,
    shift: float = -0.0,
    fill: float = 0.0,
    *,
    flush: bool = False,
) -> Array:
    """Return ``where(kept, x * scale + shift, fill)``, rounded once to the dtype of x.

    With `flush`, subnormal numbers become zeros, as inputs and as results of each operation.
    """
    kept = np.broadcast_to(kept, x.shape)
    if x.dtype.kind == "c":
        real = select(x.real, kept, scale, shift, fill, flush=flush)
        return _complex(real, select(x.imag, kept, scale, flush=flush), x.dtype)
    normal = _arithmetic(x.dtype, flush)
    with np.errstate(all="ignore"):
        wide = normal(normal(normal(x) * normal(scale)) + normal(shift))
        y: Array = np.where(kept, wide, normal(fill)).astype(x.dtype)
    return y


def perturb(x: Array, z: Array, std: float, relative: bool, *, flush: bool = False) -> Array:
    """Return ``x * (1 + std * z)`` or ``x + std * z``, rounded once to the dtype of x.

    Each operation is rounded, and half types are computed in float32. See `select`.
    """
    if x.dtype.kind == "c":
        real, imag = (perturb(part, z, std, relative, flush=flush) for part in _parts(x))
        return _complex(real, imag, x.dtype)
    normal = _arithmetic(x.dtype, flush)
    with np.errstate(all="ignore"):
        noise = normal(normal(z) * normal(std))
        y = normal(x) * normal(1 + noise) if relative else normal(x) + noise
        perturbed: Array = normal(y).astype(x.dtype)
    return perturbed


def select_add(
    x: Array,
    residual: Array,
    kept: Any,
    scale: float,
    bias: Array | None = None,
    *,
    flush: bool = False,
) -> Array:
    """Return ``residual + where(kept, (x + bias) * scale, 0)``, rounded to the residual's dtype.

    Each operation is rounded, and half types are computed in float32. See `select`.
    """
    kept = np.broadcast_to(kept, x.shape)
    if x.dtype.kind == "c":
        parts = zip(_parts(x), _parts(residual), _parts(bias), strict=True)
        real, imag = (select_add(a, b, kept, scale, c, flush=flush) for a, b, c in parts)
        return _complex(real, imag, residual.dtype)
    normal = _arithmetic(x.dtype, flush)
    with np.errstate(all="ignore"):
        moved = normal(x)
        if bias is not None:
            moved = normal(moved + normal(bias))
        selected = np.where(kept, normal(moved * normal(scale)), normal(0.0))
        y: Array = normal(normal(residual) + selected).astype(residual.dtype)
    return y


def sum_to(x: Array, shape: Sequence[int]) -> Array:
    """Return x summed to a shape, in pairs: neighbours first, then neighbouring sums, and so on."""
    lengths = (1,) * (x.ndim - len(shape)) + tuple(shape)
    summed = tuple(a for a, n in enumerate(lengths) if n == 1)
    rows = list(np.moveaxis(x, summed, range(len(summed))).reshape(-1, math.prod(shape)))
    while len(rows) > 1:
        last = [rows.pop()] if len(rows) % 2 else []
        rows = [a + b for a, b in zip(rows[::2], rows[1::2], strict=True)] + last
    return rows[0].reshape(shape)


def _arithmetic(dtype: Any, flush: bool) -> Callable[[Any], Array]:
    """Return the function that converts numbers to those in which a dtype is computed."""
    compute: Any = np.float64 if dtype == np.float64 else np.float32

    def normal(value: Any) -> Array:
        value = np.asarray(value, compute)
        tiny = flush & (np.abs(value) < np.finfo(compute).tiny)
        flushed: Array = np.where(tiny, np.copysign(compute(0), value), value)
        return flushed

    return normal


def _parts(x: Any) -> tuple[Any, Any]:
    return (None, None) if x is None else (x.real, x.imag)


def bits(x: Array) -> bytes:
    """Return the bytes of an array. All NaN become the same, since their payloads are free."""
    x = np.ascontiguousarray(x)  # also makes a 0-d array 1-d
    if x.dtype.kind in "biu":
        return x.tobytes()
    parts = x.view(x.real.dtype) if x.dtype.kind == "c" else x
    canonical = np.where(np.isnan(parts), np.asarray(np.nan, parts.dtype), parts)
    return canonical.astype(parts.dtype.newbyteorder("=")).tobytes()


def _complex(real: Array, imag: Array, dtype: Any) -> Array:
    x = np.empty(real.shape, dtype)
    x.real, x.imag = real, imag
    return x


def numbers(shape: Sequence[int], dtype: Any, rng: np.random.Generator) -> Array:
    """Return numbers of all kinds: ordinary, subnormal, huge, signed zeros, NaN and Inf."""
    dtype = np.dtype(dtype)
    real = dtype.type(0).real.dtype if dtype.kind == "c" else dtype
    x = rng.standard_normal((*shape, 2)).astype(real)
    tiny, huge = {2: (6e-8, 6e4), 4: (1e-44, 3e38), 8: (5e-324, 1e308)}[real.itemsize]
    odd = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, tiny, -tiny, huge], np.float64)
    where = rng.random(x.shape) < 0.3
    with np.errstate(all="ignore"):
        x[where] = rng.choice(odd, where.sum()).astype(real)
    if dtype.kind == "c":
        return _complex(x[..., 0], x[..., 1], dtype)
    return x[..., 0].copy()
