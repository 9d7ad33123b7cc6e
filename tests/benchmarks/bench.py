"""Compare dropout's speed with a multiply and with other implementations: ``nox -s bench``.

Contestants take turns within one run. They write to poisoned memory, and the contest checks their
results. The goals are ratios of medians, because machines differ and are shared.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import contests_dask
import contests_jax
import contests_noise
import contests_numpy
import contests_small
import contests_torch
import measures
import numpy as np
import plots
import report
import torch
from contest import Contest, Times
from rich.console import Console
from rich.progress import track

import anydrop
from anydrop.backends.numpy import compiled

SIZES = [2**14, 2**20, 2**24, 2**27]
DTYPES = ["float16", "float32", "float64"]


def contests(sizes: list[int], dtypes: list[str]) -> Iterator[Contest]:
    """Yield all contests, one at a time, because the arrays of one fill much of the memory."""
    large = [n for n in sizes if n >= 2**24]
    yield from contests_small.calls()
    yield from contests_numpy.crossovers(dtypes)
    yield from contests_numpy.passes(sizes, dtypes)
    for n in large[:1]:
        yield from contests_numpy.shared(n)
        yield from contests_numpy.layouts(n)
        yield from contests_numpy.others(n)
    yield from contests_torch.arrays(sizes, dtypes)
    yield from contests_torch.modules()
    yield from contests_torch.models()
    for n in large[:1]:
        yield from contests_torch.sums(n)
        yield from contests_noise.contests(n)
    # JAX has float64 only if a program enables it for all its arrays.
    yield from contests_jax.arrays(sizes, [d for d in dtypes if d != "float64"])
    yield from contests_dask.arrays(large)


def rounds_of(contest: Contest, rounds: int) -> int:
    """Return the number of rounds of a contest; the longest arrays get a third as many."""
    return rounds if contest.key.elements < 2**27 else max(3, rounds // 3)


def main() -> None:
    """Run the contests, print the results, and write a JSON file and pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="elements")
    parser.add_argument("--dtypes", nargs="+", default=DTYPES, choices=DTYPES)
    parser.add_argument("--rounds", type=int, default=9, help="of each contest (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder to write")
    options = parser.parse_args()

    torch.set_num_threads(anydrop.get_num_threads())
    for ones in (np.ones(2**21, "f4"), torch.ones(2**21)):  # imports numba's kernels
        anydrop.dropout(ones, 0.5, seed=0)
    console = Console()
    if not console.is_terminal:
        console = Console(width=110)
    machine = measures.description()
    console.print(report.machine(machine))
    times: list[Times] = []
    every = contests(options.sizes, options.dtypes)
    for contest in track(every, "contests", console=console):
        times.append(contest.run(rounds_of(contest, options.rounds)))
        console.print(report.contest(times[-1]))
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = {
            "date": date.today().isoformat(),
            "machine": machine,
            "crossover": compiled.CROSSOVER,
            "measures": measures.memory() | measures.first_calls(options.rounds),
            "processors": measures.processors(folder),
            "contests": [
                {**one.key._asdict(), "seconds": {n: list(q) for n, q in one.seconds.items()}}
                for one in times
            ],
        }
    options.out.mkdir(exist_ok=True)
    (options.out / "bench.json").write_text(report.as_json(found), encoding="utf-8")
    plots.draw(found, options.out)
    console.print(report.goals(found))
    console.print(f"written: {', '.join(sorted(str(file) for file in options.out.iterdir()))}")


if __name__ == "__main__":
    main()
