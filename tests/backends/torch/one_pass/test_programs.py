"""Noise, zoneout and DropBlock in programs of PyTorch's: compiled, exported, traced and mapped."""

import shutil

import numpy as np
import pytest
from subjects import available

import anydrop
from anydrop import Window
from anydrop.testing.reference import bits, numbers
from anydrop.testing.subject import dtype_of

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.func import grad, jacfwd, jacrev, jvp, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

from anydrop.backends.torch import host
from anydrop.backends.torch.backend import TorchBackend

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),  # torch's own calls
    pytest.mark.filterwarnings("ignore:.torch._prims_common.check:FutureWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]
DTYPES = ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
INDUCTOR = pytest.param(
    "inductor",
    marks=pytest.mark.skipif(not shutil.which("g++"), reason="Inductor needs g++; none here"),
)


class Call:
    """A function of the catalogue, of arrays of a shape."""

    def __init__(self, name, *settings, shape=(3, 4, 5), count=1, **keywords):
        self.function = getattr(anydrop, name)
        self.settings, self.keywords = settings, keywords
        self.shape, self.count = shape, count

    def __call__(self, *arrays, step=3, **more):
        given = {**self.keywords, **more}
        return self.function(*arrays[: self.count], *self.settings, seed=1, step=step, **given)

    def arrays(self, dtype="float64", seed=0):
        if dtype == "bfloat16" and not available("ml_dtypes"):
            pytest.skip("ml_dtypes is not installed here; nox -s tests-torch runs this")
        rng = np.random.default_rng(seed)
        return [numbers(self.shape, dtype_of(dtype), rng) for _ in range(self.count)]

    def finite(self, seed=0):
        rng = torch.Generator().manual_seed(seed)
        return [
            torch.randn(self.shape, dtype=torch.float64, generator=rng) for _ in range(self.count)
        ]


SEQUENCES, MAPS, VOLUMES = (2, 3, 9), (2, 3, 7, 6), (2, 2, 4, 5, 3)
WINDOW = {"window": Window((2, 3, 4), (9, 20, 31))}
CALLS = {
    "noise": Call("gaussian_noise", 0.7),
    "noise, shared": Call("gaussian_noise", 0.7, shared_axes=1),
    "noise in a window": Call("gaussian_noise", 0.7, **WINDOW),
    "gaussian": Call("gaussian_dropout", 0.3),
    "gaussian, shared": Call("gaussian_dropout", 0.3, shared_axes=(0, 2)),
    "gaussian in a window": Call("gaussian_dropout", 0.3, **WINDOW),
    "gaussian at p = 0": Call("gaussian_dropout", 0.0),
    "zoneout": Call("zoneout", 0.3, count=2),
    "zoneout, shared": Call("zoneout", 0.3, count=2, shared_axes=1),
    "zoneout in a window": Call("zoneout", 0.3, count=2, **WINDOW),
    "blocks1d": Call("drop_block1d", 0.3, 3, shape=SEQUENCES),
    "blocks1d in a window": Call(
        *("drop_block1d", 0.3, 3), shape=SEQUENCES, window=Window((1, 0, 5), (9, 3, 20))
    ),
    "blocks2d": Call("drop_block2d", 0.3, (3, 2), shape=MAPS),
    "blocks2d, shared": Call("drop_block2d", 0.3, 3, shape=MAPS, shared_axes=1),
    "blocks2d in a window": Call(
        *("drop_block2d", 0.3, 3), shape=MAPS, window=Window((1, 0, 5, 2), (9, 3, 20, 30))
    ),
    "blocks2d of 2014": Call("drop_block2d", 0.3, 3, shape=MAPS, scaling="inference"),
    "blocks3d": Call("drop_block3d", 0.3, 2, shape=VOLUMES),
    "blocks3d, shared": Call("drop_block3d", 0.3, 2, shape=VOLUMES, shared_axes=(0, 1)),
}
CHANGING = {name: call for name, call in CALLS.items() if "p = 0" not in name}


def leaves_of(arrays):
    return [host.tensor(a).requires_grad_() for a in arrays]


def gradients_in_numpy(call, arrays, g):
    """Return NumPy's result, and the gradients of its arrays."""
    y, mask = call(*arrays, return_mask=True)
    of_arrays = mask.apply(g)
    return [y, *(of_arrays if isinstance(of_arrays, tuple) else (of_arrays,))]


def numbers_of(x):
    return bits(TorchBackend().to_numpy(x))


# Compiled programs ------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["aot_eager", INDUCTOR])
@pytest.mark.parametrize("dtype", DTYPES)
def test_eager_and_compiled_they_have_the_bits_of_numpy(dtype, backend):
    """All in one program, forward and backward, and nothing of an array's size is kept."""
    torch.compiler.reset()
    names = [name for name in CALLS if not (dtype.startswith("complex") and "noise" in name)]
    calls = [CALLS[name] for name in names]
    given = [call.arrays(dtype) for call in calls]
    results = [call.arrays(dtype, seed=1)[0] for call in calls]  # gradients of them
    expected = [gradients_in_numpy(*each) for each in zip(calls, given, results, strict=True)]

    def run(given, step):
        return [call(*arrays, step=step) for call, arrays in zip(calls, given, strict=True)]

    program = torch.compile(run, fullgraph=True, backend=backend)
    for function in (run, program):
        leaves = [leaves_of(arrays) for arrays in given]
        kept = []

        def pack(x, kept=kept):
            kept.append(x.numel() * x.element_size())
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            ys = function(leaves, torch.tensor(3))
        assert bool(kept) == (function is program)  # which keeps places in the stream
        assert max(kept, default=0) <= 8 * 6
        flat = [leaf for arrays in leaves for leaf in arrays]
        found = torch.autograd.grad(ys, flat, [host.tensor(g) for g in results], allow_unused=True)
        pairs = zip(flat, found, strict=True)
        gradients = iter([torch.zeros_like(a) if d is None else d for a, d in pairs])
        for name, call, y, wanted in zip(names, calls, ys, expected, strict=True):
            ours = [y, *(next(gradients) for _ in range(call.count))]
            assert [numbers_of(a) for a in ours] == [bits(np.asarray(a)) for a in wanted], name


def test_no_step_that_is_a_tensor_compiles_anew():
    torch.compiler.reset()
    names = ["noise in a window", "zoneout", "blocks2d"]
    given = [CALLS[name].finite() for name in names]

    def run(step):
        return [CALLS[name](*arrays, step=step) for name, arrays in zip(names, given, strict=True)]

    run(0)
    counter = CompileCounterWithBackend("aot_eager")
    program = torch.compile(run, fullgraph=True, backend=counter)
    for step in (0, 1, 7, 2**40):
        for y, expected in zip(program(torch.tensor(step)), run(step), strict=True):
            assert torch.equal(y, expected)
    assert counter.frame_count == 1


@pytest.mark.parametrize("name", CHANGING)
def test_lengths_that_change(name):
    call = CALLS[name]
    torch.compiler.reset()
    arrays = call.finite()
    call(*arrays)
    counter = CompileCounterWithBackend("aot_eager")
    program = torch.compile(call, fullgraph=True, backend=counter)
    for n in (7, 5, 6):
        batch = [torch.cat([x] * n)[:n] for x in arrays]
        for x in batch:
            torch._dynamo.mark_dynamic(x, 0)
        assert torch.equal(program(*batch), call(*batch))
    assert counter.frame_count == 1


@pytest.mark.parametrize("strict", [False, True])
def test_export(strict):
    class Model(torch.nn.Module):
        def forward(self, x, step):
            x = anydrop.gaussian_noise(x, 0.3, seed=1, step=step)
            x = anydrop.zoneout(x, -x, 0.3, seed=2, step=step)
            return anydrop.drop_block1d(x, 0.3, 2, seed=3, step=step)

    (x,) = CALLS["noise"].finite()
    program = torch.export.export(Model(), (x, torch.tensor(9)), strict=strict).module()
    a, b = (x.clone().requires_grad_() for _ in range(2))
    ours, theirs = program(a, torch.tensor(2)), Model()(b, 2)
    assert torch.equal(ours, theirs)
    for y in (ours, theirs):
        (y**2).sum().backward()
    assert torch.equal(a.grad, b.grad)


def test_the_operators_keep_the_rules_of_operators():
    """PyTorch's own checks: schema, autograd, fake tensors, dynamic shapes."""
    x, h = (t.requires_grad_() for t in CALLS["zoneout"].finite())
    place = torch.tensor([2, 1, 1, 1])
    recipes = (place[:1], [], [1, 2], 0.5, [], ""), (place, [9, 9, 9], [1, 2], 0.5, [1], "int64")
    operators = torch.ops.anydrop
    for recipe in recipes:
        for relative in (False, True):
            torch.library.opcheck(operators.perturb.default, (x, *recipe, 0.3, relative))
        for states in ((x, h), (x, None), (None, h)):
            torch.library.opcheck(operators.choose.default, (*states, *recipe))
        torch.library.opcheck(operators.select_blocks.default, (x, *recipe, [2, 1, 3], 2.0))


@pytest.mark.parametrize("name", CHANGING)
def test_checkpoint(name):
    call = CALLS[name]
    for use_reentrant in (True, False):
        a, b = call.finite(), call.finite()
        for x in (*a, *b):
            x.requires_grad_()
        again = checkpoint(lambda *x: call(*(t.sin() for t in x)), *a, use_reentrant=use_reentrant)
        for y in (again, call(*(t.sin() for t in b))):
            (y**2).sum().backward()
        assert all(torch.equal(x.grad, y.grad) for x, y in zip(a, b, strict=True))


# Transforms -------------------------------------------------------------------------------------


@pytest.fixture(params=[backend._draws for backend, _ in TorchBackend().probes()])
def kernel(request, monkeypatch):
    """Let each kernel serve tensors on the host."""
    monkeypatch.setitem(anydrop.backends._BY_TYPE, torch.Tensor, TorchBackend(draws=request.param))


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("name", CHANGING)
def test_derivatives_are_products_with_the_noise_or_the_mask(name):
    """Worked out from the results for other arrays, to the bit."""
    call = CALLS[name]
    arrays, ones = call.finite(), [torch.ones(call.shape).double() for _ in range(call.count)]
    zeros = [torch.zeros_like(x) for x in ones]
    if name.startswith("noise"):
        slopes = ones
    elif call.count == 2:
        slopes = [call(ones[0], zeros[1]), call(zeros[0], ones[1])]
    else:
        slopes = [call(*ones)]
    expected = sum(x * slope for x, slope in zip(arrays, slopes, strict=True))
    assert torch.equal(jvp(call, tuple(arrays), tuple(arrays))[1], expected)
    pulled = vjp(call, *arrays)[1](arrays[0])
    for got, slope in zip(pulled, slopes, strict=True):
        assert torch.equal(got, arrays[0] * slope)
    squares = grad(lambda *x: (call(*x) ** 2).sum())(*arrays)
    assert torch.equal(squares, 2 * call(*arrays) * slopes[0])
    assert torch.equal(jacfwd(call)(*arrays), jacrev(call)(*arrays))


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("name", CHANGING)
@pytest.mark.parametrize("dim", [0, 1, 3])
def test_vmap_gives_every_example_one_mask(name, dim):
    call = CALLS[name]
    arrays = call.finite()
    batch = [torch.stack([x, -x, 2 * x], dim=dim) for x in arrays]
    expected = torch.stack([call(*(f * x for x in arrays)) for f in (1, -1, 2)])
    assert torch.equal(vmap(call, in_dims=dim)(*batch), expected)
    first = [batch[0], *arrays[1:]]  # Only the first is mapped.
    in_dims = (dim, *(None,) * (call.count - 1))
    expected = torch.stack([call(f * arrays[0], *arrays[1:]) for f in (1, -1, 2)])
    assert torch.equal(vmap(call, in_dims=in_dims)(*first), expected)
    found = vmap(grad(lambda *x: (call(*x) ** 2).sum()), in_dims=dim)(*batch)
    expected = [
        grad(lambda *x: (call(*x) ** 2).sum())(*(f * x for x in arrays)) for f in (1, -1, 2)
    ]
    assert torch.equal(found, torch.stack(expected))


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("name", CHANGING)
def test_vmap_over_steps(name):
    call = CALLS[name]
    arrays, steps = call.finite(), torch.tensor([0, 5, 2**40])
    expected = torch.stack([call(*arrays, step=int(step)) for step in steps])
    assert torch.equal(vmap(lambda step: call(*arrays, step=step))(steps), expected)
    batch = [x.expand(3, *x.shape) for x in arrays]
    together = vmap(lambda step, *x: call(*x, step=step))
    assert torch.equal(together(steps, *batch), expected)


@pytest.mark.parametrize("name", ["noise", "gaussian, shared", "blocks1d"])
def test_the_noise_or_the_mask_itself_in_programs(name):
    """Compiled, and over steps that are mapped."""
    call = CALLS[name]
    arrays = call.finite()

    def kept(step):
        return call(*arrays, step=step, return_mask=True)[1].keep(like=arrays[0])

    steps = torch.tensor([0, 5, 2**40])
    expected = torch.stack([kept(int(step)) for step in steps])
    assert torch.equal(vmap(kept)(steps), expected)
    torch.compiler.reset()
    program = torch.compile(kept, fullgraph=True, backend="aot_eager")
    assert torch.equal(torch.stack([program(step) for step in steps]), expected)


# Runs without numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", CALLS)
def test_meta_and_fake_tensors(name):
    call = CALLS[name]
    meta = [x.to("meta", torch.bfloat16).requires_grad_() for x in call.finite()]
    y = call(*meta)
    assert (y.device.type, y.dtype, y.shape) == ("meta", torch.bfloat16, call.shape)
    with FakeTensorMode():
        fake = [torch.empty(call.shape).mT.contiguous().mT for _ in range(call.count)]
        inside = call(*fake)
    for y in (inside, call(*fake)):
        assert isinstance(y, FakeTensor)
        assert (y.shape, y.stride()) == (fake[0].shape, fake[0].stride())


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_make_fx(mode):
    """Tracing records the operators, not one draw's result."""

    def run(x, step):
        x = anydrop.gaussian_dropout(x, 0.3, seed=1, step=step)
        x = anydrop.zoneout(x, -x, 0.3, seed=2, step=step)
        return anydrop.drop_block1d(x, 0.3, 2, seed=3, step=step)

    (x,) = CALLS["noise"].finite()
    program = make_fx(grad(lambda x, s: (run(x, s) ** 2).sum()), tracing_mode=mode)
    traced = program(x, torch.tensor(9))
    found = grad(lambda x: (run(x, 2) ** 2).sum())(-x)
    assert torch.equal(traced(-x, torch.tensor(2)), found)
