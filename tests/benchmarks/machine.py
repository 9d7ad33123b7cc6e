"""What a run was made on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import anydrop

PACKAGES = ("anydrop", "numpy", "numba", "torch", "jax", "dask")
# The widest vectors first.
VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX", "sse4_2": "SSE4.2", "asimd": "Neon"}


def description() -> dict[str, str]:
    """Return what a reader needs to know of this machine and its software."""
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
    """Return the processor's name and the widest vectors that it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return {"name": platform.processor() or "unknown", "vectors": "vectors unknown"}
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    vectors = next((text for flag, text in VECTORS.items() if flag in flags), "vectors unknown")
    return {"name": fields.get("model name", platform.machine()), "vectors": vectors}
