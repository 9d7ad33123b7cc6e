"""The pages of the documentation: blocks that run, links that lead somewhere, short sentences."""

import re
from pathlib import Path

import pytest

import anydrop

ROOT = Path(anydrop.__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    *ROOT.glob("*.md"),
    *(p for p in DOCS.rglob("*.md") if not {"_build", "_tables", "generated"} & {*p.parts}),
]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))

BLOCK = re.compile(r"^( *)```+\{?([\w-]*)\}?.*\n((?:.*\n)*?)\1```+ *$", re.MULTILINE)
REASON = re.compile(r"<!-- Not run: \S.*-->\n+ *$")
LONGEST = 40  # words


def blocks(text):
    """Yield what is before each fenced block, the block's language or directive, and the block."""
    for found in BLOCK.finditer(text):
        yield text[: found.start()], found[2], found[0]


def not_run(text):
    """Return the Python blocks that nothing runs and that don't say why."""
    return [
        block
        for before, language, block in blocks(text)
        if language in ("python", "py", "pycon", "python3")
        and (">>>" not in block or "+SKIP" in block)
        and not REASON.search(before)
    ]


def sentences(text):
    """Yield the sentences of a page, without its code, tables and headings."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    # Of a directive such as a note or a figure the text counts, without its options.
    text = BLOCK.sub(lambda m: prose_of(m[3]) if m[2] in TEXTS else "\n\n", text)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"^( *\||#|\().*$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"^ *([-*:]|\d+\.) ", "\n\n", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`", "Code", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    for paragraph in re.split(r"\n\s*\n", text):
        yield from re.split(
            r"(?<=[.!?:])[*_)]*\s+(?=[^a-z\d]|numba|anydrop)", " ".join(paragraph.split())
        )


TEXTS = {"note", "tip", "warning", "figure", "admonition", "important"}


def prose_of(directive):
    return re.sub(r"^:.*$", "", directive, flags=re.MULTILINE)


def too_long(text):
    return [s for s in sentences(text) if len(re.findall(r"[^\W_][\w'.-]*", s)) > LONGEST]


@every_page
def test_that_python_blocks_run(page):
    assert not_run(page.read_text(encoding="utf-8")) == []


@every_page
def test_that_no_sentence_is_too_long(page):
    assert too_long(page.read_text(encoding="utf-8")) == []


@every_page
def test_that_links_lead_to_files(page):
    """As a repository viewer reads them. Sphinx checks them too, with their anchors."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\((?![a-z]+:|#|/)([^)#\s]+)", text)
    for target in [*links, *re.findall(r'<img .*src="([^"]+)"', text)]:
        if not {"_pictures", "_tables"} & {*Path(target).parts}:
            assert (page.parent / target).exists(), target


def test_that_included_examples_are_tested():
    tests = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")
    )
    included = {
        Path(name).stem
        for page in PAGES
        for name in re.findall(r"\{literalinclude\} (\S+\.py)", page.read_text(encoding="utf-8"))
    }
    assert included
    assert [name for name in sorted(included) if not re.search(rf"\b{name}\b", tests)] == []


def test_that_these_tests_can_fail():
    assert not_run("```python\nx = 1\n```\n")
    assert not_run("```python\n>>> x = 1  # doctest: +SKIP\n```\n")
    assert not not_run("<!-- Not run: it needs a GPU. -->\n```python\nx = 1\n```\n")
    assert not not_run("```python\n>>> x = 1\n\n```\n\n```console\n$ python\n```\n")
    assert len(too_long("# A heading\n\nThis one is short. " + "word " * 41 + ".\n")) == 1
    assert not too_long("One. " * 50 + "\n\n```python\n" + "word " * 50 + "\n```\n")
    assert len(too_long("- " + "`a b` word " * 21 + "\n- short\n")) == 1
