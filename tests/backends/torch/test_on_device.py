"""PyTorch on a CUDA device: streams, graphs, gradients, compiled programs, memory.

What the subjects `torch-cuda-0-triton` and `-int64` pass in the tests of all backends is not
repeated.
"""

import numpy as np
import pytest
from devices import needs_device
from subjects import available

import anydrop
from anydrop import Dropout, Mask, Window
from anydrop.testing.reference import bits, keep, numbers, select
from anydrop.testing.subject import dtype_of

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )
import torch

pytestmark = [
    *needs_device("torch-cuda"),
    # What PyTorch says of its own doings.
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning"),
]


def ones(*shape, dtype=torch.float32):
    return torch.ones(shape, dtype=dtype, device="cuda")


def test_triton_draws_there():
    """And not the slower arithmetic in int64, which would give the same bits."""
    backend = anydrop.resolve(ones(1))
    kernels = [b.kernel for b, like in backend.probes() if like.device.type == "cuda"]
    assert kernels == ["triton"] * torch.cuda.device_count()


def test_on_the_current_stream():
    """Work queued before it in the same stream comes first, without anyone waiting."""
    stream = torch.cuda.Stream()
    x, large = torch.zeros(2**22, device="cuda"), ones(2**26)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        for _ in range(10):
            torch.sin(large, out=large)
        x += 1
        y = anydrop.dropout(x, 0.5, seed=1)
    stream.synchronize()
    expected = 2.0 * Mask.from_seed(tuple(x.shape), 0.5, seed=1).keep(like=np.empty(0))
    assert np.array_equal(y.cpu().numpy(), expected)


def test_nothing_waits_for_the_device():
    x, step = ones(64, 65), torch.tensor(3, device="cuda")
    drop = Dropout(0.5, seed=0, shared_axes=1)
    drop(x)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        anydrop.dropout(x, 0.5, seed=0, step=step)
        drop.backward(drop(x))
        assert drop.mask.dtype == torch.bool
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_captured_graph_replays_with_another_step():
    x, step = ones(1001), torch.tensor(4, device="cuda")
    anydrop.dropout(x, 0.5, seed=0, step=step)  # compiles
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = anydrop.dropout(x, 0.5, seed=0, step=step)
    for number in (4, 5, 2**40):
        step.fill_(number)
        graph.replay()
        torch.cuda.synchronize()
        expected = 2.0 * keep((1001,), 0.5, seed=0, step=number)
        assert np.array_equal(y.cpu().numpy(), expected)


@pytest.mark.parametrize("function", [anydrop.dropout, anydrop.alpha_dropout])
def test_the_gradient_is_that_of_the_mask(function):
    x = torch.randn(40, 50, device="cuda", requires_grad=True)
    y, mask = function(x, 0.4, seed=2, step=3, return_mask=True)
    g = torch.randn(40, 50, device="cuda")
    (dx,) = torch.autograd.grad(y, x, g)
    assert torch.equal(dx, mask.apply(g))
    assert np.array_equal(dx.cpu().numpy() != 0, keep((40, 50), 0.4, seed=2, step=3))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("recipe", [{}, {"shared_axes": (1,)}, {"p": 0.0}], ids=str)
