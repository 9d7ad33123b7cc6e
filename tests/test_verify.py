"""The command that compares this machine with the published masks."""

import re

import numpy as np
import pytest
from devices import BESIDE_THE_FIRST

import anydrop
from anydrop import cli, verify
from anydrop.backends.base import Backend
from anydrop.backends.numpy.backend import NumpyBackend
from anydrop.core import stream


def test_its_masks_are_the_published_ones(vectors):
    names = ("seed", "step", "shape", "p", "sha256")
    published = [tuple(case[name] for name in names) for case in vectors["masks"]]
    assert [(*p[:2], list(p.shape), *p[3:]) for p in verify.PUBLISHED] == published


def test_its_noise_is_the_published_one(normal_vectors):
    def listed(noise):
        recipe, window = noise.recipe, noise.recipe.window
        return {
            **{"relative": noise.relative, "std": noise.std, "step": recipe.step},
            **{"shape": list(recipe.shape), "shared_axes": list(recipe.shared_axes)},
            "window": window and [list(window.offset), list(window.shape)],
            **{"key": list(recipe.key), "float32": noise.float32, "float64": noise.float64},
        }

    published = [dict(case) for case in normal_vectors["noise"]]
    for case in published:
        case["key"] = list(stream.key_of(case.pop("seed")))
    assert list(map(listed, verify.PUBLISHED_NOISE)) == published


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
    for column in (-4, -3, -2):
        assert len({row.split()[column] for row in rows} - {"none"}) == 1
    without = [row for row in rows if " none " in row]
    assert all("array_api_strict.Device('no_" in row for row in without)


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
    assert "failed or differ from what is published" in out


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_one_wrong_bit_of_noise_fails(name, monkeypatch, capsys):
    perturb = NumpyBackend.perturb

    def wrong(self, x, *arguments):
        y = perturb(self, x, *arguments)
        if x.dtype == name:
            y.flat[-1] = np.nextafter(y.flat[-1], y.dtype.type(0))
        return y

    monkeypatch.setattr(NumpyBackend, "perturb", wrong)
    assert verify.run() == 1
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("numpy"))
    _, single, double, result = row.split()[-4:]
    assert result == "DIFFERS"
    assert (name == "float32") == (single != "1886e91e0298e743")
    assert (name == "float64") == (double != "3807e4ee4fad58c7")


def test_a_device_that_says_it_has_float64_must_draw_it(monkeypatch, capsys):
    def refusing(self, x, like):
        if x.dtype == "float64":
            raise TypeError("no float64 today")
        return x

    monkeypatch.setattr(NumpyBackend, "from_numpy", refusing)
    assert verify.run() == 1
    assert "FAILED: TypeError('no float64 today')" in capsys.readouterr().out


def test_a_broken_library_fails_and_hides_no_other(monkeypatch, capsys):
    anydrop.backends.load.cache_clear()
    numpy = anydrop.backends._REGISTRY["numpy"]
    broken = {"array_api_compat": "no_such_module:Backend", "numpy": numpy}
    monkeypatch.setattr(anydrop.backends, "_REGISTRY", broken)
    assert verify.run() == 1
    out = capsys.readouterr().out
    assert "FAILED: ModuleNotFoundError" in out
    assert re.search("chunked NumPy +4e10e0c081350e29 .* ok", out)


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
