"""Models and activations that two ranks share: DTensors, FSDP2, tensor and sequence parallel."""

import itertools
import os
import warnings

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
    Given,
    TwoRanks,
    close,
    drawn,
    network,
    plain,
    rows,
    same,
    seeded,
    train,
)
from torch import nn

import anydrop.torch
from anydrop.torch import ranks as told

two_ranks = TwoRanks(__file__)
pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this PyTorch was built without distributed"
)


def mesh(*shape):
    return dist.init_device_mesh("cpu", shape or (2,))


def sharded(x=None):
    """Return ones, or a tensor, of which each rank has half of the rows."""
    from torch.distributed.tensor import Shard, distribute_tensor

    x = torch.ones(SHAPE) if x is None else x
    return distribute_tensor(x, mesh(), [Shard(0)]).requires_grad_()


def whole(x):
    return x.full_tensor() if hasattr(x, "full_tensor") else x


def gradients_of(model):
    return [whole(p.grad) for p in model.parameters()]


@two_ranks
def test_a_dtensor_has_one_mask_whatever_the_rank(rank):
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    for per_rank, way, (shape, placements) in itertools.product(
        (True, False, None, 3),
        WAYS,
        (
            ((2,), [Shard(0)]),
            ((2,), [Shard(1)]),
            ((2,), [Replicate()]),
            ((2, 1), [Shard(0), Replicate()]),
            ((1, 2), [Replicate(), Shard(1)]),
        ),
    ):
        drop = anydrop.torch.Dropout(0.5, seed=3, per_rank=per_rank)
        inputs = [
            distribute_tensor(torch.ones(SHAPE), mesh(*shape), placements).requires_grad_()
            for _ in range(3)
        ]
        outputs = [way(drop, x) for x in inputs]
        for y in outputs:
            y.sum().backward()
        for step, (x, y) in enumerate(zip(inputs, outputs, strict=True)):
            assert y.placements == tuple(placements)
            assert torch.equal(y.full_tensor(), drawn(3, step))
            assert torch.equal(x.grad.full_tensor(), drawn(3, step))
        assert drop.step == 3


@two_ranks
def test_a_dtensor_takes_what_a_tensor_takes(rank):
    drop = anydrop.torch.Dropout(0.5, seed=3)
    assert torch.equal(drop(sharded(), step=9).full_tensor(), drawn(3, 9))
    with anydrop.torch.steps(drop, 8):
        assert torch.equal(drop(sharded()).full_tensor(), drawn(3, 8))
    assert drop.step == 0
    x = sharded().detach()
    assert anydrop.torch.Dropout(0.5, inplace=True, seed=3)(x) is x
    assert torch.equal(x.full_tensor(), drawn(3, 0))
    x = sharded(torch.tensor([[1.0, torch.inf], [torch.nan, 2.0]]))
    y = anydrop.torch.Dropout(1.0, seed=3)(x)
    assert torch.equal(y.full_tensor(), torch.zeros(2, 2))
    y.sum().backward()
    assert torch.equal(x.grad.full_tensor(), torch.zeros(2, 2))


@two_ranks
def test_a_dtensor_is_right_beside_a_compiled_program(rank):
    for way in WAYS:
        drop = anydrop.torch.Dropout(0.5, seed=3)
        program = torch.compile(lambda x, way=way, drop=drop: way(drop, x), backend="aot_eager")
        inputs = [sharded() for _ in range(4)]
        outputs = [program(x) for x in inputs]
        for step, (x, y) in enumerate(zip(inputs, outputs, strict=True)):
            y.sum().backward()
            assert torch.equal(y.full_tensor(), drawn(3, step))
            assert torch.equal(x.grad.full_tensor(), drawn(3, step))
        torch.compiler.reset()


@two_ranks
def test_what_is_refused_is_refused_in_words_and_draws_nothing(rank):
    from torch.distributed.tensor import DTensor, Partial, Shard, distribute_tensor

    drop = anydrop.torch.Dropout(0.5, seed=0)
    partial = DTensor.from_local(torch.ones(SHAPE), mesh(), [Partial()])
    runs = distribute_tensor(torch.ones(3, 8, 64), mesh(), [Shard(1)]).reshape(24, 64)
    compiled = torch.compile(drop, backend="eager", fullgraph=True)
    for module, x, message in (
        (anydrop.torch.Dropout(0.5), sharded(), "a module without a seed draws from each rank's"),
        (anydrop.torch.Dropout(0.5), partial, "a module without a seed draws from each rank's"),
        (drop, partial, "dropout needs the sum of a partial DTensor"),
        (drop, runs, "dropout needs a DTensor whose parts are blocks of the whole"),
        (compiled, sharded(), "a DTensor is not compiled: call the function outside"),
    ):
        with pytest.raises(Exception, match=message):
            module(x)
        assert drop.step == 0


@two_ranks
def test_fsdp_has_the_gradients_of_each_ranks_masks(rank):
    both = [network(lambda n, r=r: Drawn(n, r)) for r in range(2)]
    for r, model in enumerate(both):
        model(rows(r)).square().mean().backward()
    mean = [(a.grad + b.grad) / 2 for a, b in zip(*(m.parameters() for m in both), strict=True)]
    for way in WAYS:
        model = fully_sharded(way)
        model(rows(rank).requires_grad_()).square().mean().backward()
        assert close(gradients_of(model), mean)
        assert [block.drop.step for block in model[:2]] == [1, 1]


