"""Several processes, each with rows of its own: which masks each draws, with and without a seed."""

import copy
import itertools
import os
import pickle
import warnings

import numpy as np
import pytest
from subjects import available

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
import torch.distributed as dist
from ranks import (
    SHAPE,
    WAYS,
    Drawn,
    TwoRanks,
    close,
    drawn,
    network,
    nonreentrant,
    of_all,
    plain,
    rows,
    same,
    seeded,
    train,
)
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import anydrop
import anydrop.torch
from anydrop.core import seeds
from anydrop.torch import ranks as told

two_ranks = TwoRanks(__file__)
pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this PyTorch was built without distributed"
)


def drawn_next(drop):
    """Return what a module draws next, by what it says of itself and by NumPy."""
    x = np.ones(SHAPE, "f4")
    return torch.from_numpy(anydrop.dropout(x, drop.p, seed=drop.seed, step=drop.step))


def gradients_of(module, way=plain, draws=3):
    """Return the gradients of some forwards, that are the masks: `f f f b b b`."""
    inputs = [torch.ones(SHAPE, requires_grad=True) for _ in range(draws)]
    outputs = [way(module, x) for x in inputs]
    for y in outputs:
        y.sum().backward()
    for x, y in zip(inputs, outputs, strict=True):
        assert torch.equal(x.grad, y)
    return [x.grad for x in inputs]


@two_ranks
def test_without_a_seed_each_rank_draws_from_its_own_generator(rank):
    for way in WAYS:
        for module in (nn.Dropout(0.5), anydrop.torch.Dropout(0.5)):
            torch.manual_seed(0)
            for mask in gradients_of(module, way):
                assert torch.equal(*of_all(mask))
            torch.manual_seed(rank)
            for mask in gradients_of(module, way):
                assert not torch.equal(*of_all(mask))


@two_ranks
def test_a_rank_draws_masks_of_its_own_where_it_was_told(rank):
    for way, (per_rank, own) in itertools.product(
        WAYS, ((True, rank), (rank + 5, rank + 5), (0, 0), (False, None))
    ):
        drop = anydrop.torch.Dropout(0.5, seed=3, per_rank=per_rank)
        for step, mask in enumerate(gradients_of(drop, way)):
            assert torch.equal(mask, drawn(3, step, rank=own))
        assert drop.per_rank is per_rank
        assert torch.equal(drop(torch.ones(SHAPE)), drawn(3, 3, rank=own))
        assert torch.equal(drawn_next(drop), drop(torch.ones(SHAPE)))
        assert torch.equal(drop(torch.ones(SHAPE), step=9), drawn(3, 9, rank=own))
        with anydrop.torch.steps(drop, 8):
            (mask,) = gradients_of(drop, way, draws=1)
        assert torch.equal(mask, drawn(3, 8, rank=own))


@two_ranks
def test_the_rank_comes_after_the_place(rank):
    model = nn.Sequential(nn.Identity(), anydrop.torch.Dropout(0.5, seed=0, per_rank=True))
    model[1].reseed(7, "blocks.1")
    place = seeds.of_place(7, "blocks.1").spawn_key
    assert torch.equal(model(torch.ones(SHAPE)), drawn(7, 0, place=place, rank=rank))


@two_ranks
def test_one_that_was_not_told_warns_once_and_draws_one_mask(rank):
    told._warned.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            for mask in gradients_of(anydrop.torch.Dropout(0.5, seed=3)):
                assert torch.equal(*of_all(mask))
    (warning,) = caught
    assert "per_rank=True" in str(warning.message)
    assert "per_rank=False" in str(warning.message)


@two_ranks
def test_ddp_has_the_gradients_of_each_ranks_masks(rank):
    both = [network(lambda n, r=r: Drawn(n, r)) for r in range(2)]
    for r, model in enumerate(both):
        model(rows(r)).square().mean().backward()
    mean = [(a.grad + b.grad) / 2 for a, b in zip(*(m.parameters() for m in both), strict=True)]
    for way in WAYS:
        model = DistributedDataParallel(network(seeded(per_rank=True), way))
        model(rows(rank).requires_grad_()).square().mean().backward()
        assert close([p.grad for p in model.parameters()], mean)
        assert [m.drop.step for m in model.module[:2]] == [1, 1]


