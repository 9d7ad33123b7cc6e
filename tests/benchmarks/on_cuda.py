"""CuPy, PyTorch and JAX on a CUDA device: the contestants, and how to time a call."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

import anydrop

# The libraries share the device, so JAX must not allocate most of its memory in advance.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

P = 0.1
# The references: COPY moves the same bytes as dropout, and SUM as dropout with a residual.
COPY, SUM = "copy", "x + residual"


class AbsentError(Exception):
    """A library can't be timed on this machine; the message says why."""


class Library(NamedTuple):
    """A library on its device.

    Parameters
    ----------
    name : str
        The name and the version.
    contestants : callable
        Takes a NumPy array. It returns a dict of names and calls, which take no arguments and
        return a result. The first is `COPY`. From `SUM` on, the calls add a residual and a bias of
        zeros.
    timed : callable
        Returns the milliseconds that the device takes for a number of calls, one after the other.
    like : array
        An empty array on the device.
    release : callable
        Frees the memory.
    around : callable, optional
        Returns the context in which the contestants run.
    """

    name: str
    contestants: Callable[[np.ndarray], dict[str, Callable[[], Any]]]
    timed: Callable[[Callable[[], Any], int], float]
    like: Any
    release: Callable[[], object]
    around: Callable[[], AbstractContextManager[Any]] = nullcontext


def rows_of(x: Any) -> Any:
    """Return an array as rows of up to 1,024 features, for adding a bias."""
    return x.reshape(-1, math.gcd(*x.shape, 1024))


def by_events(event: Callable[[], Any], elapsed: Callable[[Any, Any], float]) -> Any:
    """Return the function that times calls with the device's events."""

    def timed(call: Callable[[], Any], calls: int) -> float:
        start, stop = event(), event()
        start.record()
        for _ in range(calls):
            call()
        stop.record()
        stop.synchronize()
        return elapsed(start, stop)

    return timed


def cupy_library() -> Library:
    try:
        import cupy
    except ImportError as error:
        raise AbsentError(f"it can't be imported: {error}") from None
    if not anydrop.backends.load("cupy").probes():
        raise AbsentError(f"CuPy {cupy.__version__} finds no CUDA device")

    def contestants(x: np.ndarray) -> dict[str, Callable[[], Any]]:
        array = cupy.asarray(x)
        out = cupy.empty_like(array)
        rows, target = rows_of(array), rows_of(out)
        residual, bias = cupy.zeros_like(rows), cupy.zeros_like(rows[0])

        def copy() -> Any:
            cupy.copyto(out, array)
            return out

        return {
            COPY: copy,
            "anydrop.dropout, out=": lambda: anydrop.dropout(array, P, seed=0, out=out),
            "anydrop.dropout": lambda: anydrop.dropout(array, P, seed=0),
            SUM: lambda: cupy.add(rows, residual, out=target),
            "anydrop.dropout_add, out=": lambda: anydrop.dropout_add(
                rows, residual, P, seed=0, out=target
            ),
            "anydrop.dropout_add, bias, out=": lambda: anydrop.dropout_add(
                rows, residual, P, bias=bias, seed=0, out=target
            ),
        }

    return Library(
        f"cupy {cupy.__version__}",
        contestants,
        by_events(cupy.cuda.Event, cupy.cuda.get_elapsed_time),
        cupy.empty(0),
        cupy.get_default_memory_pool().free_all_blocks,
    )


def torch_library() -> Library:
    try:
        import torch
    except ImportError as error:
        raise AbsentError(f"it can't be imported: {error}") from None
    if not torch.cuda.is_available():
        raise AbsentError(f"PyTorch {torch.__version__} finds no CUDA device")
    from anydrop.backends.torch.operator import kernel_for

    like = torch.empty(0, device="cuda")
    kernel = kernel_for(like.device)

    def contestants(x: np.ndarray) -> dict[str, Callable[[], Any]]:
        tensor = torch.from_numpy(x).cuda()
        out = torch.empty_like(tensor)
        rows = rows_of(tensor)
        residual, bias = torch.zeros_like(rows), torch.zeros_like(rows[0])
        return {
            COPY: lambda: out.copy_(tensor),
            f"anydrop.dropout, {kernel}": lambda: anydrop.dropout(tensor, P, seed=0),
            "torch.nn.functional.dropout": lambda: torch.nn.functional.dropout(tensor, P),
            SUM: lambda: rows + residual,
            f"anydrop.dropout_add, bias, {kernel}": lambda: anydrop.dropout_add(
                rows, residual, P, bias=bias, seed=0
            ),
            "residual + F.dropout(x + bias)": lambda: (
                residual + torch.nn.functional.dropout(rows + bias, P)
            ),
        }

    return Library(
        f"torch {torch.__version__}",
        contestants,
        by_events(
            lambda: torch.cuda.Event(enable_timing=True),
            lambda start, stop: start.elapsed_time(stop),
        ),
        like,
        torch.cuda.empty_cache,
    )


def jax_library() -> Library:
    try:
        import jax
        import jax.numpy as jnp
    except ImportError as error:
        raise AbsentError(f"it can't be imported: {error}") from None
    if jax.default_backend() != "gpu":
        raise AbsentError(f"JAX {jax.__version__} computes on the {jax.default_backend()}")

    def contestants(x: np.ndarray) -> dict[str, Callable[[], Any]]:
        array, key = jnp.asarray(x), jax.random.key(0)
        ours = jax.jit(lambda x: anydrop.dropout(x, P, seed=0))
        rows = rows_of(array)
        residual, bias = jnp.zeros_like(rows), jnp.zeros_like(rows[0])
        sums = jax.jit(lambda *arrays: anydrop.dropout_add(*arrays[:2], P, bias=arrays[2], seed=0))

        @jax.jit
        def theirs(x: Any, key: Any) -> Any:
            keep = jax.random.bernoulli(key, np.float32(1 - P), x.shape)
            return jnp.where(keep, x / (1 - P), 0)

        return {
            COPY: lambda: jnp.array(array, copy=True),
            "anydrop.dropout": lambda: anydrop.dropout(array, P, seed=0),
            "anydrop.dropout, jit": lambda: ours(array),
            "where(jax.random.bernoulli), jit": lambda: theirs(array, key),
            SUM: lambda: rows + residual,
            "anydrop.dropout_add, bias, jit": lambda: sums(rows, residual, bias),
        }

    def timed(call: Callable[[], Any], calls: int) -> float:
        """Time calls with the clock until the device is idle again, because JAX has no events."""
        jax.block_until_ready(call())
        start = time.perf_counter()
        for _ in range(calls):
            last = call()
        jax.block_until_ready(last)
        return 1e3 * (time.perf_counter() - start)

    return Library(
        f"jax {jax.__version__}",
        contestants,
        timed,
        jnp.empty(0),
        lambda: None,
        lambda: jax.enable_x64(True),  # for float64
    )


LIBRARIES: dict[str, Callable[[], Library]] = {
    "cupy": cupy_library,
    "torch": torch_library,
    "jax": jax_library,
}
