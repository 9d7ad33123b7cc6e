"""Compare dropout's speed on a CUDA device with a copy of the same bytes.

    python tests/benchmarks/bench_cuda.py

This times CuPy, PyTorch and JAX, one after the other. It skips a library that finds no device, and
prints the reason. Contestants take turns on the same array, several calls at a time, and their
results are checked. A sum with a residual moves three arrays, and a copy moves two. So the sum
takes at least as long as 1.5 copies. The program prints a table. If the environment variable OUT
names a folder, it also writes `bench_cuda.json` there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import traceback
from pathlib import Path
from typing import Any

import numpy as np
from on_cuda import COPY, LIBRARIES, SUM, AbsentError, Library, P

import anydrop

# How many calls to time together, which hides the time that the host takes to start a call.
CALLS = 20
DTYPES = ("float16", "float32", "float64")


def race(library: Library, x: np.ndarray, rounds: int) -> dict[str, float]:
    """Let the contestants take turns, and return the median milliseconds of a call of each."""
    calls = library.contestants(x)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(rounds + 1):
        for name, call in calls.items():
            if not round_:  # the first round is the warm-up
                check(name, call())
            ms = library.timed(call, CALLS) / CALLS
            if round_:
                times[name].append(ms)
    return {name: statistics.median(some) for name, some in times.items()}


def check(name: str, result: Any) -> None:
    """Check that a result is the dropout or the copy of an array of tens; residuals are zeros."""
    dropped, scale = (0.0, 1.0) if name in (COPY, SUM) else (P, 1 / (1 - P))
    kept = abs(result.reshape(-1) - 10 * scale) < 0.02
    share = float((~kept).sum()) / kept.shape[0]
    if not bool((kept | (result.reshape(-1) == 0)).all()) or abs(share - dropped) > 1e-2:
        raise AssertionError(f"{name}: no dropout of tens, {share:.3f} of them dropped")


def rows(library: Library, elements: int, rounds: int) -> list[dict[str, Any]]:
    """Return the times of a library's contestants for each dtype."""
    found = []
    for dtype in DTYPES:
        x = np.full(elements, 10, dtype)  # no zeros, so that a zero means dropped
        medians = race(library, x, rounds)
        arrays = 2  # number of arrays that are read or written, without a bias
        for name, ms in medians.items():
            arrays = 3 if name == SUM else arrays
            found.append(
                {
                    "library": library.name,
                    "dtype": dtype,
                    "name": name,
                    "ms": ms,
                    "GB/s": arrays * x.nbytes / ms / 1e6,
                    "times a copy": ms / medians[COPY],
                }
            )
        library.release()
    return found


def printed(found: list[dict[str, Any]]) -> None:
    """Print a library's rows in a table for each dtype."""
    for row in found:
        if row["name"] == COPY:
            print(f"\n{row['library']}, {row['dtype']:22} {'ms':>8} {'GB/s':>8} {'x copy':>8}")
        print(f"  {row['name']:34} {row['ms']:8.3f} {row['GB/s']:8.0f} {row['times a copy']:8.2f}")


def device() -> str:
    """Return the device's name and its driver's version, from nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        return "no nvidia-smi here"
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return " ".join((done.stdout or done.stderr).split()) or "nvidia-smi says nothing"


def main(arguments: list[str] | None = None) -> int:
    """Run the races, and return 1 if a library that has a device failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--elements", type=int, default=2**26, help="of each dtype (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="of each contestant (%(default)s)")
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    options = parser.parse_args(arguments)
    mask = anydrop.Mask.from_seed((options.elements,), P, seed=0)
    report: dict[str, Any] = {"device": device(), "elements": options.elements, "p": P}
    report |= {"digests": {}, "rows": [], "skipped": {}, "failed": {}}
    print(f"{report['device']}; {options.elements / 1e6:.1f}M elements, p = {P}")
    for name in options.libraries:
        try:
            library = LIBRARIES[name]()
        except AbsentError as error:
            report["skipped"][name] = str(error)
            print(f"\n{name}: skipped, {error}")
            continue
        try:
            report["digests"][library.name] = mask.digest(like=library.like)
            with library.around():
                found = rows(library, options.elements, options.rounds)
        except Exception as error:  # go on with the other libraries
            traceback.print_exc()
            report["failed"][name] = repr(error)
            print(f"\n{name}: FAILED, {error!r}")
            continue
        report["rows"] += found
        printed(found)
    if len(set(report["digests"].values())) > 1:
        report["failed"]["digests"] = "the libraries drew different masks"
    for library, digest in report["digests"].items():
        print(f"\n{library}: digest of the mask {digest[:16]}")
    if "OUT" in os.environ:
        path = Path(os.environ["OUT"], "bench_cuda.json")
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(bool(report["failed"]))


if __name__ == "__main__":
    raise SystemExit(main())
