"""Writes the table of situations in PyTorch, from what the tests found: docs/results."""

import json
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results"
HEADINGS = {
    "nn.Dropout(p)": "`nn.Dropout`",
    "Dropout(p)": "no seed",
    "Dropout(p, seed=0)": "seed",
}
RIGHT, FOLLOWS, REFUSED = "right", "follows the generator", "refused: "


def cell(found, messages):
    """Return a cell; it refers to the message of an error by its number."""
    if found == RIGHT:
        return "✓"
    if found == FOLLOWS:
        return found
    if not found.startswith(REFUSED):
        return f"**{found}**"
    message = found.removeprefix(REFUSED)
    if message not in messages:
        messages.append(message)
    return f"refused ({messages.index(message) + 1})"


def write(folder):
    """Write the table, and below it the messages of errors."""
    table = json.loads((RESULTS / "situations.json").read_text(encoding="utf-8"))
    messages = []
    lines = [["", *HEADINGS.values()], [":--", *[":-:"] * len(HEADINGS)]]
    lines += [
        [row["situation"].removesuffix("."), *(cell(row[name], messages) for name in HEADINGS)]
        for row in table.values()
    ]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n\n"
    text += "\n".join(f"{n}. {message}" for n, message in enumerate(messages, 1)) + "\n"
    folder.mkdir(exist_ok=True)
    (folder / "situations.md").write_text(text, encoding="utf-8")
