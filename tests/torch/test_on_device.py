"""Modules on a CUDA device: masks, gradients, checkpoints, compiled programs, graphs, memory.

Each module's masks, and each situation of docs/reference/torch.md, are compared with the CPU's.
"""

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

from anydrop.torch import Dropout

DEVICE = "cuda"
P = 0.5
SEEDS = pytest.mark.parametrize("seed", [None, 0])
TABLE = json.loads(FILE.read_text(encoding="utf-8"))
_, *OURS = COLUMNS  # the first is PyTorch's own

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
    """Programs of other tests would count towards the compiler's limit, and hold memory."""
    torch.compiler.reset()


def ones(*shape, requires_grad=False):
    return torch.ones(shape, device=DEVICE, requires_grad=requires_grad)


# Masks -------------------------------------------------------------------------------------------


@SEEDS
@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_module_draws_what_it_draws_on_the_cpu(case, seed):
    x = case.input()

    def outputs(device):
        torch.manual_seed(3)
        module = case.make(seed=seed).to(device)
        return [case.run(module, x.to(device)) for _ in range(3)]

    for expected, y in zip(outputs("cpu"), outputs(DEVICE), strict=True):
        assert y.device.type == DEVICE
        assert torch.equal(y.cpu(), expected)


@SEEDS
def test_in_autocast(seed):
    linear = torch.nn.Linear(64, 64, device=DEVICE)
    module = Dropout(P, seed=seed)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        h = linear(torch.randn(32, 64, device=DEVICE))
        y = module(h)
        y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, torch.where(y != 0, 2 * h, 0))
    kept = (y != 0).float().sum(0)
    torch.testing.assert_close(linear.bias.grad, 2 * kept, rtol=2e-2, atol=0)


# Recomputes and compiled programs ----------------------------------------------------------------


@SEEDS
@pytest.mark.parametrize("reentrant", [False, True])
@cases_where(numbers)
def test_a_checkpoint_draws_the_same_masks_again(case, reentrant, seed):
    def gradient(in_a_checkpoint):
        torch.manual_seed(5)
        module = case.make(seed=seed).to(DEVICE)
        x = case.input(torch.float64).to(DEVICE).requires_grad_()

        def f(x):
            return (case.run(module, x) * x).square()

        def run():
            return checkpoint(f, x, use_reentrant=reentrant) if in_a_checkpoint else f(x)

        one, two = run(), run()
        (one + 2 * two).sum().backward()
        return x.grad

    torch.testing.assert_close(gradient(True), gradient(False), rtol=1e-12, atol=0)


@SEEDS
@pytest.mark.parametrize("mode", ["default", "reduce-overhead", "max-autotune-no-cudagraphs"])
def test_each_call_of_a_compiled_program_draws_the_masks_of_eager_code(mode, seed):
    """Its backward pass has the same masks."""

    def two_modules():
        torch.manual_seed(1)
        return Dropout(P, seed=seed), Dropout(P, seed=seed)

    eager = two_modules()
    masks = [[module(ones(64, 65)) for module in eager] for _ in range(5)]
    first, second = two_modules()
    program = torch.compile(lambda x: second((first(x) * 3).sin() + 2), mode=mode)
    for a, b in masks:
        x = ones(64, 65, requires_grad=True)
        torch.compiler.cudagraph_mark_step_begin()
        y = program(x)
        torch.testing.assert_close(y.detach(), b * ((a * 3).sin() + 2))
        y.sum().backward()
        torch.testing.assert_close(x.grad, b * (a * 3).cos() * 3 * a)


@pytest.mark.parametrize("name", SITUATIONS)
@pytest.mark.parametrize("column", OURS)
def test_each_situation_ends_as_on_the_cpu(name, column):
    with torch.device(DEVICE):
        found = verdict(name, COLUMNS[column])
    assert found == TABLE[name][column]


# What is particular to CUDA ----------------------------------------------------------------------


@SEEDS
def test_a_captured_graph_is_refused(seed):
    module, x = Dropout(P, seed=seed), ones(100)
    module(x)  # compiles
    torch.cuda.synchronize()
    capture = torch.cuda.graph(torch.cuda.CUDAGraph())
    with pytest.raises(RuntimeError, match="would repeat this mask at each replay"), capture:
        module(x)
    model, leaf = torch.nn.Sequential(module), ones(100, requires_grad=True)
    with pytest.raises(RuntimeError, match="would repeat this mask at each replay"):
        torch.cuda.make_graphed_callables(model, (leaf,))
    torch.cuda.synchronize()


def test_a_captured_graph_draws_the_step_that_a_tensor_says():
    module, x, step = Dropout(P, seed=0), ones(100), torch.tensor(4, device=DEVICE)
    module(x, step=step)  # compiles
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
    module, x = Dropout(P, seed=seed), ones(64, 65, requires_grad=True)
    module(x).sum().backward()  # compiles
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        module(x).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@SEEDS
def test_autograd_keeps_nothing(seed):
    module, x = Dropout(P, seed=seed), ones(2**24, requires_grad=True)
    module(x).sum().backward()
    before = torch.cuda.memory_allocated()
    y = module(x)
    kept = torch.cuda.memory_allocated() - before - y.nbytes
    assert kept < 2**16  # a bit an element would be 32 times as much
