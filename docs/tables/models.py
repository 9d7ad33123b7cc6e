"""Writes the table of model families from docs/results/model_families.json."""

import json
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results"


def write(folder):
    """Write the table into a folder: a row for each family, with what is left in words."""
    rows = json.loads((RESULTS / "model_families.json").read_text(encoding="utf-8")).values()
    ways = [name for name in next(iter(rows)) if name not in ("model", "left")]
    lines = [
        ["model", *(f"`{way}`" if "(" in way else way for way in ways), "what is left"],
        [":--", *[":-:"] * len(ways), ":--"],
        *([row["model"], *(str(row[way]) for way in ways), row["left"]] for row in rows),
    ]
    folder.mkdir(exist_ok=True)
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
    (folder / "model_families.md").write_text(text, encoding="utf-8")