@two_ranks
def test_ddp_that_is_compiled_draws_the_masks_of_eager_code(rank):
    eager = train(DistributedDataParallel(network(seeded(per_rank=True))), rank, range(3))
    for way in (plain, nonreentrant):
        model = network(seeded(per_rank=True), way)
        compiled = torch.compile(DistributedDataParallel(model), backend="aot_eager")
        assert close(train(compiled, rank, range(3)), eager)
        assert [m.drop.step for m in model[:2]] == [3, 3]
        torch.compiler.reset()


@two_ranks
def test_one_ranks_checkpoint_resumes_all(rank):
    for way in WAYS:
        model, resumed = (
            DistributedDataParallel(network(seeded(per_rank=True), way)) for _ in range(2)
        )
        train(model, rank, range(2))
        file = os.path.join(os.environ["SHARED"], "state.pt")
        if rank == 0:
            torch.save(model.state_dict(), file)
        dist.barrier()
        resumed.load_state_dict(torch.load(file))
        assert [m.drop.step for m in resumed.module[:2]] == [2, 2]
        unbroken = train(model, rank, range(2, 4))
        assert same(train(resumed, rank, range(2, 4)), unbroken)
        for n, block in enumerate(resumed.module[:2]):
            assert torch.equal(block.drop(torch.ones(SHAPE)), drawn(n, 4, rank=rank))
        dist.barrier()


@two_ranks
def test_the_model_within_ddp_takes_the_state_that_functions_get(rank):
    from torch.distributed.checkpoint import state_dict as states

    saved, model = (network(seeded(per_rank=True)) for _ in range(2))
    saved[0].drop.step = 5
    state = states.get_model_state_dict(DistributedDataParallel(saved))
    # PyTorch puts the wrapper's prefix before the names of parameters and buffers alone.
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"0\.drop\.step"'):
        states.set_model_state_dict(DistributedDataParallel(model), dict(state))
    states.set_model_state_dict(model, dict(state))
    assert [block.drop.step for block in model[:2]] == [5, 0]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-1, ValueError, "per_rank must satisfy 0 <= per_rank < 2\\*\\*32, got -1"),
        (2**32, ValueError, "per_rank must satisfy 0 <= per_rank < 2\\*\\*32, got 4294967296"),
        (0.5, TypeError, "per_rank must be True, False, or the rank as an int >= 0, got float 0.5"),
        ("1", TypeError, "per_rank must be True, False, or the rank as an int >= 0, got str '1'"),
    ],
)
def test_a_rank_is_an_int(value, error, message):
    with pytest.raises(error, match=message):
        anydrop.torch.Dropout(0.5, seed=0, per_rank=value)
    drop = anydrop.torch.Dropout(0.5, seed=0, per_rank=4)
    with pytest.raises(error, match=message):
        drop.per_rank = value
    assert drop.per_rank == 4


def test_a_module_without_a_seed_takes_no_rank():
    words = r"per_rank=True needs a module with a seed, .* own generator: leave per_rank out"
    with pytest.raises(ValueError, match=words):
        anydrop.torch.Dropout(0.5, per_rank=True)
    drop = anydrop.torch.Dropout(0.5)
    with pytest.raises(ValueError, match="per_rank=False needs a module with a seed"):
        drop.per_rank = False
    assert drop.per_rank is None


def test_one_process_is_rank_0_and_is_not_warned(recwarn):
    for per_rank, rank in ((True, 0), (3, 3), (False, None), (None, None)):
        drop = anydrop.torch.Dropout(0.5, seed=1, per_rank=per_rank)
        assert torch.equal(drop(torch.ones(SHAPE)), drawn(1, 0, rank=rank))
        assert torch.equal(drawn_next(drop), drop(torch.ones(SHAPE)))
    assert not recwarn


def test_the_rank_may_be_said_later_and_is_shown_copied_and_pickled():
    drop = anydrop.torch.Dropout(0.5, seed=1)
    first = drop(torch.ones(SHAPE))
    drop.per_rank = 2
    assert torch.equal(first, drawn(1, 0))
    assert torch.equal(drop(torch.ones(SHAPE)), drawn(1, 1, rank=2))
    assert "per_rank=2" in repr(drop)
    for twin in (copy.deepcopy(drop), pickle.loads(pickle.dumps(drop))):
        assert twin.per_rank == 2
    assert torch.equal(twin(torch.ones(SHAPE)), drawn(1, 2, rank=2))
