"""CuPy, PyTorch and JAX on a CUDA device: who races there, and how a call is timed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

import anydrop

# Each library shares the device with the others: none takes most of its memory in advance.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

P = 0.1
COPY = "copy"


class AbsentError(Exception):
    """Says why a library can't be timed here."""


class Library(NamedTuple):
    """A library on its device.

    Parameters
    ----------
    name : str
        With the version.
    contestants : callable
        Returns, for a NumPy array, name -> a call without arguments that returns its result. The
        first is `COPY`, the measure: dropout moves the same bytes.
    timed : callable
        Returns the milliseconds that the device takes for a number of calls, one after the other.
    like : array
        An empty array there.
    release : callable
        Gives the memory back.
    around : callable, optional
        Returns the context in which all of it runs.
    """

    name: str
    contestants: Callable[[np.ndarray], dict[str, Callable[[], Any]]]
    timed: Callable[[Callable[[], Any], int], float]
    like: Any
    release: Callable[[], object]
    around: Callable[[], AbstractContextManager[Any]] = nullcontext


def by_events(event: Callable[[], Any], elapsed: Callable[[Any, Any], float]) -> Any:
    """Return what times calls by the device's own events."""

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

        def copy() -> Any:
            cupy.copyto(out, array)
            return out

        return {
            COPY: copy,
            "anydrop.dropout, out=": lambda: anydrop.dropout(array, P, seed=0, out=out),
            "anydrop.dropout": lambda: anydrop.dropout(array, P, seed=0),
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
        return {
            COPY: lambda: out.copy_(tensor),
            f"anydrop.dropout, {kernel}": lambda: anydrop.dropout(tensor, P, seed=0),
            "torch.nn.functional.dropout": lambda: torch.nn.functional.dropout(tensor, P),
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

        @jax.jit
        def theirs(x: Any, key: Any) -> Any:
            keep = jax.random.bernoulli(key, np.float32(1 - P), x.shape)
            return jnp.where(keep, x / (1 - P), 0)

        return {
            COPY: lambda: jnp.array(array, copy=True),
            "anydrop.dropout": lambda: anydrop.dropout(array, P, seed=0),
            "anydrop.dropout, jit": lambda: ours(array),
            "where(jax.random.bernoulli), jit": lambda: theirs(array, key),
        }

    def timed(call: Callable[[], Any], calls: int) -> float:
        """JAX has no events: by the clock, from an idle device until it is idle again."""
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
