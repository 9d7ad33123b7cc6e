"""Runs the demo: trains, prints the tables and draws the pictures."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

from matplotlib import rc_context
from rich.console import Console
from rich.progress import Progress
from threadpoolctl import threadpool_limits

from anydrop.demo import tables
from anydrop.demo.data import TESTED, Setting
from anydrop.demo.pictures import STYLE, curves, masks, uncertain
from anydrop.demo.training import WITH, WITHOUT, Library, fingerprint, predict, train

FILES = ("curves.png", "masks.png", "uncertain.png", "results.txt")


def show(backend: str, seeds: int, out: str | Path, images: int, epochs: int, passes: int) -> None:
    """Run the demo; see `anydrop.demo.run`."""
    start = time.perf_counter()
    library = Library.named(backend)
    mislabelled = Setting(images, wrong=0.3, epochs=epochs, batch=100)
    clean = Setting(images // 5, wrong=0.0, epochs=2 * epochs, batch=50)
    paths = _writable(out)
    console = Console(highlight=False)

    # A second thread does not help with matrices this small, and waiting for it takes long while
    # another program uses its core.
    with threadpool_limits(1):
        pairs = _train([mislabelled, clean], seeds, library, console)
        pair = pairs[mislabelled]
        report = [tables.accuracies(setting, pair) for setting, pair in pairs.items()]
        report.append(tables.certainty(pair.with_, library, passes))
        masks_digest = fingerprint(mislabelled, 0, library)
        network, trial = pair.with_[0][:2]
        probabilities = predict(network, trial.test_images, library, passes)
        with rc_context(STYLE):
            curves.draw(mislabelled, pair, paths[0])
            masks.draw(network, trial.test_images[:1], library, paths[1])
            uncertain.draw(trial, probabilities, passes, paths[2])

    where = f"{library.backend.name} ({library.backend.device(library.like)})"
    spread = "; mean ± standard error" if seeds > 1 else ""
    with paths[3].open("w", encoding="utf-8") as file:
        for to in (console, Console(file=file, width=80)):
            to.print(f"\nPerceptrons 64-256-256-10 on handwritten digits, with {where}.")
            to.print(f"Seeds: {seeds}, test images: {TESTED}{spread}.\n")
            to.print(*report, sep="\n")
            to.print(f"{tables.NOTE}\n")
            to.print(f"masks' digest, the same on every backend:\n{masks_digest}\n")
    print(*(f"written: {path}" for path in paths), sep="\n")
    print(f"{time.perf_counter() - start:.0f} s")


def _writable(out: str | Path) -> list[Path]:
    """Create the folder if needed, and return the demo's files in it, if it can write them."""
    paths = [Path(out, name) for name in FILES]
    try:
        os.makedirs(out, exist_ok=True)  # which refuses "", where Path means "."
        TemporaryFile(dir=out, prefix="try-").close()
        for path in filter(Path.exists, paths):
            path.open("ab").close()
    except OSError as error:
        raise ValueError(
            f"out must be a folder that the demo can write to, got {str(out)!r} "
            f"({error.strerror}: {error.filename!r}): name another one, or move what is in the way"
        ) from error
    return paths


def _train(
    settings: list[Setting], seeds: int, library: Library, console: Console
) -> dict[Setting, tables.Pair]:
    """Train the networks of all settings and seeds, with one progress bar."""
    pairs = {setting: tables.Pair([], []) for setting in settings}
    with Progress(console=console) as progress:
        bar = progress.add_task("", total=2 * seeds * sum(setting.epochs for setting in settings))
        tick = partial(progress.advance, bar)
        for setting, pair in pairs.items():
            for seed in range(seeds):
                progress.update(bar, description=f"training, seed {seed}")
                for runs, ps in zip(pair, (WITHOUT, WITH), strict=True):
                    runs.append(train(setting, seed, ps, library, tick))
        progress.update(bar, description="trained")
    return pairs
