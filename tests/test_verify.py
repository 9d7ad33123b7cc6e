"""The command that compares this machine with the published masks."""

import re

import numpy as np
import pytest
from devices import BESIDE_THE_FIRST

import anydrop
from anydrop import cli, verify
from anydrop.backends.base import Backend
from anydrop.backends.numpy.backend import NumpyBackend


def test_its_masks_are_the_published_ones(vectors):
    names = ("seed", "step", "shape", "p", "sha256")
    published = [tuple(case[name] for name in names) for case in vectors["masks"]]
    assert [(*p[:2], list(p.shape), *p[3:]) for p in verify.PUBLISHED] == published


@pytest.mark.parametrize("subjects", BESIDE_THE_FIRST)
def test_every_subject_has_a_row(subjects, capsys):
    assert cli.main(["verify"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.endswith(" ok")]
    names = {backend: re.escape(backend.name) for s in subjects for backend in (s.backend,)}
    for backend in [b for b in names if type(b).__name__ != "HostCuda"]:
        pattern = rf"{names[backend]} .* {re.escape(backend.kernel)} .* ok"
        assert any(re.fullmatch(pattern, row) for row in rows), pattern
    assert lines[-1].endswith(f"all {len(rows)} agree.")
    assert len({row.split()[-2] for row in rows}) == 1


def test_one_wrong_bit_fails(monkeypatch, capsys):
    keep = NumpyBackend.keep

    def wrong(self, mask, like):
        kept = keep(self, mask, like)
        kept.flat[-1] ^= len(mask.shape) == 3
        return kept

    monkeypatch.setattr(NumpyBackend, "keep", wrong)
    assert verify.run() == 1
    out = capsys.readouterr().out
    assert "DIFFERS" in out
    assert "failed or differ from the published masks" in out


def test_a_broken_library_fails_and_hides_no_other(monkeypatch, capsys):
    anydrop.backends.load.cache_clear()
    numpy = anydrop.backends._REGISTRY["numpy"]
    broken = {"array_api_compat": "no_such_module:Backend", "numpy": numpy}
    monkeypatch.setattr(anydrop.backends, "_REGISTRY", broken)
    assert verify.run() == 1
    out = capsys.readouterr().out
    assert "FAILED: ModuleNotFoundError" in out
    assert "chunked NumPy  4e10e0c081350e29  ok" in out


def test_a_library_that_can_not_draw_fails(monkeypatch, capsys):
    def broken(self, recipe, like):
        raise RuntimeError("no driver")

    monkeypatch.setattr(NumpyBackend, "keep", broken)
    assert verify.run() == 1
    assert "FAILED: RuntimeError('no driver')" in capsys.readouterr().out


def test_a_library_that_is_not_here_is_absent_not_passed(monkeypatch, capsys):
    monkeypatch.setattr(anydrop.backends, "_REGISTRY", {"no_such_library": "a:B"})
    assert verify.run() == 0
    assert "absent" in capsys.readouterr().out


def test_a_library_without_a_device_decides_nothing(monkeypatch, capsys):
    monkeypatch.setattr(NumpyBackend, "probes", lambda self: [])
    monkeypatch.setattr(
        anydrop.backends, "_REGISTRY", {"numpy": anydrop.backends._REGISTRY["numpy"]}
    )
    assert verify.run() == 0
    out = capsys.readouterr().out
    assert "no device" in out
    assert "all 0 agree" in out


def test_probes_draw():
    for backend, like in (
        *NumpyBackend().probes(),
        *Backend("numpy", "array_api_compat.numpy").probes(),
    ):
        kept = backend.keep(anydrop.Mask.from_seed((9,), 0.5, seed=0), like)
        assert np.array_equal(kept, anydrop.Mask.from_seed((9,), 0.5, seed=0).keep(np.empty(0)))
