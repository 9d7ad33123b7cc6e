"""What a result must be, worked out slowly: element by element, in Python's own integers."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from anydrop import stream


@lru_cache(maxsize=2**16)
def _block(number: int, step: int, key: tuple[int, int]) -> tuple[int, ...]:
    return stream.philox((*stream.halves(number), *stream.halves(step)), key)


def keep(shape, p, *, seed, step=0, shared_axes=(), window=None) -> np.ndarray:
    """Return the keep mask, with length 1 along the shared axes."""
    offset, extent = window or ((0,) * len(shape), shape)
    shape = tuple(1 if a in shared_axes else n for a, n in enumerate(shape))
    offset = tuple(0 if a in shared_axes else o for a, o in enumerate(offset))
    extent = tuple(1 if a in shared_axes else n for a, n in enumerate(extent))
    key, least = stream.key_of(seed), min(round(p * 2**32), 2**32 - 1)
    out = np.empty(shape, bool)
    for at in np.ndindex(*shape):
        index = 0
        for here, start, length in zip(at, offset, extent, strict=True):
            index = index * length + start + here
        out[at] = _block(index // 4, step, key)[index % 4] >= least
    return out


def select(
    x: np.ndarray, kept: np.ndarray, scale: float, shift=-0.0, fill=0.0, *, flush=False
) -> np.ndarray:
    """Return where(kept, x * scale + shift, fill), rounded once to the dtype of x.

    With `flush`, numbers below the normal ones of the arithmetic are zeros, going in and coming
    out of each operation.
    """
    kept = np.broadcast_to(kept, x.shape)
    if x.dtype.kind == "c":
        parts = np.empty((2, *x.shape), x.real.dtype)
        parts[0] = select(x.real, kept, scale, shift, fill, flush=flush)
        parts[1] = select(x.imag, kept, scale, flush=flush)
        return np.moveaxis(parts, 0, -1).copy().view(x.dtype)[..., 0]
    compute = np.float64 if x.dtype == np.float64 else np.float32

    def normal(value):
        value = np.asarray(value, compute)
        tiny = flush & (np.abs(value) < np.finfo(compute).tiny)
        return np.where(tiny, np.copysign(compute(0), value), value)

    with np.errstate(all="ignore"):
        product = normal(normal(x) * normal(scale))
        wide = normal(product + normal(shift))
        return np.where(kept, wide, normal(fill)).astype(x.dtype)


def bits(x: np.ndarray) -> bytes:
    """Return the bytes of an array, with every NaN made the same one: their payloads are free."""
    x = np.ascontiguousarray(x)
    parts = x.view(x.real.dtype) if x.dtype.kind == "c" and x.ndim else x
    canonical = np.where(np.isnan(parts), np.asarray(np.nan, parts.dtype), parts)
    return canonical.astype(parts.dtype.newbyteorder("=")).tobytes()


def numbers(shape, dtype, rng: np.random.Generator) -> np.ndarray:
    """Return numbers of every kind: ordinary, subnormal, huge, signed zeros, NaN and Inf."""
    real = dtype.type(0).real.dtype if dtype.kind == "c" else dtype
    x = rng.standard_normal((*shape, 2)).astype(real)
    tiny, huge = {2: (6e-8, 6e4), 4: (1e-44, 3e38), 8: (5e-324, 1e308)}[real.itemsize]
    odd = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, tiny, -tiny, huge], np.float64)
    where = rng.random(x.shape) < 0.3
    with np.errstate(all="ignore"):
        x[where] = rng.choice(odd, where.sum()).astype(real)
    return x.view(dtype)[..., 0] if dtype.kind == "c" else x[..., 0].copy()
