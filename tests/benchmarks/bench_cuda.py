"""How fast dropout is on a CUDA device, beside a copy and PyTorch: needs CuPy and a GPU.

    python tests/benchmarks/bench_cuda.py

Contestants take turns on the same array. Each is timed by the device's own events, several calls at
a time, and its result is checked. The measure is a copy from one array on the device to another,
since dropout moves the same bytes.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import cupy

import anydrop

P = 0.1
KEEP = 1 - P
# Calls that are timed together, so that what starting one costs the host is hidden.
CALLS = 20

Contestant = tuple[Callable[[], Any], Callable[[], Any]]


def contestants(n: int, dtype: str) -> dict[str, Contestant]:
    """Return name -> a call, and what gives its result; the first is the measure."""
    x = cupy.full(n, 10, dtype)  # no zeros, so that a zero means dropped
    out = cupy.empty_like(x)
    mask = anydrop.Mask.from_seed((n,), P, seed=0)
    result: dict[str, Any] = {}

    def keeping(name: str, call: Callable[[], Any]) -> Contestant:
        def kept() -> None:
            result[name] = call()

        return kept, lambda: result.pop(name)

    calls = {
        "copy, into out": (lambda: cupy.copyto(out, x), lambda: out),
        "anydrop, into out": (lambda: mask.apply(x, out=out), lambda: out),
        "anydrop": keeping("anydrop", lambda: mask.apply(x)),
    }
    try:
        import torch
    except ImportError:
        return calls
    if torch.cuda.is_available():
        tensor = torch.from_dlpack(x)
        # In CuPy's current stream, the default one, as everything here.
        drop = keeping("torch", lambda: torch.nn.functional.dropout(tensor, P))
        calls["torch.nn.functional.dropout"] = drop[0], lambda: cupy.from_dlpack(drop[1]())
    return calls


def race(calls: dict[str, Contestant], rounds: int) -> dict[str, float]:
    """Return the median milliseconds of a call of each contestant, in turns."""
    start, stop = cupy.cuda.Event(), cupy.cuda.Event()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(rounds + 1):
        for name, (call, result) in calls.items():
            call()
            check(name, result())
            cupy.cuda.Device().synchronize()
            start.record()
            for _ in range(CALLS):
                call()
            stop.record()
            stop.synchronize()
            if round_:  # the first warms up
                times[name].append(cupy.cuda.get_elapsed_time(start, stop) / CALLS)
    return {name: statistics.median(some) for name, some in times.items()}


def check(name: str, result: Any) -> None:
    """See that a result is a dropout of tens, or their copy."""
    dropped, scale = (0.0, 1.0) if "copy" in name else (P, 1 / KEEP)
    kept = abs(result - 10 * scale) < 0.02
    assert bool((kept | (result == 0)).all()), name
    assert abs(float((~kept).mean()) - dropped) < 1e-2, name


def main() -> None:
    """Run the races and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--elements", type=int, default=2**26, help="of each dtype (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="of each contestant (%(default)s)")
    options = parser.parse_args()
    n = options.elements
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    runtime, driver = cupy.cuda.runtime.runtimeGetVersion(), cupy.cuda.runtime.driverGetVersion()
    digest = anydrop.Mask.from_seed((n,), P, seed=0).digest(like=cupy.empty(0))
    print(
        f"{properties['name'].decode()}, CUDA {runtime}, driver {driver}, CuPy {cupy.__version__}\n"
        f"{n / 1e6:.1f}M elements, p = {P}, digest of the mask {digest[:16]}"
    )
    for dtype in ("float16", "float32", "float64"):
        medians = race(contestants(n, dtype), options.rounds)
        copy = medians["copy, into out"]
        print(f"\n{dtype:36} {'ms':>8} {'GB/s':>8} {'x copy':>8}")
        for name, ms in medians.items():
            speed = 2 * n * cupy.dtype(dtype).itemsize / ms / 1e6
            print(f"{name:36} {ms:8.3f} {speed:8.0f} {ms / copy:8.2f}")
        cupy.get_default_memory_pool().free_all_blocks()


if __name__ == "__main__":
    main()
