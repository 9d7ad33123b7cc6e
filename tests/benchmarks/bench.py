"""How fast dropout is, beside a multiply and beside what people use today.

The contestants take turns within one run, each on fresh numbers into poisoned outputs that are
checked afterwards; what is printed are medians and their ratios. Run it by ``nox -s bench``.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from anydrop import Mask, get_num_threads
from anydrop.backends._threads import Pool
from anydrop.backends.numpy import NumpyBackend

if TYPE_CHECKING:
    from collections.abc import Callable

P = 0.1
KEEP = 1 - P


def multiply_on(pool: Pool, x: np.ndarray, out: np.ndarray) -> None:
    """Multiply on as many threads as dropout uses: the least that any kernel must do."""

    def work(a: int, b: int) -> None:
        np.multiply(x[a:b], np.float32(1 / KEEP), out=out[a:b])

    pool.run(work, x.size, 2**20)


def contestants(n: int, with_torch: bool) -> dict[str, Callable[[], np.ndarray]]:
    """Return name -> a call that gives a result to check; the first is the measure."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(n, dtype=np.float32) + 10  # no zeros, so that a zero means dropped
    out = np.empty_like(x)
    pool = Pool()
    mask = Mask.from_seed((n,), P, seed=0)
    fused, plain = NumpyBackend(use_numba=True, pool=pool), NumpyBackend(use_numba=False, pool=pool)

    def into(call: Callable[[], Any]) -> Callable[[], np.ndarray]:
        def poisoned() -> np.ndarray:
            call()
            return out

        return poisoned

    calls = {
        "multiply, into out": into(lambda: multiply_on(pool, x, out)),
        "anydrop with numba, into out": into(lambda: fused.select(x, mask, mask.scale, out=out)),
        "anydrop with numba": lambda: fused.select(x, mask, mask.scale),
        "anydrop without numba": lambda: plain.select(x, mask, mask.scale),
        "x * ((rng.random(x.shape) < keep) / keep)": lambda: (
            x * ((rng.random(x.shape) < KEEP) / KEEP)
        ),
    }
    if with_torch:
        import torch

        torch.set_num_threads(get_num_threads())
        tensor = torch.from_numpy(x)
        calls["torch.nn.functional.dropout"] = lambda: torch.nn.functional.dropout(
            tensor, P
        ).numpy()
    calls["out"] = lambda: out  # not timed: what is poisoned
    return calls


def race(calls: dict[str, Callable[[], np.ndarray]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each contestant, in turns."""
    out = calls.pop("out")()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(rounds + 1):
        for name, call in calls.items():
            out.fill(np.nan)
            start = time.perf_counter()
            result = call()
            elapsed = time.perf_counter() - start
            dropped = 0.0 if "multiply" in name else P
            assert abs((result == 0).mean() - dropped) < 1e-3, name
            assert abs(result.mean() / (10 / KEEP * (1 - dropped)) - 1) < 1e-2, name
            if round_:  # the first warms up
                seconds[name].append(elapsed)
    return {name: statistics.median(times) for name, times in seconds.items()}


def extra_memory(n: int, use_numba: bool) -> float:
    """Return the MB that a forward and a backward allocate at most, beyond their results."""
    import tracemalloc

    backend = NumpyBackend(use_numba=use_numba)
    x, mask = np.ones(n, np.float32), Mask.from_seed((n,), P, seed=0)
    backend.select(x[:1000], Mask.from_seed((1000,), P, seed=0), 1.0)
    tracemalloc.start()
    y = backend.select(x, mask, mask.scale)
    dx = backend.select(y, mask, mask.scale)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return (peak - y.nbytes - dx.nbytes) / 1e6


def import_time(rounds: int = 15) -> float:
    """Return the median ms that ``import anydrop`` adds to ``import numpy``."""
    code = (
        "import time, numpy; t = time.perf_counter(); import anydrop; print(time.perf_counter()-t)"
    )
    command = [sys.executable, "-c", code]
    times = [
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(rounds)
    ]
    return statistics.median(times) * 1e3


def main() -> None:
    """Run the race and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--elements", type=int, default=2**24, help="float32 (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="of each contestant (%(default)s)")
    parser.add_argument("--torch", action="store_true", help="race against PyTorch too")
    options = parser.parse_args()
    n = options.elements

    print(
        f"{n / 1e6:.1f}M float32, p = {P}, {get_num_threads()} threads, NumPy {np.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}"
    )
    medians = race(contestants(n, options.torch), options.rounds)
    multiply, *_ = medians.values()
    ours = medians["anydrop with numba"]
    print(f"{'':45} {'ns/element':>10} {'x multiply':>10} {'x anydrop':>10}")
    for name, seconds in medians.items():
        nanoseconds, times, against = seconds / n * 1e9, seconds / multiply, seconds / ours
        print(f"{name:45} {nanoseconds:10.2f} {times:10.2f} {against:10.2f}")
    for use_numba in (True, False):
        print(
            f"memory of a forward and a backward beyond their results, "
            f"{'with' if use_numba else 'without'} numba: {extra_memory(n, use_numba):.2f} MB"
        )
    print(f"import anydrop adds {import_time():.1f} ms to import numpy")


if __name__ == "__main__":
    main()
