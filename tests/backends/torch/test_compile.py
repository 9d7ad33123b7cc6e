"""Compiled programs: the bits of eager ones, any step without compiling anew, no mask twice."""

import shutil

import numpy as np
import pytest
from process import python
from subjects import available

import anydrop
from anydrop import Dropout, Mask, Window
from anydrop.testing.reference import keep

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch._inductor.utils import get_first_incompatible_cudagraph_node
from torch.func import grad, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),  # torch's own calls
    pytest.mark.filterwarnings("ignore:.torch._prims_common.check:FutureWarning"),
]
SHAPE = (4, 3)
X = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _nothing_compiled():
    """Nothing but the search for a backend, which compiles anew when a library is first seen."""
    torch.compiler.reset()
    drop(X)


def drop(x, step=2, **recipe):
    return anydrop.dropout(x, 0.5, seed=3, step=step, **recipe)


def expected(x=X, step=2, seed=3, p=0.5, **recipe):
    kept = torch.from_numpy(keep(tuple(x.shape), p, seed=seed, step=step, **recipe))
    return torch.where(kept, x / (1 - p), 0)


def compiled(call, **options):
    """Return a compiled function, and the counter of its compilations."""
    counter = CompileCounterWithBackend("aot_eager")
    return torch.compile(call, fullgraph=True, backend=counter, **options), counter


@pytest.mark.skipif(not shutil.which("g++"), reason="there is no g++, which Inductor needs")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_inductor(dtype):
    """With the default backend: the bits of eager mode, forward and backward."""
    x = X.to(dtype, copy=True).requires_grad_()
    program = torch.compile(lambda x: drop(x * 1.5) + 1, fullgraph=True)
    y, expected = program(x), drop(x * 1.5) + 1
    assert torch.equal(y, expected)
    gradients = (torch.autograd.grad(y.sum(), x) for y in (y, expected))
    assert torch.equal(*(gradient for (gradient,) in gradients))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex(dtype):
    program, _ = compiled(drop)
    x = X.to(dtype) * (1 + 2j)
    assert torch.equal(program(x), expected(x))


def test_the_first_call_of_a_process_is_compiled():
    """The backend is imported while the compiler traces."""
    printed = python("""
        import numpy as np, torch, anydrop
        def call(x):
            return anydrop.dropout(x, 0.5, seed=3)
        program = torch.compile(call, fullgraph=True, backend="aot_eager")
        x = torch.ones(100)
        once, twice = program(x), program(x)
        eager = call(x)
        assert np.array_equal(anydrop.dropout(np.ones(100, "f4"), 0.5, seed=3), eager.numpy())
        print(torch.equal(once, eager), torch.equal(twice, eager))
    """)
    assert printed == "True True"


# Steps, seeds, windows --------------------------------------------------------------------------


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("dynamic", [None, False])
def test_no_step_that_is_a_tensor_compiles_anew(requires_grad, dynamic):
    x = X.clone().requires_grad_(requires_grad)
    program, counter = compiled(drop, dynamic=dynamic)
    for step in (0, 1, 2, 7, 2**40, 2**63 - 1):
        assert torch.equal(program(x, torch.tensor(step)), expected(step=step))
    assert counter.frame_count == 1
    for low, high in ((0, 0), (3, 5), (2**32 - 1, 2**32 - 1)):
        words = torch.tensor([low, high], dtype=torch.uint32)
        assert torch.equal(program(x, words), expected(step=low + high * 2**32))
    assert counter.frame_count == 2


def test_a_step_counted_by_the_program_itself():
    def run(x, step):
        for _ in range(3):
            x = drop(x, step=step)
            step = step + 1
        return x, step

    program, _ = compiled(run)
    step = torch.tensor(5)
    y, step = program(X, step)
    assert step == 8
    assert torch.equal(y, expected(expected(expected(X, 5), 6), 7))


def test_steps_that_are_ints():
    program, counter = compiled(drop)
    for step in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 2**40, 2**63 - 1, 2**63, 2**64 - 1):
        assert torch.equal(program(X, step), expected(step=step))
    assert counter.frame_count < 8


@pytest.mark.parametrize("seeds", [(0, 1, 2, 3), (2**70, 5), ((1, 2), (3, 4))])
def test_seeds(seeds):
    program, _ = compiled(lambda x, seed: anydrop.dropout(x, 0.5, seed=seed, step=2))
    for seed in seeds:
        assert torch.equal(program(X, seed), expected(seed=seed))


