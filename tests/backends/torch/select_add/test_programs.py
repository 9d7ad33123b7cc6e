"""`dropout_add` in programs of PyTorch's: compiled, exported, traced, mapped and run again."""

import shutil

import pytest
from subjects import available

import anydrop

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.func import grad, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),  # torch's own calls
    pytest.mark.filterwarnings("ignore:.torch._prims_common.check:FutureWarning"),
]
F16, BF16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64
ONE = ((F16, F16, F16), (BF16, BF16, BF16), (F32, F32, F32), (F64, F64, F64))
MIXED = ((F16, F32, F32), (F16, F32, F16), (BF16, F32, F32), (BF16, BF16, F32))


def add(x, residual, bias=None, step=2, **keywords):
    keywords = {"p": 0.3, "seed": 3, **keywords}
    return anydrop.dropout_add(x, residual, bias=bias, step=step, **keywords)


def example(dtypes=(F64, F64, F64), rows=6):
    """Return x, residual and bias."""
    rng = torch.Generator().manual_seed(0)
    shapes = (rows, 5), (rows, 5), (5,)
    return [torch.randn(s, generator=rng).to(d) for s, d in zip(shapes, dtypes, strict=True)]


def gradients(function, arrays):
    """Return the result for leaves like these arrays, and the gradients of all of them."""
    leaves = [a.detach().clone().requires_grad_() for a in arrays]
    y = function(*leaves)
    weights = torch.linspace(-3, 5, y.numel()).reshape(y.shape).to(y.dtype)
    y.backward(weights)
    return [y.detach(), *(leaf.grad for leaf in leaves)]


def same(ours, theirs):
    assert [a.dtype for a in ours] == [a.dtype for a in theirs]
    assert all(map(torch.equal, ours, theirs))


def counted(function, backend="aot_eager", **options):
    torch.compiler.reset()
    add(*example())  # The search for a backend compiles anew when a library is first seen.
    counter = CompileCounterWithBackend(backend)
    return torch.compile(function, fullgraph=True, backend=counter, **options), counter


# Compiled -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtypes", ONE + MIXED)
def test_compiled_it_has_the_bits_of_eager_mode(dtypes):
    """Forward and backward, whatever the step, with one compilation."""
    program, counter = counted(add)
    arrays = example(dtypes)
    for step in (0, 5, 2**40):
        ours = gradients(lambda *a, step=step: program(*a, torch.tensor(step)), arrays)
        same(ours, gradients(lambda *a, step=step: add(*a, step), arrays))
    assert counter.frame_count == 1


@pytest.mark.skipif(not shutil.which("g++"), reason="there is no g++, which Inductor needs")
@pytest.mark.parametrize("dtypes", [(F16, F32, F32), (BF16, BF16, BF16), (F32, F32, F32)])
def test_inductor(dtypes):
    def block(x, residual, bias):
        return add(x * 1.5, residual, bias).relu() + 1

    # It is told to round half types in between, too, as PyTorch does.
    torch.compiler.reset()
    program = torch.compile(block, fullgraph=True, options={"emulate_precision_casts": True})
    same(gradients(program, example(dtypes)), gradients(block, example(dtypes)))


@pytest.mark.parametrize(
    "options",
    [{}, {"shared_axes": 1}, {"window": anydrop.Window((1, 2), (99, 99))}, {"p": 0.0}],
    ids=str,
)
def test_lengths_that_change(options):
    """The tree of the sum for the bias, too, is compiled once."""
    program, counter = counted(lambda *arrays: add(*arrays, **options), dynamic=True)
    for rows in (4, 6, 7, 33):
        ours = gradients(program, example(rows=rows))
        theirs = gradients(lambda *arrays: add(*arrays, **options), example(rows=rows))
        for a, b in zip(ours, theirs, strict=True):
            # Where nothing is dropped, the compiler follows PyTorch's own sum.
            torch.testing.assert_close(a, b, rtol=0.0 if "p" not in options else 1e-12, atol=0.0)
    assert counter.frame_count == 1


def test_complex_numbers():
    program, _ = counted(add)
    arrays = [a * (1 + 2j) for a in example()]
    same(gradients(program, arrays), gradients(add, arrays))


def test_compiled_nothing_of_the_arrays_size_is_saved():
    program, _ = counted(add)
    arrays, sizes = [a.requires_grad_() for a in example(rows=1000)], []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.nbytes) or x, id):
        program(*arrays, torch.tensor(2))
    assert sum(sizes) <= 8


