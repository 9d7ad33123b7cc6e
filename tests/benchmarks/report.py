"""Tables of a run, for the terminal."""

from __future__ import annotations

import json
from typing import Any

from contest import Times, times_of
from goals import outcomes
from rich.table import Table


def as_json(found: dict[str, Any]) -> str:
    """Return a run as JSON with one contest per line, so that you can compare two runs."""
    lines = [json.dumps(one) for one in found["contests"]]
    others = [f'"{name}": {json.dumps(v)}' for name, v in found.items() if name != "contests"]
    return "{\n" + ",\n".join(others) + ',\n"contests": [\n' + ",\n".join(lines) + "\n]}\n"


def machine(description: dict[str, str]) -> Table:
    """Return the description of a run's machine."""
    table = Table(show_header=False, box=None)
    for name, text in description.items():
        table.add_row(name, text)
    return table


def contest(times: Times) -> Table:
    """Return the times of one contest, with ratios to the first contestant's."""
    key = times.key
    table = Table(
        title=f"{key.group}, {key.what}: {key.elements:,} {key.dtype}, p = {key.p}",
        title_justify="left",
        title_style="bold",
        box=None,
    )
    first = next(iter(times.seconds.values())).median
    table.add_column("", min_width=44)
    for name in ("us a call", "ns an element", "x the first", "quartiles"):
        table.add_column(name, justify="right")
    for name, seconds in times.seconds.items():
        low, median, high = seconds
        table.add_row(
            name,
            f"{median * 1e6:,.1f}",
            f"{median / key.elements * 1e9:.2f}",
            f"{median / first:.2f}",
            f"{(low / median - 1) * 100:+.0f}% {(high / median - 1) * 100:+.0f}%",
        )
    return table


def goals(found: dict[str, Any]) -> Table:
    """Return the goals and the results."""
    table = Table(title="goals, each at the worse p", title_justify="left", box=None)
    for name in ("", "wanted", "seen", ""):
        table.add_column(name)
    for outcome in outcomes(times_of(found), found["measures"]):
        table.add_row(outcome.text, outcome.bound, outcome.seen, "yes" if outcome.met else "NO")
    for name, nanoseconds in found["processors"].items():
        each = ", ".join(f"{dtype} {ns:.2f}" for dtype, ns in nanoseconds.items())
        table.add_row(f"kernel compiled for {name}, ns an element", "", each, "")
    return table
