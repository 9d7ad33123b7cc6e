"""Modules on a CUDA device: masks, gradients, checkpoints, compiled programs, graphs, memory."""

import json

import pytest
from devices import needs_device
from subjects import available

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from situations import COLUMNS, FILE, SITUATIONS, verdict
from torch.utils.checkpoint import checkpoint
from torch_modules import CASES, cases_where, numbers

import anydrop.torch

DEVICE = "cuda"
OURS = [name for name in COLUMNS if not name.startswith("nn.")]
TABLE = json.loads(FILE.read_text(encoding="utf-8"))
SEEDS = pytest.mark.parametrize("seed", [None, 0])
P = 0.5

pytestmark = [
    *needs_device("torch-cuda"),
    # What PyTorch says of its own doings.
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning"),
    pytest.mark.filterwarnings("ignore:The CUDA Graph is empty:UserWarning"),
]


@pytest.fixture(autouse=True)
def _nothing_compiled():
    torch.compiler.reset()


def ones(*shape):
    return torch.ones(shape, device=DEVICE, requires_grad=True)


def close(case, a, b):
    """Masks have one set of bits. Normal numbers are those of the device's own logarithm."""
    a, b = a.cpu(), b.cpu()
    return torch.allclose(a, b, rtol=1e-5) if case.noise else torch.equal(a, b)


@SEEDS
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_draws_what_it_draws_on_the_cpu(case, seed):
    x = case.input()
    found = []
    for device in ("cpu", DEVICE):
        torch.manual_seed(3)
        module = case.make(seed=seed).to(device)
        found.append([case.run(module, x.to(device)) for _ in range(3)])
    assert all(y.device.type == DEVICE for y in found[1])
    assert all(close(case, *both) for both in zip(*found, strict=True))


@SEEDS
@pytest.mark.parametrize("reentrant", [False, True])
@cases_where(numbers)
def test_a_checkpoint_draws_the_same_masks_again(case, reentrant, seed):
    x = case.input(torch.float64).to(DEVICE).requires_grad_()

    def f(x):
        return (case.run(module, x) * x).square()

    grads = []
    for run in (f, lambda x: checkpoint(f, x, use_reentrant=reentrant)):
        torch.manual_seed(5)
        module = case.make(seed=seed).to(DEVICE)
        one, two = run(x), run(x)
        (one + 2 * two).sum().backward()
        grads.append(x.grad)
        x.grad = None
    torch.testing.assert_close(*grads, rtol=1e-12, atol=0)


MODES = ["default", "reduce-overhead", "max-autotune-no-cudagraphs"]


@SEEDS
@pytest.mark.parametrize("mode", MODES)
def test_a_compiled_step(mode, seed):
    """Each call has a mask of its own, the backward pass has that mask, and eager code draws it."""
    torch.manual_seed(1)
    eager = [anydrop.torch.Dropout(P, seed=seed) for _ in range(2)]
    masks = [[2.0 * (m(ones(64, 65)) != 0) for m in eager] for _ in range(5)]
    torch.manual_seed(1)
    first, second = (anydrop.torch.Dropout(P, seed=seed) for _ in range(2))
    program = torch.compile(lambda x: second((first(x) * 3).sin() + 2), mode=mode)
    for a, b in masks:
        x = ones(64, 65)
        torch.compiler.cudagraph_mark_step_begin()
        y = program(x)
        expected = b * ((a * 3).sin() + 2)
        torch.testing.assert_close(y.detach(), expected.detach())
        y.sum().backward()
        torch.testing.assert_close(x.grad, (b * (a * 3).cos() * 3 * a).detach())


@SEEDS
def test_a_captured_graph_is_refused(seed):
    module = anydrop.torch.Dropout(P, seed=seed)
    x = torch.ones(100, device=DEVICE)
    module(x)
    torch.cuda.synchronize()
    graph = torch.cuda.graph(torch.cuda.CUDAGraph())
    with pytest.raises(RuntimeError, match="would repeat this mask at each replay"), graph:
        module(x)
    with pytest.raises(RuntimeError, match="would repeat"):
        torch.cuda.make_graphed_callables(torch.nn.Sequential(module), (ones(100),))
    torch.cuda.synchronize()


def test_a_graph_with_a_step_of_its_own():
    module = anydrop.torch.Dropout(P, seed=0)
    x, step = torch.ones(100, device=DEVICE), torch.tensor(4, device=DEVICE)
    module(x, step=step)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = module(x, step=step)
    for number in (4, 5, 2**40):
        step.fill_(number)
        graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(y, module(x, step=number))


@SEEDS
def test_nothing_waits_for_the_device(seed):
    module, x = anydrop.torch.Dropout(P, seed=seed), ones(64, 65)
    module(x).sum().backward()  # compiles
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        module(x).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@SEEDS
def test_autograd_keeps_nothing(seed):
    module, x = anydrop.torch.Dropout(P, seed=seed), ones(2**24)
    module(x).sum().backward()
    before = torch.cuda.memory_allocated()
    y = module(x)
    assert torch.cuda.memory_allocated() - before - y.nbytes < 2**16


@SEEDS
def test_in_autocast(seed):
    linear = torch.nn.Linear(64, 64, device=DEVICE)
    module = anydrop.torch.Dropout(P, seed=seed)
    x = torch.randn(32, 64, device=DEVICE)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        h = linear(x)
        y = module(h)
        y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, torch.where(y != 0, 2 * h, 0))
    kept = (y != 0).float().sum(0) * 2
    torch.testing.assert_close(linear.bias.grad, kept, rtol=2e-2, atol=0)


@pytest.mark.parametrize("name", SITUATIONS)
@pytest.mark.parametrize("column", OURS)
def test_each_situation_ends_as_on_the_cpu(name, column):
    with torch.device(DEVICE):
        found = verdict(name, COLUMNS[column])
    assert found == TABLE[name][column]
