"""Distributed tensors: each process draws its part of the one mask, or refuses in words."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from process import python
from subjects import available

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this PyTorch was built without distributed"
)

BEGINNING = """
    import os, torch, torch.distributed as dist
    rank = int(os.environ["RANK"])
    dist.init_process_group(
        "gloo", init_method="file://" + os.environ["STORE"], rank=rank, world_size=2,
    )
    import anydrop
    from torch.distributed.tensor import (
        DTensor, Partial, Replicate, Shard, distribute_tensor, init_device_mesh,
    )
    mesh = init_device_mesh("cpu", (2,))
    x = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(0))
    ones = torch.ones_like(x)
"""


# At the end of a process gloo's threads sometimes abort it, so it ends without them.
END = """
    dist.barrier()
    dist.destroy_process_group()
    print(end="", flush=True)
    os._exit(0)
"""


def both(program, tmp_path):
    """Return the last lines that the two processes print."""

    def process(rank):
        return python(BEGINNING + program + END, RANK=str(rank), STORE=str(tmp_path / "store"))

    with ThreadPoolExecutor(2) as pool:
        return [printed.splitlines()[-1] for printed in pool.map(process, range(2))]


SHARDS = """
    for placement in (Shard(0), Shard(1), Shard(2), Replicate()):
        for recipe in ({}, {"shared_axes": 1}, {"window": anydrop.Window((1, 2, 3), (9, 9, 9))}):
            recipe = {"p": 0.5, "seed": 3, "step": 4, **recipe}
            shards = distribute_tensor(x, mesh, [placement]).requires_grad_()
            y = anydrop.dropout(shards, **recipe)
            assert isinstance(y, DTensor) and y.placements == (placement,)
            assert torch.equal(y.full_tensor(), anydrop.dropout(x, **recipe))
            y.sum().backward()
            assert torch.equal(shards.grad.full_tensor(), anydrop.dropout(ones, **recipe))
    for placement in (Shard(0), Shard(1), Shard(2), Replicate()):
        half, wide, dy = (distribute_tensor(t, mesh, [placement]) for t in (x.half(), ones, x * 3))
        bias = distribute_tensor(x[0, 0], mesh, [Replicate()])
        arrays = half.requires_grad_(), wide.requires_grad_(), bias.requires_grad_()
        y, mask = anydrop.dropout_add(half, wide, 0.5, bias=bias, seed=3, return_mask=True)
        expected = anydrop.dropout_add(x.half(), ones, 0.5, bias=x[0, 0], seed=3)
        assert y.placements == (placement,) and torch.equal(y.full_tensor(), expected)
        y.backward(dy)
        *same, db = mask.apply(x * 3)
        ours = mask.apply(dy)
        assert all(torch.equal(a.full_tensor(), b) for a, b in zip(ours, (*same, db)))
        gradients = [array.grad.full_tensor() for array in arrays]
        assert all(map(torch.equal, gradients[:2], same))
        # PyTorch sums what was not yet rounded to a half type, in an order of its own.
        torch.testing.assert_close(gradients[2], db, rtol=0.0, atol=35 * 6 * 2**-12)
    row = distribute_tensor(ones[:1], mesh, [Shard(0)])  # the second process has none of it
    y = anydrop.dropout(row, 0.5, seed=3)
    assert torch.equal(y.full_tensor(), anydrop.dropout(ones[:1], 0.5, seed=3))
    copies = anydrop.drop_connect(distribute_tensor(x, mesh, [Shard(0)]), 0.5, examples=2, seed=3)
    assert torch.equal(copies.full_tensor(), anydrop.drop_connect(x, 0.5, examples=2, seed=3))

    drop = anydrop.Dropout(0.5, seed=1)
    drop(shards.detach())
    assert torch.equal(drop.backward(x), drop.backward(shards.detach()).full_tensor())

    # Runs of rows that lie apart: refused, and right where it is told to be redistributed.
    runs = distribute_tensor(torch.ones(3, 8, 64), mesh, [Shard(1)]).reshape(24, 64)
    rows = runs.redistribute(placements=[Replicate()]).redistribute(placements=[Shard(0)])
    y = anydrop.dropout(rows, 0.5, seed=0)
    assert torch.equal(y.full_tensor(), anydrop.dropout(torch.ones(24, 64), 0.5, seed=0))
    print("right")
