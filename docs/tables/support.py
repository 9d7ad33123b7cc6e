"""Writes the tables of docs/reference/support.md, from the table that the tests use too."""

from anydrop.backends import UNSERVED
from anydrop.backends.capabilities import BY_THE_STANDARD, FEATURES, LIBRARIES
from anydrop.testing import DTYPES

TITLES = {
    "numpy": "NumPy",
    "cupy": "CuPy",
    "torch": "PyTorch",
    "jax": "JAX",
    "dask": "Dask",
    "array_api_strict": "array-api-strict",
    "cubed": "Cubed",
}
# Two tables, so that each fits the width of a phone.
CALLS = ("out", "rng", "gradients", "device")
PROGRAMS = ("traced", "parts", "eager")


def mark(cell):
    return ("✓" if cell.works else "✗") + ("*" if cell.works and cell.note else "")


def title(name):
    return TITLES.get(name, name)


def item(name, note):
    return f"- {name}: {note[0].upper() + note[1:]}."


def table(columns):
    """Return a table with a row for each library."""
    rows = [["", *(FEATURES[column] for column in columns)], ["---", *([":-:"] * len(columns))]]
    for name, library in LIBRARIES.items():
        rows.append([title(name), *(mark(library.features[column]) for column in columns)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def notes():
    """Return a list for each library: why something does not work, or how it works."""
    lists = []
    for name, library in LIBRARIES.items():
        cells = [(FEATURES[key], library.features[key]) for key in (*CALLS, *PROGRAMS)]
        said = [item(column, cell.note) for column, cell in cells if cell.note]
        lists.append("\n".join([f"**{title(name)}**", "", *said]))
    return "\n\n".join(lists)


def dtypes():
    """Return the dtypes, and a list of what is special. Dtypes with one note are together."""
    lines = [", ".join(f"`{dtype}`" for dtype in DTYPES) + ".", ""]
    for name, library in LIBRARIES.items():
        together = {}
        for dtype in DTYPES:
            if dtype in library.dtypes:
                together.setdefault(library.dtypes[dtype], []).append(f"`{dtype}`")
        for cell, names in together.items():
            note = cell.note if cell.works else f"not supported, because {cell.note}"
            lines.append(item(f"**{title(name)}**, {', '.join(names)}", note))
    return "\n".join(lines)


def others(notes):
    """Return a list of libraries, each with its note."""
    return "\n".join(item(f"**{title(name)}**", note) for name, note in notes.items())


def write(folder):
    """Write two tables of features, the notes to them, the dtypes, and the other libraries."""
    folder.mkdir(exist_ok=True)
    texts = {
        "calls": table(CALLS),
        "programs": table(PROGRAMS),
        "notes": notes(),
        "dtypes": dtypes(),
        "by_the_standard": others(BY_THE_STANDARD),
        "unserved": others(UNSERVED),
    }
    for name, text in texts.items():
        (folder / f"{name}.md").write_text(text + "\n", encoding="utf-8")
