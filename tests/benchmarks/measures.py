"""Measures outside the contests: the machine, memory, first calls, and older processors."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llvmlite import binding
from names import FIRST_CALL, IMPORT, KEPT, PEAK, PROCESSORS
from torch.profiler import ProfilerActivity, profile

import anydrop
from anydrop.backends.numpy.backend import NumpyBackend

PACKAGES = ("anydrop", "numpy", "numba", "torch", "jax", "dask")
# The widest vectors first.
VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX", "sse4_2": "SSE4.2", "asimd": "Neon"}


def description() -> dict[str, str]:
    """Return a description of this machine and its software."""
    cpu = cpu_info()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "processor": f"{cpu['name']}, {cpu['vectors']}",
        "kernels compiled for": os.environ.get("NUMBA_CPU_NAME", "this processor"),
        "threads": f"{anydrop.get_num_threads()} of {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()}, {platform.machine()}",
        "Python": platform.python_version(),
        **versions,
    }


def cpu_info() -> dict[str, str]:
    """Return the processor's name and its widest vectors."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return {"name": platform.processor() or "unknown", "vectors": "vectors unknown"}
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    vectors = next((text for flag, text in VECTORS.items() if flag in flags), "vectors unknown")
    return {"name": fields.get("model name", platform.machine()), "vectors": vectors}


def printed(code: str, **environment: str) -> str:
    """Run a program in a new process, and return its output."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return done.stdout.strip()


def memory(n: int = 2**24, p: float = 0.1) -> dict[str, float]:
    """Return the bytes per element kept from forward to backward, and the peak memory in MB."""
    x, found = np.ones(n, np.float32), dict[str, float]()
    sources: dict[str, dict[str, Any]] = {
        "a layer with a seed (some hundred in all)": {"seed": 0},
        "a layer with a generator": {"rng": np.random.default_rng(0)},
    }
    for name, source in sources.items():
        drop = anydrop.Dropout(p, **source)
        drop(x[: 2**20])
        drop(x[: 2**20])
        tracemalloc.start()
        y = drop(x)
        found[KEPT.format(name)] = (tracemalloc.get_traced_memory()[0] - y.nbytes) / n
        tracemalloc.stop()
    for name, fast in {"with numba": True, "without": False}.items():
        backend, mask = NumpyBackend(use_numba=fast), anydrop.Mask.from_seed((n,), p, seed=0)
        backend.select(x[:1000], mask._replace(shape=(1000,)), 1.0)
        tracemalloc.start()
        y = backend.select(x, mask, mask.scale)
        dx = backend.select(y, mask, mask.scale)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        found[PEAK.format(name)] = (peak - y.nbytes - dx.nbytes) / 1e6
    found[KEPT.format("autograd, of a tensor (some kB in all)")] = kept_by_autograd(
        anydrop.Dropout(p, seed=0), n
    )
    return found


def kept_by_autograd(function: Callable[[torch.Tensor], torch.Tensor], n: int) -> float:
    """Return the bytes per element that PyTorch and NumPy keep in addition to a result.

    This counts allocations, because an autograd function may keep memory that no hook sees.
    """
    t = torch.ones(n, requires_grad=True)

    def held() -> int:
        tracemalloc.start()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as allocated:
            y = function(t)
        arrays = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        tensors = sum(event.self_cpu_memory_usage for event in allocated.key_averages())
        return arrays + tensors - y.nbytes

    held()  # The first call imports modules of anydrop and of the profiler.
    return held() / n


def first_calls(rounds: int) -> dict[str, float]:
    """Return the median seconds in new processes, with kernels that were compiled before."""
    code = """
        import time, numpy as np
        x = np.ones(2**21, np.float32)
        start = time.perf_counter()
        import anydrop
        imported = time.perf_counter()
        y = anydrop.dropout(x, 0.5, seed=0)
        called = time.perf_counter()
        assert abs((y == 0).mean() - 0.5) < 0.01 and anydrop.resolve(x).kernel == "numba"
        print(imported - start, called - imported)
    """
    printed(code)
    pairs = [tuple(map(float, printed(code).split())) for _ in range(rounds)]
    imports, calls = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {IMPORT: imports, FIRST_CALL: calls}


def processors(folder: str) -> dict[str, dict[str, float]]:
    """Return nanoseconds per element on one thread in the cache, compiled for several processors.

    This machine has the instructions of all of them. LLVM compiles for one processor at a time, and
    uses only its instructions.
    """
    code = """
        import time, statistics, numpy as np
        from anydrop import Mask
        from anydrop.backends.numpy import compiled
        from anydrop.core.recipe import Affine
        mask = Mask.from_seed((2**14,), 0.5, seed=0)
        for dtype in ("float16", "float32", "float64"):
            x = np.linspace(1, 2, 2**14).astype(dtype)
            y = np.empty_like(x)
            affine = Affine(mask.scale)
            draw = compiled.kernel(x.dtype, mask.spread, mask.threshold, affine)
            seconds = []
            for step in range(2000):
                y.fill(np.nan)
                start = time.perf_counter()
                draw(x, y, 0, mask.key, step, 0)
                seconds.append(time.perf_counter() - start)
                assert abs((y == 0).mean() - 0.5) < 0.03
            print(dtype, statistics.median(seconds) / x.size * 1e9)
    """
    host, found = binding.get_host_cpu_features(), {}
    targets: dict[str, dict[str, str]] = {"native": {}}
    for name, one in PROCESSORS.items():
        if host.get(one.needs):
            targets[name] = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": one.features}
    for name, pretended in targets.items():
        lines = printed(code, NUMBA_CACHE_DIR=folder, **pretended).splitlines()
        found[name] = {dtype: float(ns) for dtype, ns in (line.split() for line in lines)}
    return found