def test_a_seed_sequence():
    first, second = np.random.SeedSequence(7).spawn(2)
    program, _ = compiled(lambda x, seed: anydrop.dropout(x, 0.5, seed=seed, step=2))
    for seed in (first, second, first):
        assert torch.equal(program(X, seed), anydrop.dropout(X, 0.5, seed=seed, step=2))


def test_probabilities():
    program, _ = compiled(lambda x, p: anydrop.dropout(x, p, seed=3, step=2, scaling="inference"))
    for p in (0.1, 0.3, 0.6, 0.0):
        kept = torch.from_numpy(keep(SHAPE, p, seed=3, step=2))
        assert torch.equal(program(X, p), torch.where(kept, X, 0))


def test_windows():
    program, counter = compiled(lambda x, o: drop(x, window=Window((o, 1), (2**40, 9))))
    for start in (0, 5, 2**35, 2**40 - 4):
        window = Window((start, 1), (2**40, 9))
        assert torch.equal(program(X, torch.tensor(start)), expected(window=window))
    assert counter.frame_count == 1
    assert torch.equal(program(X, 7), expected(window=Window((7, 1), (2**40, 9))))


@pytest.mark.parametrize(
    "recipe", [{}, {"shared_axes": (0,)}, {"window": Window((1, 2), (99, 99)), "shared_axes": (1,)}]
)
def test_shapes_that_change(recipe):
    program, counter = compiled(lambda x: drop(x, **recipe), dynamic=True)
    for n in (5, 6, 7, 20):
        x = -torch.arange(3.0).expand(n, 3)
        y = program(x)
        assert torch.equal(y, expected(x, **recipe))
        assert torch.equal(y.signbit(), expected(x, **recipe).signbit())  # of -0 too
    assert counter.frame_count == 1


# Masks and layers -------------------------------------------------------------------------------


def test_keep():
    def kept(x, step):
        return Mask.from_seed(x.shape, 0.5, seed=3, step=step).keep(like=x)

    program, counter = compiled(kept)
    for step in (0, 3, 2**40):
        assert torch.equal(program(X, torch.tensor(step)), expected(step=step) != 0)
    assert counter.frame_count == 1
    assert torch.equal(program(X, 2**64 - 1), expected(step=2**64 - 1) != 0)


def test_the_mask_that_is_returned():
    program, _ = compiled(lambda x: drop(x, return_mask=True))
    y, mask = program(X)
    assert mask == Mask.from_seed(SHAPE, 0.5, seed=3, step=2)
    assert torch.equal(mask.apply(X), y)
    program, _ = compiled(lambda mask, x: mask.apply(x))
    assert torch.equal(program(mask, X), y)


class Network(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.drop = layer

    def forward(self, x):
        return self.drop(x)


def around(layer):
    return {"function": lambda x: layer(x), "module": Network(layer)}


@pytest.mark.parametrize("kind", ["function", "module"])
def test_a_layer_never_draws_a_mask_twice(kind):
    """Each step compiles anew, up to the compiler's limit; then it is run as it is."""
    layer, other = Dropout(0.5, seed=3), Dropout(0.5, seed=3)
    program = torch.compile(around(layer)[kind], backend="aot_eager")
    for step in range(12):
        assert torch.equal(program(X), expected(step=step))
        assert layer.step == step + 1
        assert torch.equal(layer.mask, expected(step=step) != 0)
        assert torch.equal(layer.backward(X), expected(step=step))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(X), expected(step=12))


@pytest.mark.parametrize("kind", ["function", "module"])
def test_a_layer_whose_step_is_a_tensor_is_compiled_once(kind):
    layer = Dropout(0.5, seed=3)
    layer.step = torch.tensor(0)
    program, counter = compiled(around(layer)[kind])
    x = X.clone().requires_grad_()
    for step in range(12):
        y = program(x)
        assert torch.equal(y, expected(step=step))
        assert torch.equal(torch.autograd.grad(y.sum(), x)[0], 2.0 * layer.mask)
        assert torch.equal(layer.mask, expected(step=step) != 0)
    assert counter.frame_count == 1
    assert layer.state_dict()["step"] == 12


