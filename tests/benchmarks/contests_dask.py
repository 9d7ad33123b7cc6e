"""Contests of Dask arrays of 16 chunks on threads with the same array in one piece."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import dask.array as da
import numpy as np
from contest import Contest, Contestant, Key, numbers
from names import CHUNKS, DASK_MULTIPLY, JOINED, WHOLE, P

import anydrop


def arrays(sizes: list[int]) -> Iterator[Contest]:
    """Yield the contests of arrays of these sizes."""
    for n, p in itertools.product(sizes, P):
        yield chunks(n, p)


def chunks(n: int, p: float) -> Contest:
    """Return the contest of 16 chunks; all contestants use the same number of threads."""
    x = numbers(n, "float32")
    cut, steps = da.from_array(x, chunks=n // 16), itertools.count()
    drop = anydrop.Dropout(p, seed=0)
    on_threads: dict[str, Any] = {
        "scheduler": "threads",
        "num_workers": anydrop.get_num_threads(),
    }

    def dropped() -> Any:
        return anydrop.dropout(cut, p, seed=0, step=next(steps))

    contestants = {
        WHOLE: Contestant(lambda: drop(x)),
        CHUNKS: Contestant(lambda: dropped().persist(**on_threads)),
        JOINED: Contestant(lambda: dropped().compute(**on_threads)),
        DASK_MULTIPLY: Contestant(
            lambda: (cut * np.float32(3.0)).persist(**on_threads), p=0.0, scale=3.0, fresh=False
        ),
    }
    return Contest(Key("dask", "forward", n, "float32", p), x, contestants)