def fully_sharded(way):
    """Return a network that was made on the meta device, and whose blocks FSDP2 shards."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import distribute_tensor

    with torch.device("meta"):
        model = network(seeded(per_rank=True), way)
    for block in model:
        fully_shard(block)
    fully_shard(model)
    model.to_empty(device="cpu")
    for p, q in zip(model.parameters(), network(seeded()).parameters(), strict=True):
        p.data.copy_(distribute_tensor(q.data, p.device_mesh, p.placements))
    return model


@two_ranks
def test_fsdp_resumes_from_a_distributed_checkpoint(rank):
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint import state_dict as states

    full = states.StateDictOptions(full_state_dict=True)
    for n, way in enumerate(WAYS):
        model, *others = (fully_sharded(way) for _ in range(4))
        by_model, by_function, by_all = others
        train(model, rank, range(2))
        folder = os.path.join(os.environ["SHARED"], f"checkpoint-{n}")
        dcp.save(model.state_dict(), checkpoint_id=folder)

        state = by_model.state_dict()
        dcp.load(state, checkpoint_id=folder)
        by_model.load_state_dict(state)

        state = states.get_model_state_dict(by_function)
        dcp.load(state, checkpoint_id=folder)
        states.set_model_state_dict(by_function, state)

        state = states.get_model_state_dict(model, options=full)
        states.set_model_state_dict(by_all, state, options=full)

        unbroken = [whole(p) for p in train(model, rank, range(2, 4))]
        for resumed in others:
            assert [block.drop.step for block in resumed[:2]] == [2, 2]
            assert same([whole(p) for p in train(resumed, rank, range(2, 4))], unbroken)
            for seed, block in enumerate(resumed[:2]):
                assert torch.equal(block.drop(torch.ones(SHAPE)), drawn(seed, 4, rank=rank))


@two_ranks
def test_a_rank_that_is_sent_no_step_says_so(rank):
    from torch.distributed.checkpoint import state_dict as states

    model, saved = (network(seeded(per_rank=True)) for _ in range(2))
    saved[0].drop.step = 5
    state = saved.state_dict()
    options = states.StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    told._warned.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        states.set_model_state_dict(model, state if rank == 0 else {}, options=options)
    said = [str(one.message) for one in caught if "no 0.drop.step" in str(one.message)]
    assert len(said) == rank
    assert model[0].drop.step == (0 if rank else 5)


class Between(nn.Module):
    """Two layers with dropout between them, in a checkpoint of some kind."""

    def __init__(self, first, drop, last, way=plain):
        super().__init__()
        self.first, self.drop, self.last, self.way = first, drop, last, way

    def forward(self, x):
        return self.way(lambda x: self.last(self.drop(self.first(x))), x)


def made(drop, way=plain, width=16, first=nn.Linear):
    torch.manual_seed(0)
    before = nn.LayerNorm(8) if first is nn.LayerNorm else nn.Linear(8, width)
    return Between(before, drop, nn.Linear(width, 8), way)


@two_ranks
def test_tensor_parallel_has_the_gradients_of_the_masks_drawn(rank):
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    x = rows(0).requires_grad_()
    of_rank = [drawn(0, 0, rank=r) for r in range(2)]
    for (local, per_rank, mask), way in itertools.product(
        (
            # Each rank has half of the features, as a plain tensor.
            (True, False, torch.cat([drawn(0, 0)] * 2, 1)),
            (True, True, torch.cat(of_rank, 1)),
            # A DTensor of all features.
            (False, None, drawn(0, 0, shape=(6, 16))),
            (False, True, drawn(0, 0, shape=(6, 16))),
        ),
        WAYS,
    ):
        plan = {"first": ColwiseParallel(use_local_output=local), "last": RowwiseParallel()}
        drop = anydrop.torch.Dropout(0.5, seed=0, per_rank=per_rank)
        model, one = parallelize_module(made(drop, way), mesh(), plan), made(Given(iter([mask])))
        y, expected = model(x), one(x)
        for loss in (y, expected):
            loss.square().mean().backward()
        assert close([whole(y)], [expected])
        assert close(gradients_of(model), gradients_of(one))


@two_ranks
def test_sequence_parallel_has_the_gradients_of_one_process(rank):
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        SequenceParallel,
        parallelize_module,
    )

    sequence = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(1))
    one, x = made(Drawn(0, None), width=8, first=nn.LayerNorm), sequence.clone().requires_grad_()
    expected = one(x)
    expected.square().mean().backward()
    last = ColwiseParallel(input_layouts=Shard(1), output_layouts=Replicate())
    for drops, per_rank, way in itertools.product(
        ({}, {"drop": SequenceParallel()}, {"drop": SequenceParallel(use_local_output=True)}),
        (None, True),
        WAYS,
    ):
        drop = anydrop.torch.Dropout(0.5, seed=0, per_rank=per_rank)
        model = made(drop, way, width=8, first=nn.LayerNorm)
        keys = list(model.state_dict())
        plan = {"first": SequenceParallel(), "last": last, **drops}
        model = parallelize_module(model, mesh(), plan)
        part = sequence.chunk(2, 1)[rank].clone().requires_grad_()
        y = model(part)
        y.square().mean().backward()
        assert close([whole(y)], [expected])
        assert close(gradients_of(model), gradients_of(one))
        assert close([part.grad], [x.grad.chunk(2, 1)[rank]])
        assert list(model.state_dict()) == keys
