"""Tests that run in two processes of one gloo group; one pair of processes runs those of a file."""

from __future__ import annotations

import json
import os
import runpy
import sys
import tempfile
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from process import python
from torch import nn
from torch.utils.checkpoint import checkpoint

import anydrop
import anydrop.torch

WORLD = 2
SHAPE = (6, 8)


class TwoRanks:
    """Makes tests of functions that two processes call, each with its rank.

    Parameters
    ----------
    file : str
        The test file, whose global name ``two_ranks`` this object must be.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.bodies: dict[str, Callable[[int], None]] = {}

    def __call__(self, body: Callable[[int], None]) -> Callable[[], None]:
        name = body.__name__
        self.bodies[name] = body

        def test() -> None:
            said = {rank: told[name] for rank, told in enumerate(self._told) if told[name]}
            assert not said, "\n".join(f"on rank {rank}:\n{error}" for rank, error in said.items())

        test.__name__ = name
        return test

    @cached_property
    def _told(self) -> list[dict[str, str]]:
        """Of each rank: what was raised, by name of the test; "" if nothing was."""
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WORLD) as pool:
            program = f"import ranks; ranks.run({self.file!r})"

            def process(rank: int) -> Any:
                printed = python(program, RANK=str(rank), STORE=f"{folder}/store", SHARED=folder)
                return json.loads(printed.splitlines()[-1])

            return list(pool.map(process, range(WORLD)))


def run(file: str) -> None:
    """Run a file's tests as one rank of two, and print what they raised."""
    rank = int(os.environ["RANK"])
    dist.init_process_group(
        "gloo",
        init_method="file://" + os.environ["STORE"],
        rank=rank,
        world_size=WORLD,
        timeout=timedelta(seconds=60),
    )
    said = {}
    for name, body in runpy.run_path(file)["two_ranks"].bodies.items():
        try:
            body(rank)
            said[name] = ""
        except Exception:
            said[name] = traceback.format_exc()
    print(json.dumps(said), flush=True)
    sys.stderr.flush()
    if not any(said.values()):  # else the other rank may wait for this one in another place
        dist.barrier()
    # At the end of a process gloo's threads sometimes abort it, so it ends without them.
    os._exit(0)


# What both ranks run -----------------------------------------------------------------------------


def drawn(seed, step, *, place=(), rank=None, p=0.5, shape=SHAPE):
    """Return the mask as a public function draws it: 0 or 1 / (1 - p)."""
    key = (*place, *(() if rank is None else (rank,)))
    seed = np.random.SeedSequence(seed, spawn_key=key)
    return anydrop.dropout(torch.ones(shape), p, seed=seed, step=step)


def of_all(x):
    """Return a tensor of each rank, on all."""
    parts = [torch.empty_like(x) for _ in range(2)]
    dist.all_gather(parts, x.detach().contiguous())
    return parts


def plain(function, *inputs):
    return function(*inputs)


def reentrant(function, *inputs):
    return checkpoint(function, *inputs, use_reentrant=True)


def nonreentrant(function, *inputs):
    return checkpoint(function, *inputs, use_reentrant=False)


WAYS = (plain, reentrant, nonreentrant)


class Drawn(nn.Module):
    """Stands for a module with a seed: takes its masks from the public function."""

    def __init__(self, seed, rank, step=0):
        super().__init__()
        self.seed, self.rank, self.step = seed, rank, step

    def forward(self, x):
        self.step += 1
        return x * drawn(self.seed, self.step - 1, rank=self.rank, shape=x.shape)


class Given(nn.Module):
    """Stands for a module without a seed: takes the masks that were seen."""

    def __init__(self, masks):
        super().__init__()
        self.masks = masks

    def forward(self, x):
        return x * next(self.masks)


class Block(nn.Module):
    """A linear layer and dropout, in a checkpoint of some kind."""

    def __init__(self, drop, way=plain):
        super().__init__()
        self.linear, self.drop, self.way = nn.Linear(8, 8), drop, way

    def forward(self, x):
        return self.way(lambda x: self.drop(self.linear(x)), x)


def network(drop, way=plain):
    """Return a network of two blocks, always with the same weights."""
    torch.manual_seed(0)
    return nn.Sequential(Block(drop(0), way), Block(drop(1), way), nn.Linear(8, 1))


def rows(rank, step=0):
    """Return other rows for each rank and step."""
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(10 * step + rank))


def train(model, rank, steps):
    """Return the parameters after some steps."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for step in steps:
        optimizer.zero_grad()
        model(rows(rank, step).requires_grad_()).square().mean().backward()
        optimizer.step()
    return [p.detach() for p in model.parameters()]


def same(some, others):
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


def close(some, others):
    return all(torch.allclose(a, b, atol=1e-6) for a, b in zip(some, others, strict=True))


def seeded(**keywords):
    return lambda n: anydrop.torch.Dropout(0.5, seed=n, **keywords)
