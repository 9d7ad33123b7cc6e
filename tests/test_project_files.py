"""What the project's own files say of it: versions that agree, and files that are there."""

import re
from pathlib import Path

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


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/how_it_is_built.md"])
def test_that_named_files_are_there(page):
    places = (ROOT, *(ROOT / "anydrop" / part for part in ("", "backends", "backends/numpy")))
    assert not missing((ROOT / page).read_text(), *places)


def test_that_a_missing_file_is_seen():
    assert missing("`anydrop/cli.py`, `anydrop/no/` and `none.py`", ROOT) == [
        "anydrop/no/",
        "none.py",
    ]
