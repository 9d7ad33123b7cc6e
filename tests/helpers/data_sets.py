"""Datasets that drop, in a module that workers which are started anew can import."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import anydrop

N = 16


class Dropped(Dataset[Tensor]):
    """The recipe of docs/how_to/processes.md."""

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # workers see it change

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Tensor:
        step = int(self.epoch) * len(self) + i
        return anydrop.dropout(self.x[i], 0.5, seed=0, step=step)


class Counting(Dropped):
    """What goes wrong: each worker has a copy of the layer, which counts by itself."""

    def __init__(self, x: Tensor) -> None:
        super().__init__(x)
        self.drop = anydrop.Dropout(0.5, seed=0)

    def __getitem__(self, i: int) -> Tensor:
        return self.drop(self.x[i])


def rows(dataset: Dropped, **options: Any) -> list[Tensor]:
    """Return the rows of two epochs, with two workers."""
    loader = DataLoader(dataset, batch_size=4, num_workers=2, **options)
    found: list[Tensor] = []
    for epoch in range(2):
        dataset.epoch.fill_(epoch)
        found += [row for batch in loader for row in batch]
    return found
