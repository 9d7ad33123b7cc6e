"""Stages of a pipeline, one on each of two ranks: their gradients are those of the masks drawn."""

import itertools

import pytest
from subjects import available

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from ranks import Drawn, Given, TwoRanks, close, network, nonreentrant, of_all, plain, seeded

import anydrop.torch
from anydrop.backends.torch.watchers import in_backward

two_ranks = TwoRanks(__file__)
pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this PyTorch was built without distributed"
)


def pipeline(stages, schedule, rank, x, **shapes):
    """Yield the gradients of this rank's stage in steps of four microbatches each."""
    from torch.distributed import pipelining

    stage = pipelining.PipelineStage(stages[rank], rank, 2, torch.device("cpu"), **shapes)
    run = getattr(pipelining, schedule)(stage, 4, loss_fn=lambda y, _: y.square().sum())
    for _ in range(2):
        stages[rank].zero_grad()
        run.step(x) if rank == 0 else run.step(target=x)
        yield [p.grad for p in stages[rank].parameters()]


@two_ranks
def test_pipelines_have_the_gradients_of_the_masks_drawn(rank):
    x = torch.randn((24, 8), generator=torch.Generator().manual_seed(0)).requires_grad_()
    part = x[:6].detach().requires_grad_()
    # Where PyTorch is not told the shapes, it runs each stage once to see them, which is a draw.
    for schedule, way, (shapes, spent) in itertools.product(
        ("ScheduleGPipe", "Schedule1F1B"),
        (plain, nonreentrant),  # PyTorch refuses reentrant checkpoints in pipelines
        (({}, 1), ({"input_args": part, "output_args": part}, 0)),
    ):
        stages = network(seeded(per_rank=False), way)[:2]
        one = network(lambda n, step=spent: Drawn(n, None, step))[:2]
        for found in pipeline(stages, schedule, rank, x, **shapes):
            one.zero_grad()
            for part in x.chunk(4):
                (one(part).square().sum() / 4).backward()
            assert close(found, [p.grad for p in one[rank].parameters()])
        assert stages[rank].drop.step == 8 + spent


@two_ranks
def test_pipelines_without_a_seed_have_the_gradients_of_the_masks_drawn(rank):
    x = torch.randn((24, 8), generator=torch.Generator().manual_seed(0)).requires_grad_()
    for schedule, way in itertools.product(
        ("ScheduleGPipe", "Schedule1F1B"), (plain, nonreentrant)
    ):
        stages = network(lambda _: anydrop.torch.Dropout(0.5), way)[:2]
        torch.manual_seed(rank)
        seen = []

        def see(module, inputs, y, seen=seen):
            if not in_backward():
                seen.append((y != 0) * 2.0)

        stages[rank].drop.register_forward_hook(see)
        for step, found in enumerate(pipeline(stages, schedule, rank, x)):
            masks = [iter(one) for one in of_all(torch.stack(seen[4 * step + 1 :]))]
            one = network(lambda n, masks=masks: Given(masks[n]))[:2]
            for part in x.chunk(4):
                (one(part).square().sum() / 4).backward()
            assert close(found, [p.grad for p in one[rank].parameters()])
