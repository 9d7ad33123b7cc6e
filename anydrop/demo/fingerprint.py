"""One number for all the masks of a network, to compare libraries and machines by."""

from __future__ import annotations

import hashlib

from anydrop.demo.data import Setting
from anydrop.demo.library import Library
from anydrop.demo.training import WITH, prepare
from anydrop.masks.mask import digest


def fingerprint(setting: Setting, seed: int, library: Library, steps: int = 10) -> str:
    """Return the SHA-256 over the masks that a seed's dropout layers draw in their first steps.

    They depend on seeds, steps and shapes alone: not on data or weights, nor on the library.
    """
    network, trial, _ = prepare(setting, seed, WITH, library)
    x = library.move(trial.images[: setting.batch])
    combined = hashlib.sha256()
    for _ in range(steps):
        network.forward(x, training=True)
        for layer in network.dropouts:
            combined.update(digest(library.to_numpy(layer.mask)).encode())
    return combined.hexdigest()
