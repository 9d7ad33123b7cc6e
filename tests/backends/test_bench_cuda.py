"""The bench of devices: it checks what it times, and says what it left out and why."""

import json
from functools import partial

import bench_cuda
import numpy as np
import pytest
from devices import MISSING
from on_cuda import COPY, LIBRARIES, SUM, AbsentError, Library, P

import anydrop

FEW = ["--elements", "20000", "--rounds", "2"]


def on_host(**calls):
    """Return a library of NumPy's arrays, a call of which takes 2 ms, one of a copy 1 ms."""

    def contestants(x):
        return {COPY: x.copy} | {name: partial(call, x) for name, call in calls.items()}

    def timed(call, n):
        return n * (1.0 if call.__name__ == "copy" else 2.0)

    def named(x):
        made = contestants(x)
        for name, call in made.items():
            if name != COPY:
                call.__name__ = name
        return made

    return Library("numpy", named, timed, np.empty(0), lambda: None)


def run(monkeypatch, tmp_path, arguments=FEW):
    monkeypatch.setenv("OUT", str(tmp_path))
    status = bench_cuda.main(arguments)
    return status, json.loads((tmp_path / "bench_cuda.json").read_text())


def ours(x):
    return anydrop.dropout(x, P, seed=0)


def test_what_is_here_is_timed_and_the_rest_is_said_to_be_missing(monkeypatch, tmp_path, capsys):
    status, report = run(monkeypatch, tmp_path)
    assert status == 0
    assert len(report["digests"]) + len(report["skipped"]) == len(LIBRARIES)
    kinds = {"cupy": "cupy", "torch": "torch-cuda", "jax": "jax-gpu"}
    assert report["skipped"].keys() == {name for name, kind in kinds.items() if kind in MISSING}
    out = capsys.readouterr().out
    for name, reason in report["skipped"].items():
        assert f"{name}: skipped, {reason}" in out


def test_figures(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench_cuda, "LIBRARIES", {"numpy": lambda: on_host(ours=ours)})
    status, report = run(monkeypatch, tmp_path, [*FEW, "--libraries", "numpy"])
    assert status == 0
    copies, drops = report["rows"][::2], report["rows"][1::2]
    assert [row["dtype"] for row in drops] == list(bench_cuda.DTYPES)
    for copy, drop, size in zip(copies, drops, (2, 4, 8), strict=True):
        assert (copy["ms"], copy["times a copy"]) == (1.0, 1.0)
        assert (drop["ms"], drop["times a copy"]) == (2.0, 2.0)
        assert drop["GB/s"] == pytest.approx(2 * size * 20_000 / 2e-3 / 1e9)
    mask = anydrop.Mask.from_seed((20_000,), P, seed=0)
    assert report["digests"] == {"numpy": mask.digest()}
    assert "numpy, float32" in capsys.readouterr().out


def test_a_residual_is_one_array_more(monkeypatch, tmp_path):
    calls = {"ours": ours, SUM: np.copy, "sum": ours}
    monkeypatch.setattr(bench_cuda, "LIBRARIES", {"numpy": lambda: on_host(**calls)})
    status, report = run(monkeypatch, tmp_path, [*FEW, "--libraries", "numpy"])
    assert status == 0
    moved = [row["GB/s"] * row["ms"] for row in report["rows"][:4]]
    assert moved == pytest.approx([2 * 0.04, 2 * 0.04, 3 * 0.04, 3 * 0.04])


@pytest.mark.parametrize("cheat", [np.copy, np.zeros_like, lambda x: ours(x) * x.dtype.type(1.01)])
def test_a_cheat_fails_and_the_others_are_timed(cheat, monkeypatch, tmp_path):
    def absent():
        raise AbsentError("it is elsewhere")

    libraries = {"bad": lambda: on_host(cheat=cheat), "none": absent}
    libraries["good"] = lambda: on_host(ours=ours)
    monkeypatch.setattr(bench_cuda, "LIBRARIES", libraries)
    status, report = run(monkeypatch, tmp_path, [*FEW, "--libraries", *libraries])
    assert status == 1
    assert "no dropout of tens" in report["failed"]["bad"]
    assert report["skipped"] == {"none": "it is elsewhere"}
    assert len(report["rows"]) == 2 * len(bench_cuda.DTYPES)
