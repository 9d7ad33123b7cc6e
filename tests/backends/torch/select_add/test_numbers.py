"""`select_add` and `sum_to` of PyTorch: NumPy's bits by each kernel, in each dtype and layout."""

import numpy as np
import pytest
from subjects import available

import anydrop
from anydrop import Mask, Window
from anydrop.testing.reference import bits, numbers
from anydrop.testing.subject import dtype_of

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch

from anydrop.backends.torch import addition, host
from anydrop.backends.torch.backend import TorchBackend

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
SHAPE = (4, 7, 5)
NUMPY = anydrop.resolve(np.empty(0))
KERNELS = {backend._draws: backend for backend, like in TorchBackend().probes() if like.is_cpu}

# What x, the residual and the bias are.
DTYPES = {
    "float16": ("float16",) * 3,
    "bfloat16": ("bfloat16",) * 3,
    "float32": ("float32",) * 3,
    "float64": ("float64",) * 3,
    "complex64": ("complex64",) * 3,
    "complex128": ("complex128",) * 3,
    "half x": ("float16", "float32", "float16"),
    "half x and float32 bias": ("float16", "float32", "float32"),
    "half x and residual": ("float16", "float16", "float32"),
    "brain x": ("bfloat16", "float32", "bfloat16"),
    "brain x and float32 bias": ("bfloat16", "float32", "float32"),
}
RECIPES = [
    {},
    {"shared_axes": (1,)},
    {"shared_axes": (0, 2)},
    {"window": Window((2, 3, 4), (9, 20, 31))},
    {"window": Window((2, 0, 0), (9, 7, 5)), "shared_axes": (1,)},
]
BIASES = [None, (5,), (7, 1), (4, 1, 5), (1, 1, 1), (), (4, 7, 5)]


def mask_of(**recipe):
    return Mask.from_seed(SHAPE, 0.4, seed=8, step=2**64 - 2, **recipe)


def arrays(kind="float32", bias=(5,)):
    """Return x, residual and bias in NumPy, with numbers of every kind."""
    rng = np.random.default_rng(0)
    shapes = [SHAPE, SHAPE, *([] if bias is None else [bias])]
    names = DTYPES[kind]
    if "bfloat16" in names and not available("ml_dtypes"):
        pytest.skip("ml_dtypes is not installed here; nox -s tests-torch runs this")
    made = [numbers(s, dtype_of(n), rng) for s, n in zip(shapes, names, strict=False)]
    return made if bias is not None else [*made, None]


def tensors(given):
    return [None if x is None else host.tensor(x) for x in given]


def same(y, expected):
    assert str(y.dtype).removeprefix("torch.") == expected.dtype.name
    assert tuple(y.shape) == expected.shape
    assert bits(TorchBackend().to_numpy(y)) == bits(np.asarray(expected))


@pytest.fixture(params=KERNELS)
def backend(request):
    return KERNELS[request.param]


@pytest.mark.parametrize("followed", [False, True])
@pytest.mark.parametrize("bias", [None, (5,)])
@pytest.mark.parametrize("kind", DTYPES)
def test_dtypes(backend, kind, bias, followed):
    """With and without autograd, and the gradients too."""
    if backend.kernel == "triton, interpreted" and DTYPES[kind][1] == "bfloat16":
        pytest.skip("Triton's interpreter truncates to bfloat16 where a device rounds")
    given, mask = arrays(kind, bias), mask_of()
    x, residual, b = given
    expected = NUMPY.select_add(x, residual, mask, 1 / 0.6, b)
    ours = tensors(given)
    leaves = [t.requires_grad_(followed) for t in ours if t is not None]
    y = backend.select_add(ours[0], ours[1], mask, 1 / 0.6, ours[2])
    same(y.detach(), expected)
    assert y.requires_grad == followed
    if followed:
        g = numbers(SHAPE, residual.dtype, np.random.default_rng(1))
        dx, dr, *db = torch.autograd.grad(y, leaves, host.tensor(g))
        wanted = NUMPY.select(g, mask, 1 / 0.6).astype(x.dtype)
        same(dx, wanted)
        same(dr, g)
        for t in db:
            same(t, host.array(backend.sum_to(host.tensor(wanted), bias, b.dtype.name)))


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_and_biases(backend, recipe, bias):
    x, residual, b = arrays(bias=bias)
    mask = mask_of(**recipe)
    expected = NUMPY.select_add(x, residual, mask, 2.0, b)
    ours = tensors((x, residual, b))
    same(backend.select_add(*ours[:2], mask, 2.0, ours[2]), expected)
    kept = mask.keep(like=ours[0])
    same(backend.select_add(*ours[:2], kept, 2.0, ours[2]), expected)
    for scale in (1.0, 0.6):
        expected = NUMPY.select_add(x, residual, None, scale, b)
        same(backend.select_add(*ours[:2], None, scale, ours[2]), expected)


LAYOUTS = {
    "transposed": lambda x: x.transpose(0, 2).contiguous().transpose(0, 2),
    "strided": lambda x: torch.stack([x, x], dim=-1)[..., 0],
    "expanded": lambda x: x[:1].expand(x.shape),
    "sliced": lambda x: torch.cat([x[:1], x])[1:],
}


