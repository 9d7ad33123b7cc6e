"""Writes the support matrix of docs/reference/support.md from the table that the tests use too."""

from anydrop.backends import UNSERVED
from anydrop.backends.capabilities import BY_THE_STANDARD, FEATURES, LIBRARIES, yes
from anydrop.testing import DTYPES


def mark(cell):
    return ("✓" if cell.works else "✗") + ("*" if cell.works and cell.note else "")


def table(columns, rows):
    lines = [["", *columns], ["---", *([":-:"] * len(columns))], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cells(library, names):
    return [
        getattr(library, "features" if names is FEATURES else "dtypes").get(n, yes()) for n in names
    ]


def notes(names):
    for name, library in LIBRARIES.items():
        said = [
            f"{names[n]}: {cell.note}"
            for n, cell in zip(names, cells(library, names), strict=True)
            if cell.note
        ]
        if said:
            yield f"{name}\n: " + "\n\n  ".join(said) + "\n"


def write(folder):
    """Write one file for the features and one for the dtypes, and two of the other libraries."""
    folder.mkdir(exist_ok=True)
    for file, names in (("features", FEATURES), ("dtypes", {name: f"`{name}`" for name in DTYPES})):
        rows = [[f"**{name}**", *map(mark, cells(row, names))] for name, row in LIBRARIES.items()]
        text = "\n\n".join([table(names.values(), rows), *notes(names)])
        (folder / f"{file}.md").write_text(text + "\n", encoding="utf-8")
    for file, said in (("by_the_standard", BY_THE_STANDARD), ("unserved", UNSERVED)):
        text = "\n".join(f"{name}\n: {text}\n" for name, text in said.items())
        (folder / f"{file}.md").write_text(text, encoding="utf-8")
