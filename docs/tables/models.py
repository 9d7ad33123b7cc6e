"""Writes the table of model families from docs/results/model_families.json."""

import json
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results"
HEADINGS = {
    "before": "before",
    "convert(model)": "`convert`",
    "convert(model, functional=True)": "`functional=True`",
}


def write(folder):
    """Write the table into a folder: a row for each family, with what is left in words."""
    rows = json.loads((RESULTS / "model_families.json").read_text(encoding="utf-8")).values()
    lines = [
        ["model", *HEADINGS.values(), "what is left"],
        [":--", *[":-:"] * len(HEADINGS), ":--"],
        *([row["model"], *(str(row[way]) for way in HEADINGS), row["left"]] for row in rows),
    ]
    folder.mkdir(exist_ok=True)
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
    (folder / "model_families.md").write_text(text, encoding="utf-8")