@pytest.mark.parametrize("followed", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("which", [0, 1, 2])
def test_layouts(backend, which, layout, followed):
    """Of one of the three. The result has the memory format that x would keep."""
    ours, mask = tensors(arrays(bias=SHAPE)), mask_of()
    ours[which] = LAYOUTS[layout](ours[which])
    expected = NUMPY.select_add(*(t.numpy() for t in ours[:2]), mask, 2.0, ours[2].numpy())
    ours = [t.detach().requires_grad_(followed) for t in ours]
    y = backend.select_add(*ours[:2], mask, 2.0, ours[2])
    same(y.detach(), expected)
    assert y.stride() == torch.empty_like(ours[0]).stride()


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,)])
def test_few_elements(backend, shape):
    mask = Mask.from_seed(shape, 0.4, seed=8)
    x, residual, bias = torch.ones(shape), torch.full(shape, 3.0), torch.ones(shape[-1:])
    y = backend.select_add(x, residual, mask, 2.0, bias)
    same(y, np.where(mask.keep(like=np.empty(0)), np.float32(7), np.float32(3)))


def test_out(backend):
    """A new tensor, the residual, x, or memory that overlaps x."""
    mask = mask_of()
    x, residual, bias = tensors(arrays())
    expected = NUMPY.select_add(x.numpy(), residual.numpy(), mask, 2.0, bias.numpy())
    new, again, other = torch.empty(5, 7, 4).permute(2, 1, 0), x.clone(), residual.clone()
    for a, b, out in ((x, residual, new), (again, residual, again), (x, other, other)):
        assert backend.select_add(a, b, mask, 2.0, bias, out) is out
        same(out, expected)
    memory = torch.cat([x.flatten(), torch.ones(3)])
    out = memory[3:].view(SHAPE)
    assert backend.select_add(memory[:-3].view(SHAPE), residual, mask, 2.0, bias, out) is out
    same(out, expected)


def test_out_that_autograd_follows(backend):
    """The residual itself, which has been made of something else."""
    mask = mask_of()
    x, before = (torch.randn(SHAPE, requires_grad=True) for _ in range(2))
    residual = before * 3
    expected = backend.select_add(x, residual, mask, 2.0).detach()
    assert backend.select_add(x, residual, mask, 2.0, out=residual) is residual
    assert torch.equal(residual, expected)
    g = torch.randn(SHAPE)
    dx, db = torch.autograd.grad(residual, [x, before], g)
    assert torch.equal(dx, backend.select(g, mask, 2.0))
    assert torch.equal(db, 3 * g)


def test_out_that_autograd_refuses():
    """The message names the residual, too, since that may be written to."""
    x, leaf = torch.ones(SHAPE), torch.ones(SHAPE, requires_grad=True)
    for out in (leaf, torch.ones(SHAPE)):
        with pytest.raises(ValueError, match="must be x itself, or the residual, and no leaf"):
            anydrop.dropout_add(x, leaf, 0.5, seed=0, out=out)
    residual = leaf * 1
    assert anydrop.dropout_add(x, residual, 0.5, seed=0, out=residual) is residual


def test_bfloat16_without_ml_dtypes(monkeypatch):
    """The same bits: computed in float32 and rounded once."""
    cases = []
    for kind in ("bfloat16", "brain x", "brain x and float32 bias"):
        given = arrays(kind)
        cases.append((tensors(given), NUMPY.select_add(*given[:2], mask_of(), 2.0, given[2])))
    summed = NUMPY.sum_to(arrays("bfloat16")[0], (5,), "float32")
    half = host.tensor(arrays("bfloat16")[0])
    wanted = [host.tensor(y) for _, y in cases]
    monkeypatch.setattr(host, "BFLOAT16", None)
    backend = TorchBackend()
    for ((x, residual, bias), _), y in zip(cases, wanted, strict=True):
        out = residual.clone()
        assert backend.select_add(x, out, mask_of(), 2.0, bias, out) is out
        for got in (out, backend.select_add(x, residual, mask_of(), 2.0, bias)):
            assert got.dtype == y.dtype
            assert torch.equal(got.isnan(), y.isnan())
            same(got.float(), y.float().numpy())
    same(backend.sum_to(half, (5,), "float32"), summed)
    assert torch.equal(
        backend.sum_to(half, (5,), "bfloat16").float().nan_to_num(),
        torch.from_numpy(summed).bfloat16().float().nan_to_num(),
    )


@pytest.mark.parametrize("shape", [(5,), (7, 1), (4, 1, 5), (1, 1, 1), (), (4, 7, 5)])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64"])
def test_sums(dtype, shape):
    """In the order of a tree, by NumPy's kernels and by PyTorch's operations."""
    (x, _, _), name = arrays(dtype, None), "float32" if "float16" in dtype else dtype
    expected = np.asarray(NUMPY.sum_to(x, shape, name))
    ours = host.tensor(x)
    for layout in (lambda x: x, *LAYOUTS.values()):
        given = layout(ours)
        wanted = NUMPY.sum_to(host.array(given), shape, name)
        y = anydrop.resolve(ours).sum_to(given, shape, name)
        same(y, np.asarray(wanted))
        assert y.is_contiguous()
    by_tree = addition.tree_sum(ours, shape, getattr(torch, name))
    same(by_tree, expected)
    assert by_tree.is_contiguous()
    for run in (anydrop.resolve(ours).sum_to, lambda x, *to: addition.tree_sum(x, to[0], x.dtype)):
        total = run(ours, shape, dtype)
        assert total.dtype == ours.dtype
        total += 1
        same(ours, x)  # The sum has memory of its own.