@pytest.mark.parametrize("strict", [False, True])
def test_exported(strict):
    class Model(torch.nn.Module):
        def forward(self, x, residual, bias, step):
            return add(x, residual, bias, step)

    arrays = example()
    program = torch.export.export(Model(), (*arrays, torch.tensor(9)), strict=strict).module()
    same(gradients(lambda *a: program(*a, torch.tensor(2)), arrays), gradients(add, arrays))


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_make_fx(mode):
    arrays = example()

    def run(*arrays):
        return grad(lambda *a: (add(*a) ** 3).sum(), argnums=(0, 1, 2))(*arrays)

    same(make_fx(run, tracing_mode=mode)(*arrays)(*arrays), run(*arrays))


@pytest.mark.parametrize("dtypes", [(F64, F64, F64), (F16, F32, F32)])
def test_at_inference_a_program_has_pytorchs_own_operations_alone(dtypes):
    """A compiler may fuse them, and another one needs no anydrop."""
    arrays = example(dtypes)
    program = make_fx(lambda *a: add(*a, training=False))(*arrays)
    calls = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert "aten.add.Tensor" in calls
    assert not any("anydrop" in name for name in calls)
    same([program(*arrays)], [add(*arrays, training=False)])


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_jit_trace():
    arrays, others = example(), [a + 1 for a in example()]
    traced = torch.jit.trace(add, tuple(arrays))
    same([traced(*others)], [add(*others)])


def test_the_operators_keep_the_rules_of_operators():
    """PyTorch's own checks: schema, autograd, fake tensors, dynamic shapes."""
    x, residual, bias = (a.requires_grad_() for a in example())
    place = torch.tensor([2, 1, 1])
    for added in (None, bias):
        for rest in (
            (place[:1], [], [1, 2], 0.5, [], "", 2.0),
            (place, [9, 9], [1, 2], 0.5, [1], "int64", 2.0),
        ):
            operator = torch.ops.anydrop.select_add.default
            torch.library.opcheck(operator, (x, residual, added, *rest))
    for shape, dtype in (((5,), F64), ((6, 1), F32), ((), F64), ((6, 5), F64)):
        torch.library.opcheck(torch.ops.anydrop.sum_to.default, (x, shape, dtype))


def test_without_numbers():
    """On the meta device, and of fake tensors."""
    x, residual, bias = (a.to("meta") for a in example((F16, F32, F32)))
    y = add(x.requires_grad_(), residual, bias)
    assert (y.device, y.dtype, y.shape) == (x.device, F32, x.shape)
    with FakeTensorMode() as mode:
        arrays = [torch.empty(4, 3), torch.empty(4, 3), torch.empty(3)]
        inside = add(*arrays)
    for y in (inside, add(*arrays)):
        assert isinstance(y, FakeTensor)
        assert y.fake_mode is mode


# Mapped -------------------------------------------------------------------------------------------

MAPPED = [(0, 0, 0), (0, None, None), (None, 0, None), (None, None, 0), (0, 0, None), (1, 0, 1)]


def each(arrays, dims):
    """Return the arguments of each of three examples, and those of all of them."""
    examples = [
        [a * (1 + i if dim is not None else 1) for a, dim in zip(arrays, dims, strict=True)]
        for i in range(3)
    ]
    together = [
        one[0] if dim is None else torch.stack(one, dim=dim)
        for one, dim in zip(zip(*examples, strict=True), dims, strict=True)
    ]
    return examples, together


@pytest.mark.parametrize("dims", MAPPED)
@pytest.mark.parametrize(
    "recipe",
    [{}, {"shared_axes": 0}, {"window": anydrop.Window((1, 2), (9, 9))}, {"p": 0.0}],
    ids=str,
)
def test_one_mask_for_all_examples(dims, recipe):
    def cubes(*arrays):
        return (add(*arrays, **recipe) ** 3).sum()

    examples, together = each(example(), dims)
    y = vmap(lambda *a: add(*a, **recipe), in_dims=dims)(*together)
    assert torch.equal(y, torch.stack([add(*one, **recipe) for one in examples]))
    ours = vmap(grad(cubes, argnums=(0, 1, 2)), in_dims=dims)(*together)
    theirs = [grad(cubes, argnums=(0, 1, 2))(*one) for one in examples]
    for a, b in zip(ours, zip(*theirs, strict=True), strict=True):
        torch.testing.assert_close(a, torch.stack(b), rtol=1e-12 if "p" in recipe else 0, atol=0)