@pytest.mark.parametrize(
    "dtypes",
    [
        *((name,) * 3 for name in ("float16", "float32", "float64", "complex64")),
        ("float16", "float32", "float32"),
        pytest.param(
            ("bfloat16",) * 3,
            marks=pytest.mark.skipif(
                not available("ml_dtypes"),
                reason="bfloat16 is from the package ml_dtypes, which is not installed here",
            ),
        ),
    ],
)
def test_a_sum_and_its_gradients_have_numpys_bits(dtypes, recipe):
    rng = np.random.default_rng(0)
    shapes = (40, 3, 50), (40, 3, 50), (50,)
    given = [numbers(s, dtype_of(name), rng) for s, name in zip(shapes, dtypes, strict=True)]
    backend = anydrop.resolve(ones(1))
    arrays = [backend.from_numpy(a, ones(1)).requires_grad_() for a in given]
    keywords = {"p": 0.3, "seed": 1, "step": 2, **recipe}

    def add(x, residual, bias):
        return anydrop.dropout_add(x, residual, bias=bias, return_mask=True, **keywords)

    (y, _), (expected, mask) = add(*arrays), add(*given)
    gradient = rng.standard_normal(shapes[0]).astype(given[1].dtype)
    ours = torch.autograd.grad(y, arrays, backend.from_numpy(gradient, ones(1)))
    for a, b in zip((y.detach(), *ours), (expected, *mask.apply(gradient)), strict=True):
        assert bits(backend.to_numpy(a)) == bits(b)


def test_autograd_keeps_nothing():
    x = ones(2**24).requires_grad_()
    anydrop.dropout(x, 0.5, seed=0).sum().backward()
    before = torch.cuda.memory_allocated()
    y = anydrop.dropout(x, 0.5, seed=0)
    kept = torch.cuda.memory_allocated() - before - y.nbytes
    assert kept < 2**20  # a bit an element would be twice as much


def test_a_compiled_program_has_the_bits_of_an_eager_one():
    torch._dynamo.reset()

    def f(x, step):
        return anydrop.dropout(x * 2, 0.5, seed=0, step=step) + 1

    x = torch.randn(64, 65, device="cuda")
    program = torch.compile(f, fullgraph=True)
    for number in (3, 2**40 + 3):
        step = torch.tensor(number, device="cuda")
        assert torch.equal(program(x, step), f(x, step))


def test_the_generators_own_numbers():
    rng = torch.Generator("cuda").manual_seed(7)
    drop = Dropout(0.3, rng=rng)
    y = drop(ones(70, 100))
    rng = torch.Generator("cuda").manual_seed(7)
    uniform = torch.rand((70, 100), generator=rng, device="cuda", dtype=torch.float64)
    assert torch.equal(y != 0, uniform < 0.7)
    assert drop.recipe.bits.nbytes == 875
    assert drop.recipe.bits.device == y.device
    assert np.array_equal(drop.backward(np.ones((70, 100), "f4")), y.cpu().numpy())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize("scale", [1.0, 1 / 0.9, 1 / 3, 6e-5, 3e4])
def test_every_number_of_the_half_types(name, scale):
    if name == "bfloat16" and not available("ml_dtypes"):
        pytest.skip("bfloat16 is from the package ml_dtypes, which is not installed here")
    x = np.arange(2**16, dtype=np.uint16).view(dtype_of(name))
    backend = anydrop.resolve(ones(1))
    array = backend.from_numpy(x, ones(1))
    y = backend.select(array, Mask.from_seed(x.shape, 2.0**-34, seed=0), scale)
    assert bits(backend.to_numpy(y)) == bits(select(x, np.array(True), scale))


def test_more_than_2_31_elements():
    n = 2**31 + 137
    free, _ = torch.cuda.mem_get_info()
    if free < 5 * 2 * n:
        pytest.skip(f"{5 * 2 * n / 1e9:.0f} GB of free device memory are needed for this")
    y = anydrop.dropout(ones(n, dtype=torch.float16), 0.5, seed=3)
    for start in (0, 2**31 - 50, n - 100):
        kept = keep((100,), 0.5, seed=3, window=Window((start,), (n,)))
        assert np.array_equal(y[start : start + 100].cpu().numpy(), 2.0 * kept)
    del y
    torch.cuda.empty_cache()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="two CUDA devices are needed")
def test_two_devices():
    x = torch.ones(5, 7, device="cuda:1")
    drop = Dropout(0.5, seed=0)
    y = drop(x)
    assert y.device == drop.mask.device == x.device
    assert drop.backward(ones(5, 7)).device.index == 0
