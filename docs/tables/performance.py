"""Writes the tables and pictures of the page on performance from the runs that are kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1]
sys.path.insert(0, str(DOCS.parent / "tests" / "benchmarks"))

import goals  # noqa: E402
import plots  # noqa: E402
from contest import Times, times_of  # noqa: E402
from names import PROCESSORS  # noqa: E402


def run(name: str) -> dict[str, Any]:
    return json.loads((DOCS / "results" / name).read_text(encoding="utf-8"))


RUN = run("bench.json")
# By what its kernels were compiled for.
RUNS = {"AVX-512": RUN, "AVX2": run("bench-avx2.json")}


def table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, [":--", *([":-:"] * (len(columns) - 1))], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def machine() -> str:
    columns = [{"date": one["date"], **one["machine"]} for one in RUNS.values()]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    return table(["", *RUNS], rows)


def reached() -> str:
    found = {
        name: {one.text: one for one in goals.outcomes(times_of(one), one["measures"])}
        for name, one in RUNS.items()
    }
    wanted = {goal.text for goal in goals.GOALS} | goals.BOUNDS.keys()
    if not wanted <= found["AVX-512"].keys():
        raise ValueError("the run lacks contests or measures that goals are about: run it again")
    rows = []
    for text, one in found["AVX-512"].items():
        seen = [of.get(text) for of in found.values()]
        marks = [f"{o.seen} {'✓' if o.met else '✗'}" if o else "" for o in seen]
        rows.append([text, one.bound.replace("<=", "≤").replace(">=", "≥"), *marks])
    return table(["", "wanted", *RUNS], rows)


def processors() -> str:
    names = {"native": "this machine's own"} | {n: one.text for n, one in PROCESSORS.items()}
    found = RUN["processors"]
    dtypes = list(found["native"])
    rows = [
        [name, *(f"{found[key][d]:.2f} ({found[key][d] / found['native'][d]:.1f})" for d in dtypes)]
        for key, name in names.items()
        if key in found
    ]
    return table(["compiled for a processor", *dtypes], rows)


def contests(
    group: str, what: str | None = None, elements: int = 2**24, unit: str = "ns an element"
) -> str:
    """Return a table of a group's contests at p = 0.1, a column a dtype, or what they are about."""
    found: dict[str, Times] = {
        one.key.dtype if what else one.key.what: one
        for one in times_of(RUN)
        if (one.key.group, one.key.elements, one.key.p) == (group, elements, 0.1)
        and what in (one.key.what, None)
    }
    factor, digits = {"ns an element": (1e9 / elements, 2), "us a call": (1e6, 1)}[unit]
    contestants = next(iter(found.values())).seconds
    rows = [
        [
            f"`{name}`" if "(" in name or "." in name else name,
            *(f"{one.seconds[name].median * factor:.{digits}f}" for one in found.values()),
        ]
        for name in contestants
    ]
    return table(["", *found], rows)


def write(folder: Path, pictures: Path) -> None:
    """Write one file a table, and the pictures."""
    folder.mkdir(exist_ok=True)
    tables = {
        "machine": machine(),
        "goals": reached(),
        "processors": processors(),
        "numpy": contests("numpy", "forward"),
        "numpy_backward": contests("numpy", "backward"),
        "layouts": contests("layouts"),
        "torch": contests("torch", "forward"),
        "torch_backward": contests("torch", "forward and backward"),
        "sum": contests("sum", "forward"),
        "torch_sum": contests("torch", "sum"),
        "torch_sum_backward": contests("torch", "sum, forward and backward"),
        "mask": contests("mask", "forward"),
        "noise": contests("noise", "NumPy"),
        "torch_noise": contests("noise", "PyTorch"),
        "jax_noise": contests("noise", "JAX"),
        "zoneout": contests("zoneout", "forward"),
        "blocks": contests("blocks", "forward"),
        "jax": contests("jax", "forward"),
        "jax_gradient": contests("jax", "gradient"),
        "dask": contests("dask", "forward"),
        "small": contests("small", "forward", 8, "us a call"),
        "small_backward": contests("small", "forward and backward", 8, "us a call"),
    }
    for name, text in tables.items():
        (folder / f"performance_{name}.md").write_text(text, encoding="utf-8")
    pictures.mkdir(exist_ok=True)
    plots.draw(RUN, pictures)