@pytest.mark.parametrize("dims", [(0, 0, 0), (None, None, None)])
def test_a_step_for_each_example(dims):
    examples, together = each(example(), dims)
    steps = torch.tensor([0, 5, 2**40])
    y = vmap(add, in_dims=(*dims, 0))(*together, steps)
    expected = [add(*one, int(step)) for one, step in zip(examples, steps, strict=True)]
    assert torch.equal(y, torch.stack(expected))


def test_forward_mode():
    """Linear in all three together, and where only some have a tangent."""
    arrays, tangents = example(), [a.flip(0) for a in example()]
    assert torch.equal(jvp(add, tuple(arrays), tuple(tangents))[1], add(*tangents))
    x, residual, bias = arrays
    y = jvp(lambda bias: add(x, residual, bias), (bias,), (tangents[2],))[1]
    zeros = torch.zeros_like(x)
    assert torch.equal(y, add(zeros, zeros, tangents[2]))
    y = jvp(lambda residual: add(x, residual), (residual,), (tangents[1],))[1]
    assert torch.equal(y, add(zeros, tangents[1]))


@pytest.mark.parametrize("transform", ["jvp", "vmap", "grad"])
def test_transforms_in_a_program(transform):
    calls = {
        "jvp": lambda *a: jvp(add, a, a)[1],
        "vmap": lambda *a: (
            vmap(add, in_dims=(0, 0, None))(a[0].expand(2, 6, 5), a[1] * 2, a[2])
            if False
            else vmap(add)(*(t.expand(2, *t.shape) for t in a))
        ),
        "grad": lambda *a: grad(lambda *a: (add(*a) ** 3).sum(), argnums=2)(*a),
    }
    program, _ = counted(calls[transform])
    assert torch.equal(program(*example()), calls[transform](*example()))


# Run again, and in several dtypes -----------------------------------------------------------------


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpoint(use_reentrant):
    def run(x, residual, bias):
        return add(x.sin(), residual.cos(), bias).sin()

    def in_a_checkpoint(*arrays):
        return checkpoint(run, *arrays, use_reentrant=use_reentrant)

    same(gradients(in_a_checkpoint, example()), gradients(run, example()))


@pytest.mark.parametrize("which", [(0,), (1,), (2,), (0, 1), (1, 2)])
@pytest.mark.parametrize("compiled", [False, True])
def test_some_need_no_gradient(which, compiled):
    run = counted(add)[0] if compiled else add
    arrays = example()
    for i in which:
        arrays[i].requires_grad_()
    y = run(*arrays)
    g = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad(y, [arrays[i] for i in which], g)
    _, mask = add(*example(), return_mask=True)
    same(ours, [mask.apply(g)[i] for i in which])
    assert all(a.grad_fn is None for a in arrays)


@pytest.mark.parametrize("dtype", [F16, BF16])
@pytest.mark.parametrize("compiled", [False, True])
def test_autocast(dtype, compiled):
    """The linear layer returns a half type; residual and bias stay float32, and so does y."""
    linear, bias = torch.nn.Linear(5, 5, bias=False), torch.nn.Parameter(torch.randn(5))
    x = torch.randn(6, 5)

    def block(x):
        with torch.autocast("cpu", dtype):
            y = linear(x)
            assert y.dtype == dtype
            return add(y, x, bias), y

    run = counted(block)[0] if compiled else block
    y, hidden = run(x)
    assert y.dtype == F32
    assert torch.equal(y, add(hidden, x, bias))
    y.square().sum().backward()
    _, mask = add(hidden, x, bias, return_mask=True)
    dx, _, db = mask.apply(2 * y.detach())
    assert torch.equal(bias.grad, db)
    assert dx.dtype == dtype
    assert linear.weight.grad.dtype == F32


@pytest.mark.parametrize("p", [0.3, 0.0])
def test_gradients_that_are_equal_are_apart(p):
    """In one memory the one would change with the other."""
    leaves = [torch.ones(6, 5, requires_grad=True) for _ in range(3)]
    add(*leaves, p=p).sum().backward()
    for i, leaf in enumerate(leaves):
        before = [other.grad.clone() for other in leaves]
        leaf.grad.fill_(7.0 + i)
        assert all(torch.equal(leaves[j].grad, before[j]) for j in range(3) if j != i)
