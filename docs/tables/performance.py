"""Writes the tables and pictures of the performance page from the stored benchmark runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1]
sys.path.insert(0, str(DOCS.parent / "tests" / "benchmarks"))

import goals  # noqa: E402
import names  # noqa: E402
import plots  # noqa: E402
from contest import Times, times_of  # noqa: E402


def run(name: str) -> dict[str, Any]:
    return json.loads((DOCS / "results" / name).read_text(encoding="utf-8"))


RUN = run("bench.json")
# By the instruction set that anydrop's kernels were compiled for.
RUNS = {"AVX-512": RUN, "AVX2": run("bench-avx2.json")}

# The summary: what people use today, and the goal that compares anydrop with it.
SUMMARY = {
    "NumPy: `x * ((rng.random(x.shape) < keep) / keep)`": (
        "NumPy: times as fast as NumPy's expression"
    ),
    "the same, but anydrop writes into a given array": "... into a given array",
    "NumPy: `x * (1 + std * rng.standard_normal(...))`, both into a given array": (
        "NumPy, Gaussian dropout, into a given array: times as fast as NumPy's normals"
    ),
    "PyTorch: `F.dropout`, forward": "PyTorch, forward: times as fast as F.dropout",
    "PyTorch: `F.dropout`, forward and backward": (
        "PyTorch, forward and backward: times as fast as F.dropout"
    ),
    "PyTorch: `residual + F.dropout(x + bias)`, forward": (
        "PyTorch, dropout_add with a bias, forward: times as fast as three operations"
    ),
    "PyTorch: the same under `torch.compile`": (
        "PyTorch, dropout_add with a bias, forward: times as fast as torch.compile of the three"
    ),
    "JAX under `jit`: `jax.random.bernoulli`, threefry": (
        "JAX under jit: times as fast as jax.random.bernoulli, threefry"
    ),
    "JAX under `jit`: `jax.random.bernoulli`, rbg": (
        "JAX under jit: times as fast as jax.random.bernoulli, rbg"
    ),
}

# What the tables call contestants and measures whose names in the results are too short to read.
LABELS = {
    names.CAREFUL: "the same with float32 random numbers and a factor in the dtype of `x`",
    names.STORED: "`gradient * factor`, with the factor kept from the forward pass",
    names.THREEFRY: "`jax.random.bernoulli`, threefry",
    names.RBG: "`jax.random.bernoulli`, rbg",
    names.COMPILED: f"`torch.compile` of `{names.EAGER}`",
    names.WHOLE: "anydrop on the whole array, without Dask",
    names.JOINED: f"{names.CHUNKS}, joined to one array",
    names.KEPT.format("a layer with a seed (some hundred in all)"): (
        "kept for the backward pass, layer with a seed: bytes an element (a few hundred in all)"
    ),
    names.KEPT.format("autograd, of a tensor (some kB in all)"): (
        "kept for the backward pass, by autograd: bytes an element (a few thousand in all)"
    ),
    names.KEPT.format("a layer with a generator"): (
        "kept for the backward pass, layer with a generator: bytes an element"
    ),
    names.PEAK.format("with numba"): (
        "memory beyond the results of a forward and a backward pass, with numba: MB"
    ),
    names.PEAK.format("without"): (
        "memory beyond the results of a forward and a backward pass, without numba: MB"
    ),
    names.FIRST_CALL: "the first call in a process: seconds",
}
# What a contestant's name may end with, after its code.
ENDINGS = (", into out", ", one thread", ", two threads", ", all threads", ", NumPy")
ENDINGS += (", PyTorch", ", requires grad")
# The two kinds of goals that compare times; in the text of a goal, what follows is the other one.
FASTER, BESIDE = ": times as fast as ", ": time beside "


def unbroken(cell: str) -> str:
    """Return a number and its mark or bound with a space at which no line breaks."""
    return cell.replace(" ", "\N{NO-BREAK SPACE}") if len(cell) < 13 else cell


def table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, [":--", *([":-:"] * (len(columns) - 1))]]
    lines += [[name, *map(unbroken, cells)] for name, *cells in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def label(name: str) -> str:
    """Return the name of a contestant or a measure as a table shows it, with its code as code."""
    if name in LABELS:
        return LABELS[name]
    code = name
    while code.endswith(ENDINGS):
        code = code.rpartition(", ")[0]
    return f"`{code}`{name.removeprefix(code)}" if "(" in code or "." in code else name


def machine() -> str:
    columns = [{"date": one["date"], **one["machine"]} for one in RUNS.values()]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    return table(["", *RUNS], rows)


def outcomes() -> dict[str, dict[str, goals.Outcome]]:
    """Return the outcomes of each run by the texts of the goals."""
    found = {
        name: {one.text: one for one in goals.outcomes(times_of(one), one["measures"])}
        for name, one in RUNS.items()
    }
    wanted = {goal.text for goal in goals.GOALS} | goals.BOUNDS.keys()
    if not wanted <= found["AVX-512"].keys():
        raise ValueError("the run lacks contests or measures that goals are about: run it again")
    return found


def summary() -> str:
    found = outcomes().values()
    rows = [
        [what, *(f"{float(of[text].seen):.1f}" for of in found)] for what, text in SUMMARY.items()
    ]
    return table(["instead of", *RUNS], rows)


def reached(sign: str = "") -> str:
    """Return the table of the goals that compare in one way, or of the measures."""
    found = outcomes()
    rows, before = [], ""
    for text, one in found["AVX-512"].items():
        whole = before.replace(":", f", {text[4:]}:") if text.startswith("... ") else text
        before = whole
        kind = next((kind for kind in (FASTER, BESIDE) if kind in whole), "")
        if kind != sign:
            continue
        what, _, other = whole.partition(kind) if kind else (label(whole), "", "")
        if other:
            what += ", vs. " + (other.removesuffix("'s") if kind == BESIDE else other)
        seen = [of.get(text) for of in found.values()]
        marks = [f"{o.seen} {'✓' if o.met else '✗'}" if o else "" for o in seen]
        rows.append([what, one.bound.replace("<=", "≤").replace(">=", "≥"), *marks])
    return table(["", "goal", *RUNS], rows)


def processors() -> str:
    known = {"native": "this machine's own"} | {n: one.text for n, one in names.PROCESSORS.items()}
    found = RUN["processors"]
    dtypes = list(found["native"])
    rows = [
        [name, *(f"{found[key][d]:.2f} ({found[key][d] / found['native'][d]:.1f})" for d in dtypes)]
        for key, name in known.items()
        if key in found
    ]
    return table(["compiled for a processor", *dtypes], rows)


def contests(
    group: str, what: str | None = None, elements: int = 2**24, unit: str = "ns an element"
) -> str:
    """Return a table of a group's contests at p = 0.1, with a column for each dtype.

    Without `what`, a column is one contest of the group.
    """
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
            label(name),
            *(f"{one.seconds[name].median * factor:.{digits}f}" for one in found.values()),
        ]
        for name in contestants
    ]
    return table([unit.replace("us", "µs"), *found], rows)


def write(folder: Path, pictures: Path) -> None:
    """Write a file for each table, and the pictures."""
    folder.mkdir(exist_ok=True)
    tables = {
        "machine": machine(),
        "summary": summary(),
        "speedups": reached(FASTER),
        "relative": reached(BESIDE),
        "measures": reached(),
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
