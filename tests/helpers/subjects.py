"""Every way in which this machine can draw a mask in the host's memory; see also devices.py."""

from __future__ import annotations

import importlib
import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import anydrop
from anydrop.backends.common.threads import Pool
from anydrop.backends.numpy.backend import NumpyBackend
from anydrop.testing import DTYPES, Subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from anydrop.backends.base import Backend

# JAX then makes one processor look like eight devices. It reads this when it is first used.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)


def available(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


needs_strict = pytest.mark.skipif(
    not available("array_api_strict"),
    reason="array-api-strict is not installed here; nox -s tests-strict runs this",
)

NUMPY_DTYPES = tuple(d for d in DTYPES if d != "bfloat16" or available("ml_dtypes"))


class Watched(Pool):
    """A pool that remembers whether helpers worked."""

    _helped = False

    def run(self, work: Callable[[int, int], None], *limits: Any) -> None:
        caller = threading.get_ident()

        def seen(start: int, stop: int) -> None:
            self._helped |= threading.get_ident() != caller
            work(start, stop)

        super().run(seen, *limits)

    def helped(self) -> bool:
        """Tell whether others than the caller worked, and forget."""
        helped, self._helped = self._helped, False
        return helped


def eager(threads: int) -> Pool:
    """Return a pool that shares loops of any length, in turns of 13 elements or more."""
    return Pool(threads, grain=13, crossover=0)


def numpy_subjects() -> list[Subject]:
    """Both kernels, on one to four threads that share even the shortest loops."""
    kinds = {"numpy": False} | ({"numba": True} if available("numba") else {})
    return [
        Subject(f"{name}-{threads}", np.array, NUMPY_DTYPES, kernel=kernel)
        for name, fast in kinds.items()
        for threads in (1, 2, 3, 4)
        for kernel in (NumpyBackend(use_numba=fast, pool=eager(threads)),)
    ]


def strict_subjects() -> list[Subject]:
    if not available("array_api_strict"):
        return []
    import array_api_strict as xp

    subjects = []
    for device in xp.__array_namespace_info__().devices():
        on = {str(d) for d in xp.__array_namespace_info__().dtypes(device=device)}

        def array(x: np.ndarray, device: Any = device) -> Any:
            return xp.asarray(x, device=device)

        dtypes = tuple(d for d in DTYPES if d in on)
        name = str(device).split("'")[1].lower()
        subjects.append(Subject(f"strict-{name}", array, dtypes))
    return subjects


def cuda_on_host_subjects() -> list[Subject]:
    """CuPy's kernels, which no device is needed for; see cuda_on_host.py."""
    if not available("cuda_on_host"):
        return []
    from cuda_on_host import HostCuda

    return [Subject("cuda-on-host", np.array, NUMPY_DTYPES, kernel=HostCuda())]


def torch_subjects() -> list[Subject]:
    """NumPy's kernels, the int64 arithmetic, and Triton's interpreter, which devices rule out."""
    if not available("torch"):
        return []
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")  # before anyone imports Triton
    from anydrop.backends.torch.backend import TorchBackend

    # The interpreter truncates to bfloat16 where a device rounds.
    exact = tuple(d for d in DTYPES if d != "bfloat16")
    subjects = []
    for backend, like in TorchBackend().probes():
        if like.device.type != "cpu":
            continue
        kernel = backend._draws

        def array(x: np.ndarray, backend: Backend = backend, like: Any = like) -> Any:
            return backend.from_numpy(x, like)

        dtypes = exact if kernel == "triton" else NUMPY_DTYPES
        subjects.append(
            Subject(f"torch-{kernel}", array, dtypes, kernel=backend, compiled=traced_once)
        )
    return subjects


def traced_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose Python PyTorch's tracer runs at the first call alone."""
    from torch.fx.experimental.proxy_tensor import make_fx

    programs: list[Callable[..., Any]] = []

    def run(*arrays: Any) -> Any:
        if not programs:
            programs.append(make_fx(lambda *arrays: function(*arrays))(*arrays))
        return programs[0](*arrays)

    return run


def jax_subjects() -> list[Subject]:
    if not available("jax"):
        return []
    import jax
    import jax_ways

    flushes = jax_ways.flushes(jax_ways.DEVICES[0])
    return [
        Subject(name, array, out=False, flushes=flushes, kernel=backend, compiled=jax.jit)
        for name, backend, array in jax_ways.ways()
    ]


# Chunkings of an array of any shape -------------------------------------------------------------


def whole(shape: tuple[int, ...]) -> Any:
    return tuple((n,) for n in shape)


def small(shape: tuple[int, ...]) -> Any:
    """Chunks of single elements, as far as there are few."""
    return tuple((1,) * n or (0,) if n < 9 else (n // 3, n - 2 * (n // 3), n // 3) for n in shape)


def uneven(shape: tuple[int, ...]) -> Any:
    """Chunks of uneven lengths, empty ones among them."""
    return tuple((0, n) if a % 2 else (n // 5, 0, n - n // 5) for a, n in enumerate(shape))


def rows(shape: tuple[int, ...]) -> Any:
    """Some chunks along the first axis."""
    return tuple(-1 if a else max(2, n // 5) for a, n in enumerate(shape))


def columns(shape: tuple[int, ...]) -> Any:
    """Some chunks along the last axis, each of all rows."""
    return tuple(-1 if a < len(shape) - 1 else max(3, n // 4) for a, n in enumerate(shape))


def dask_subjects() -> list[Subject]:
    if not available("dask.array"):
        return []
    import dask.array as da

    def subject(chunks: Callable) -> Subject:
        def array(x: np.ndarray) -> Any:
            return da.from_array(x, chunks=chunks(x.shape))

        return Subject(f"dask-{chunks.__name__}", array, NUMPY_DTYPES, out=False)

    return [subject(chunks) for chunks in (whole, small, uneven, rows, columns)]


SUBJECTS = [
    *numpy_subjects(),
    *strict_subjects(),
    *cuda_on_host_subjects(),
    *torch_subjects(),
    *jax_subjects(),
    *dask_subjects(),
]


def serving(monkeypatch: pytest.MonkeyPatch, subject: Subject) -> Subject:
    """Let the public functions use the subject's backend for its arrays."""
    kind = type(subject.array(np.zeros(1, "f4")))
    monkeypatch.setitem(anydrop.backends._BY_TYPE, kind, subject.backend)
    return subject