@pytest.mark.parametrize("step", [0, 2**64 - 3, torch.tensor(0)], ids=["int", "last", "tensor"])
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_compiled_layer_in_a_checkpoint_is_refused(step, use_reentrant):
    """The checkpoint runs the program again, where no Python code of the layer's is left."""
    layer = Dropout(0.5, seed=3)
    layer.step = step
    program, _ = compiled(layer.forward)
    x = X.clone().requires_grad_()
    y = checkpoint(program, x, use_reentrant=use_reentrant)
    with pytest.raises(TypeError, match=r"in this backward pass.*anydrop\.torch\.Dropout"):
        y.sum().backward()
    first = 2**64 - 3 if step == 2**64 - 3 else 0
    y = program(x)
    assert torch.equal(y, expected(step=first + 1))
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], 2.0 * layer.mask)
    assert layer.state_dict()["step"] == first + 2


def test_two_calls_of_a_layer_in_one_program():
    layer = Dropout(0.5, seed=3)
    program, _ = compiled(lambda x: layer(layer(x)))
    for step in (0, 2, 4):
        assert torch.equal(program(X), expected(expected(step=step), step + 1))
    assert layer.step == 6


# With derivatives and transforms ----------------------------------------------------------------


def test_nothing_of_the_masks_size_is_saved():
    sizes = []

    def pack(x):
        sizes.append(x.numel() * x.element_size())
        return x

    x = torch.ones(100, 100, requires_grad=True)
    program, _ = compiled(drop)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        y = program(x, torch.tensor(2))
    assert sum(sizes) <= 16
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], expected(torch.ones(100, 100)))


@pytest.mark.parametrize(
    "transform",
    [
        lambda x: jvp(drop, (x,), (x,))[1],
        grad(lambda x: (drop(x) ** 3).sum()),
        lambda x: vmap(drop)(x.expand(2, *SHAPE)),
        lambda x: vmap(grad(lambda x: (drop(x) ** 3).sum()))(x.expand(2, *SHAPE)),
        lambda x: vmap(lambda step: drop(x, step))(torch.arange(3)),
    ],
)
def test_transforms_in_a_program(transform):
    program, _ = compiled(transform)
    assert torch.equal(program(X), transform(X))  # which test_torch_transforms holds to numbers


@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace:UserWarning")
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_a_layer_within_vmap_is_refused_here_too(chunk_size):
    layer = anydrop.Dropout(0.5, seed=0)
    program = torch.compile(lambda x: vmap(layer, chunk_size=chunk_size)(x), backend="eager")
    with pytest.raises(TypeError, match="a layer counts its forwards, and torch"):
        program(torch.ones(4, 6))
    assert (layer.step, layer.recipe) == (0, None)
    twice = torch.compile(lambda x: layer(x) + 0, backend="eager")
    assert torch.equal(twice(torch.ones(6)), anydrop.dropout(torch.ones(6), 0.5, seed=0))


def test_checkpoint_in_a_program():
    def run(x, step):
        return torch.utils.checkpoint.checkpoint(
            lambda x: drop(x.sin(), step), x, use_reentrant=False
        )

    program, _ = compiled(run)
    x = X.clone().requires_grad_()
    for step in (0, 4):
        (gradient,) = torch.autograd.grad(program(x, torch.tensor(step)).sum(), x)
        assert torch.equal(gradient, expected(torch.ones_like(X), step) * X.cos())


@pytest.mark.parametrize("strict", [False, True])
def test_export(strict):
    """The exported program draws masks, has a derivative, and takes any step."""

    class Model(torch.nn.Module):
        def forward(self, x, step):
            return drop(x, step)

    program = torch.export.export(Model(), (X, torch.tensor(9)), strict=strict).module()
    x = X.clone().requires_grad_()
    y = program(x, torch.tensor(2))
    assert torch.equal(y, expected())
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, expected(torch.ones_like(X)))


def test_the_operator_keeps_the_rules_of_operators():
    """PyTorch's own checks: schema, autograd, fake tensors, dynamic shapes."""
    x = X.clone().requires_grad_()
    place = torch.tensor([2, 1, 1])
    for arguments in (
        (place[:1], [], [1, 2], 0.5, [], "", 2.0, -0.0, 0.0),
        (place, [9, 9], [1, 2], 0.5, [1], "int64", 2.0, 0.5, 0.1),
    ):
        torch.library.opcheck(torch.ops.anydrop.select.default, (x, *arguments))


def test_inductor_captures_no_mask_in_a_cuda_graph():
    """A captured kernel would keep the step that it got from the host, and repeat its mask."""
    program = make_fx(lambda x, step: drop(x, step))(X, torch.tensor(2))
    (node,) = (n for n in program.graph.nodes if "anydrop" in str(n.target))
    assert get_first_incompatible_cudagraph_node(program) is node