"""


def test_shards_of_two_processes_have_one_mask(tmp_path):
    assert both(SHARDS, tmp_path) == ["right", "right"]


REFUSED = """
    import json
    shards = distribute_tensor(x, mesh, [Shard(0)])
    row = distribute_tensor(ones[:1], mesh, [Shard(0)])
    images = distribute_tensor(torch.ones(4, 3, 8, 8), mesh, [Shard(0)])
    ids = distribute_tensor(torch.arange(16), mesh, [Shard(0)])
    runs = distribute_tensor(torch.ones(3, 8, 64), mesh, [Shard(1)]).reshape(24, 64)
    uneven = DTensor.from_local(
        torch.ones(3 + 2 * rank, 4), mesh, [Shard(0)], run_check=False, shape=(8, 4), stride=(4, 1)
    )
    compiled = torch.compile(anydrop.dropout, fullgraph=True, backend="eager")
    calls = {
        "sums": lambda: anydrop.dropout(DTensor.from_local(x, mesh, [Partial()]), 0.5, seed=0),
        "runs": lambda: anydrop.dropout(runs, 0.5, seed=0),
        "shared": lambda: anydrop.dropout(runs, 0.5, seed=0, shared_axes=1),
        "uneven": lambda: anydrop.dropout(uneven, 0.5, seed=0),
        "rng": lambda: anydrop.dropout(shards, 0.5, rng=torch.Generator()),
        "out": lambda: anydrop.dropout(shards, 0.5, seed=0, out=torch.empty(5, 7, 3)),
        "stored": lambda: anydrop.resolve(row).select(row, torch.tensor(True), 2.0),
        "normals": lambda: anydrop.gaussian_dropout(row, 0.5, seed=0),
        "noise": lambda: anydrop.gaussian_noise(row, 0.5, seed=0),
        "blocks": lambda: anydrop.drop_block2d(images, 0.5, 3, seed=0),
        "zoneout": lambda: anydrop.zoneout(images, images, 0.5, seed=0),
        "tokens": lambda: anydrop.token_dropout(ids, 0.5, token=0, seed=0),
        "keep": lambda: anydrop.Mask.from_seed((5, 7, 3), 0.5, seed=0).keep(shards),
        "compiled": lambda: compiled(images, 0.5, seed=0),
    }
    said = {}
    for name, call in calls.items():
        try:
            call()
        except Exception as error:
            said[name] = str(error)
    print(json.dumps(said))
"""

KEEP = "no keep mask is drawn for a DTensor, so blocks, zoneout and tokens don't work: pass its"
BLOCKS = "dropout needs a DTensor whose parts are blocks of the whole, got the placements .*Strided"
SAID = {
    "sums": "needs the sum of a partial DTensor",
    "runs": BLOCKS,
    "shared": BLOCKS,
    "uneven": r"must have the shape \(4, 4\), got \([35], 4\), so which .* is unknown: pass shape=",
    "rng": "rng= is not supported for a DTensor",
    "out": "out must be distributed as x is",
    "stored": "a DTensor takes a recipe",
    "normals": "normal noise is not drawn for a DTensor",
    "noise": "normal noise is not drawn for a DTensor",
    "blocks": KEEP,
    "zoneout": KEEP,
    "tokens": KEEP,
    "keep": KEEP,
    "compiled": "a DTensor is not compiled: call the function outside of the compiled program",
}


def test_what_is_refused_is_refused_in_words(tmp_path):
    for line in both(REFUSED, tmp_path):
        said = json.loads(line)
        assert said.keys() == SAID.keys()
        for name, message in SAID.items():
            assert re.search(message, said[name]), (name, said[name])
