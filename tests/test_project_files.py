"""What the project's own files say of it: versions that agree, and files that are there."""

import re
import tarfile
import zipfile
from pathlib import Path

import hatchling.build
import pytest

import anydrop

ROOT = Path(anydrop.__file__).parents[1]
# A path in backticks: it has a folder or an extension, and nothing to be filled in.
PATH = re.compile(r"`([\w./-]+(?:/|\.(?:py|md|toml|cu)))`")


def missing(text, *places):
    """Return the paths that a text names and that are in none of these places."""
    named = PATH.findall(text)
    assert named
    return [path for path in named if not any((place / path).exists() for place in places)]


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.*)$", text, re.MULTILINE) == [anydrop.__version__]


@pytest.mark.parametrize(
    "page",
    [
        "CONTRIBUTING.md",
        "RELEASING.md",
        "docs/explanation/how_it_is_built.md",
        "docs/how_to/variant.md",
    ],
)
def test_that_named_files_are_there(page):
    places = (ROOT, *(ROOT / "anydrop" / part for part in ("", "backends", "backends/numpy")))
    assert not missing((ROOT / page).read_text(), *places)


def test_that_a_missing_file_is_seen():
    assert missing("`anydrop/cli.py`, `anydrop/no/` and `none.py`", ROOT) == [
        "anydrop/no/",
        "none.py",
    ]


def test_what_a_wheel_and_a_source_distribution_bring(tmp_path, monkeypatch):
    """All of the package that is not made at run time: programs, the kernels of CUDA, the table."""
    monkeypatch.chdir(ROOT)
    with zipfile.ZipFile(tmp_path / hatchling.build.build_wheel(str(tmp_path))) as wheel:
        in_wheel = wheel.namelist()
    with tarfile.open(tmp_path / hatchling.build.build_sdist(str(tmp_path))) as source:
        in_source = [name.partition("/")[2] for name in source.getnames()]
    files = {p.relative_to(ROOT).as_posix() for p in (ROOT / "anydrop").rglob("*") if p.is_file()}
    files = {name for name in files if "__pycache__" not in name}
    assert files >= {"anydrop/core/normals.bin", "anydrop/backends/cupy/philox.cu"}
    assert files <= set(in_wheel)
    assert files <= set(in_source)
    assert "tests/vectors/normals_v1.json" in in_source
