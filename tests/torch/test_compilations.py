"""How often a model is compiled: as often as with nn.Dropout."""

import pytest
from process import python
from subjects import available

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from situations import COLUMNS
from situations.trial import N, Net, Trial, all_differ, masks
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint

import anydrop.torch

STOCK, *OURS = COLUMNS.values()


@pytest.fixture(autouse=True)
def _nothing_compiled():
    torch.compiler.reset()


def counted(model, run, **options):
    """Return how often a model was compiled in a run."""
    torch.compiler.reset()
    counter = CompileCounterWithBackend("aot_eager")
    run(torch.compile(model, backend=counter, **options))
    return counter.frame_count


class Blocks(nn.Module):
    def __init__(self, make, n=12):
        super().__init__()
        self.blocks = nn.ModuleList([Net(make) for _ in range(n)])

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def twenty_steps(call):
    for step in range(20):
        x = torch.ones(1 + step % 5, N, requires_grad=True)
        y = call(x)
        y.sum().backward()
        assert torch.equal(x.grad, y)


@pytest.mark.parametrize("make", OURS)
def test_changing_shapes_and_twenty_steps(make):
    expected = counted(Net(STOCK), twenty_steps, fullgraph=True)
    assert counted(Net(make), twenty_steps, fullgraph=True) == expected


@pytest.mark.parametrize("make", OURS)
def test_dynamic_shapes(make):
    expected = counted(Net(STOCK), twenty_steps, fullgraph=True, dynamic=True)
    assert counted(Net(make), twenty_steps, fullgraph=True, dynamic=True) == expected


@pytest.mark.parametrize("seed", [None, 0])
def test_a_new_process_compiles_once(seed):
    printed = python(
        f"""
        import numpy as np
        import torch
        from torch._dynamo.testing import CompileCounterWithBackend
        import anydrop.torch
        counter = CompileCounterWithBackend("eager")
        drop = torch.compile(anydrop.torch.Dropout(0.5, seed={seed}), backend=counter)
        drop(torch.ones(3))
        anydrop.dropout(np.ones(3), 0.5, seed=0, step=0)
        anydrop.dropout(torch.ones(3), 0.5, seed=0, step=0)
        drop(torch.ones(3))
        print(counter.frame_count)
        """
    )
    assert printed == "1"


@pytest.mark.parametrize("make", OURS)
def test_twenty_steps_compile_once(make):
    trial = Trial(Net(make))
    assert counted(trial.net, lambda call: trial.step(call, times=20), fullgraph=True) == 1
    trial.judge()


def blocks_one_by_one(make, n=12):
    """Return how often the first of equal blocks is compiled, and how often all are."""
    torch.compiler.reset()
    counter = CompileCounterWithBackend("aot_eager")
    blocks = [Net(lambda place, n=n: make(place + 2 * n)) for n in range(n)]
    drawn = []
    for block in blocks:
        trial = Trial(block)
        trial.step(torch.compile(block, backend=counter, fullgraph=True), times=2)
        trial.judge()
        drawn += [mask for _, y in trial.runs for mask in masks(y)]
    all_differ(drawn)
    return counter.frame_count


@pytest.mark.parametrize("make", OURS)
def test_twelve_equal_blocks_compile_as_often(make):
    assert blocks_one_by_one(make) == blocks_one_by_one(STOCK)


@pytest.mark.parametrize("make", OURS)
def test_a_model_of_twelve_blocks_compiles_once(make):
    def run(call):
        for _ in range(2):
            x = torch.ones(N, requires_grad=True)
            y = call(x)
            y.sum().backward()
            assert torch.equal(x.grad, y)

    assert counted(Blocks(make), run, fullgraph=True) == 1


@pytest.mark.parametrize("make", OURS)
def test_training_and_eval_compile_as_often(make):
    def run(model):
        def inner(call):
            for _ in range(3):
                call(torch.ones(N))
                model.eval()
                assert torch.equal(call(torch.ones(N)), torch.full((N,), 9.0))
                model.train()

        return inner

    stock, ours = Net(STOCK), Net(make)
    assert counted(ours, run(ours)) == counted(stock, run(stock))


@pytest.mark.parametrize("make", OURS)
def test_checkpointed_blocks_compile_as_often(make):
    def of(make):
        net = Net(make)
        call = torch.nn.Module()
        call.net = net
        call.forward = lambda x: checkpoint(net, x, use_reentrant=False)
        trial = Trial(net)
        count = counted(call, lambda call: trial.step(call, times=4))
        trial.judge()
        return count

    assert of(make) == of(STOCK)


@pytest.mark.parametrize("seed", [None, 0])
def test_a_compiled_program_in_a_cuda_graph_that_is_captured_is_refused(monkeypatch, seed):
    """Without a GPU, PyTorch's two questions are answered here."""
    drop = anydrop.torch.Dropout(0.5, seed=seed)
    program = torch.compile(drop, fullgraph=True, backend="aot_eager")
    program(torch.ones(4))
    step = drop.step
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_initialized", lambda: True)
        patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
        with pytest.raises(RuntimeError, match="leave the program out of the graph"):
            program(torch.ones(4))
    assert drop.step == step
    program(torch.ones(4))


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_step_that_drops_nothing_or_all_is_spent(p):
    """As in eager code, though the program needs no mask."""
    drop = anydrop.torch.Dropout(p, seed=0)
    program = torch.compile(drop, fullgraph=True, backend="aot_eager")
    x = torch.tensor([1.0, -0.0, 2.0])
    for step in range(3):
        assert drop.step == step
        y = program(x)
        assert torch.equal(y, drop.eval()(x) if p == 0.0 else torch.zeros(3))
        drop.train()
    assert drop.step == 3


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("step", [5, torch.tensor(5), torch.tensor([5, 0])], ids=str)
def test_a_step_that_is_given_leaves_the_shape(p, step, compiled):
    """A step of two words has a shape of its own."""
    drop = anydrop.torch.Dropout(p, seed=0)
    call = torch.compile(drop, fullgraph=True, backend="aot_eager") if compiled else drop
    assert torch.equal(call(torch.ones(3, 1), step=step), torch.full((3, 1), 1 - p))
    assert drop.step == 0


def test_blocks_that_channels_share_are_one_program():
    x, step = torch.randn(2, 3, 6, 6), torch.tensor(5)

    def dropped(x, step):
        return anydrop.drop_block2d(x, 0.3, 3, shared_axes=1, seed=0, step=step)

    program = torch.compile(dropped, backend="aot_eager", fullgraph=True)
    assert torch.equal(program(x, step), dropped(x, step))
