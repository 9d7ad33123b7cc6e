"""Runs the demo: trains, prints the tables and draws the pictures."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from threadpoolctl import threadpool_limits

from anydrop.demo import tables
from anydrop.demo.data import TESTED, Setting
from anydrop.demo.fingerprint import fingerprint
from anydrop.demo.library import Library
from anydrop.demo.pictures import curves, masks, uncertain
from anydrop.demo.tables import Pair
from anydrop.demo.training import WITH, WITHOUT, train
from anydrop.demo.uncertainty import predict


def show(backend: str, seeds: int, out: Path, *, images: int, epochs: int, passes: int) -> None:
    """Do what `anydrop.demo.run` promises."""
    start = time.perf_counter()
    library = Library.named(backend)
    mislabelled = Setting(images, wrong=0.3, epochs=epochs, batch=100)
    clean = Setting(images // 5, wrong=0.0, epochs=2 * epochs, batch=50)
    out.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False)

    # Matrices this small gain nothing from a second thread, and wait long for one while another
    # program has its core.
    with threadpool_limits(1):
        pairs = _train([mislabelled, clean], seeds, library, console)
        pair = pairs[mislabelled]
        report = [tables.accuracies(setting, pair) for setting, pair in pairs.items()]
        report.append(tables.certainty(pair.with_, library, passes))
        masks_digest = fingerprint(mislabelled, 0, library)
        paths = _draw(mislabelled, pair, library, passes, out)

    paths.append(out / "results.txt")
    with paths[-1].open("w", encoding="utf-8") as file:
        for to in (console, Console(file=file, width=80)):
            to.print(f"\nPerceptrons 64-256-256-10 on handwritten digits, with {library}.")
            to.print(f"Mean ± standard error; seeds: {seeds}, test images: {TESTED}.\n")
            to.print(*report, sep="\n")
            to.print(f"{tables.NOTE}\n")
            to.print(f"masks' digest, the same on every backend:\n{masks_digest}\n")
    console.print(*(f"written: {path}" for path in paths), sep="\n", soft_wrap=True)
    console.print(f"{time.perf_counter() - start:.0f} s")


def _train(
    settings: list[Setting], seeds: int, library: Library, console: Console
) -> dict[Setting, Pair]:
    """Train the networks of every setting and seed, behind one progress bar."""
    pairs = {setting: Pair([], []) for setting in settings}
    columns = (
        TextColumn("{task.description:27}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        steps = sum(len(Pair._fields) * seeds * setting.steps for setting in settings)
        bar = progress.add_task("", total=steps)
        for setting, pair in pairs.items():
            for seed in range(seeds):
                for runs, ps, name in (
                    (pair.without, WITHOUT, "without dropout"),
                    (pair.with_, WITH, "with dropout"),
                ):
                    progress.update(bar, description=f"seed {seed}, {name}")
                    tick = partial(progress.advance, bar)
                    runs.append(train(setting, seed, ps, library, tick))
        progress.update(bar, description="trained")
    return pairs


def _draw(setting: Setting, pair: Pair, library: Library, passes: int, out: Path) -> list[Path]:
    network, trial = pair.with_[0].network, pair.with_[0].trial
    images, labels = trial.test_images, trial.test_labels
    probabilities = predict(network, images, library, passes)
    return [
        curves.draw(setting, *pair, out / "curves.png"),
        masks.draw(network, images[:1], library, out / "masks.png"),
        uncertain.draw(images, labels, probabilities, passes, out / "uncertain.png"),
    ]
