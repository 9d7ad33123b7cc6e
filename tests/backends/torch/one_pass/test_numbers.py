"""`perturb`, `choose` and `select_blocks` of PyTorch: NumPy's bits by each kernel."""

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

from anydrop.backends.torch import host, int64
from anydrop.backends.torch.backend import TorchBackend

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
SHAPE = (4, 7, 5)
SIZES = (1, 3, 2)
NUMPY = anydrop.resolve(np.empty(0))
KERNELS = {backend._draws: backend for backend, like in TorchBackend().probes() if like.is_cpu}
DTYPES = ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
RECIPES = [
    {},
    {"shared_axes": (1,)},
    {"shared_axes": (0, 2)},
    {"window": Window((2, 3, 4), (9, 20, 31))},
    {"window": Window((2, 0, 0), (9, 7, 5)), "shared_axes": (1,)},
]


def mask_of(shape=SHAPE, step=2**64 - 2, **recipe):
    return Mask.from_seed(shape, 0.4, seed=8, step=step, **recipe)


def places(**recipe):
    """Return the mask of the places where blocks begin."""
    more = [size - 1 for size in SIZES]
    window = recipe.get("window")
    if window:
        extent = tuple(n + m for n, m in zip(window.shape, more, strict=True))
        recipe["window"] = Window(window.offset, extent)
    shared = recipe.get("shared_axes", ())
    if any(SIZES[axis] > 1 for axis in shared):  # along which no blocks lie
        recipe["shared_axes"] = (0,)
    return mask_of(tuple(n + m for n, m in zip(SHAPE, more, strict=True)), **recipe)


# Functions of a backend, x, another array and a recipe; and of their gradients for that of the
# result.
CALLS = {
    "relative noise": (
        lambda b, x, h, out, **r: b.perturb(x, mask_of(**r), 0.7, True, out),
        lambda g, **r: [NUMPY.perturb(g, mask_of(**r), 0.7, True)],
    ),
    "noise": (
        lambda b, x, h, out, **r: b.perturb(x, mask_of(**r), 0.7, False, out),
        lambda g, **r: [g],
    ),
    "choice": (
        lambda b, x, h, out, **r: b.choose(x, h, mask_of(**r), out),
        lambda g, **r: [
            NUMPY.choose(g, None, mask_of(**r)),
            NUMPY.choose(None, g, mask_of(**r)),
        ],
    ),
    "new share": (
        lambda b, x, h, out, **r: b.choose(x, None, mask_of(**r), out),
        lambda g, **r: [NUMPY.choose(g, None, mask_of(**r))],
    ),
    "previous share": (
        lambda b, x, h, out, **r: b.choose(None, x, mask_of(**r), out),
        lambda g, **r: [NUMPY.choose(None, g, mask_of(**r))],
    ),
    "blocks": (
        lambda b, x, h, out, **r: b.select_blocks(x, places(**r), SIZES, 1.7, out),
        lambda g, **r: [NUMPY.select_blocks(g, places(**r), SIZES, 1.7)],
    ),
}
CASES = [
    (name, dtype)
    for name in CALLS
    for dtype in DTYPES
    if not (name == "noise" and dtype.startswith("complex"))
]


def arrays(dtype):
    """Return two arrays in NumPy, with numbers of every kind, and a gradient."""
    if dtype == "bfloat16" and not available("ml_dtypes"):
        pytest.skip("ml_dtypes is not installed here; nox -s tests-torch runs this")
    rng = np.random.default_rng(0)
    return [numbers(SHAPE, dtype_of(dtype), rng) for _ in range(3)]


def same(y, expected):
    assert str(y.dtype).removeprefix("torch.") == expected.dtype.name
    assert tuple(y.shape) == expected.shape
    assert bits(TorchBackend().to_numpy(y)) == bits(np.asarray(expected))


@pytest.fixture(params=KERNELS)
def backend(request):
    return KERNELS[request.param]


def forbid_truncation(backend, dtype):
    if backend.kernel == "triton, interpreted" and dtype == "bfloat16":
        pytest.skip("Triton's interpreter truncates to bfloat16 where a device rounds")


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_dtypes(backend, name, dtype):
    """With and without autograd, and the gradients too."""
    forbid_truncation(backend, dtype)
    call, gradients = CALLS[name]
    x, h, g = arrays(dtype)
    expected = call(NUMPY, x, h, None)
    same(call(backend, host.tensor(x), host.tensor(h), None), expected)
    leaves = [host.tensor(a).requires_grad_() for a in (x, h)]
    y = call(backend, *leaves, None)
    same(y.detach(), expected)
    wanted = gradients(g)
    found = torch.autograd.grad(y, leaves[: len(wanted)], host.tensor(g))
    for ours, theirs in zip(found, wanted, strict=True):
        same(ours, theirs)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", CALLS)
def test_recipes(backend, name, recipe):
    """And each order in memory, and steps and offsets that are tensors."""
    call, gradients = CALLS[name]
    x, h, g = arrays("float32")
    expected = call(NUMPY, x, h, None, **recipe)
    tensors = [host.tensor(a) for a in (x, h)]
    for order in (lambda t: t, lambda t: t.mT.contiguous().mT, lambda t: t.flip(0).flip(0)):
        ours = [order(t) for t in tensors]
        y = call(backend, *ours, None, **recipe)
        same(y, expected)
        assert y.stride() == torch.empty_like(ours[0]).stride()
    given = {**recipe, "step": torch.tensor([2**32 - 2, 2**32 - 1])}
    if "window" in recipe:
        offset, shape = recipe["window"]
        given["window"] = Window((torch.tensor(offset[0]), *offset[1:]), shape)
    leaf = tensors[0].requires_grad_()
    y = call(backend, leaf, tensors[1], None, **given)
    same(y.detach(), expected)
    (dx,) = torch.autograd.grad(y, leaf, host.tensor(g))
    same(dx, gradients(g, **recipe)[0])


@pytest.mark.parametrize("name", CALLS)
def test_out(backend, name):
    call, _ = CALLS[name]
    x, h, _ = arrays("float32")
    expected = call(NUMPY, x, h, None)
    ours = [host.tensor(a) for a in (x, h)]
    other = torch.empty(5, 7, 4).permute(2, 1, 0)
    assert call(backend, *ours, other) is other
    same(other, expected)
    for target in ours if name == "choice" else ours[:1]:
        given = [t.clone() if t is not target else t for t in ours]
        before = target.clone()
        assert call(backend, *given, target) is target
        same(target, expected)
        target.copy_(before)
    memory = torch.empty(x.size + 1)
    memory[:-1] = ours[0].flatten()
    target = memory[1:].view(SHAPE)
    call(backend, memory[:-1].view(SHAPE), ours[1], target)
    same(target, expected)


@pytest.mark.parametrize("shape", [(), (0, 3), (1,)])
def test_few_elements(backend, shape):
    x = torch.ones(shape)
    recipe = Mask.from_seed(shape, 0.4, seed=8)
    for y, theirs in (
        (backend.perturb(x, recipe, 0.5, True), NUMPY.perturb(x.numpy(), recipe, 0.5, True)),
        (backend.choose(x, -x, recipe), NUMPY.choose(x.numpy(), -x.numpy(), recipe)),
        (backend.normals(recipe, x), NUMPY.normals(recipe, x.numpy())),
    ):
        same(y, np.asarray(theirs))


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_normals(backend, recipe, dtype):
    like = torch.empty(0, dtype=getattr(torch, dtype))
    mask = mask_of(**recipe)
    same(backend.normals(mask, like), NUMPY.normals(mask, like.numpy()))


def test_normals_in_pieces(monkeypatch):
    expected = NUMPY.normals(mask_of(), np.empty(0))
    for chunk in (1, 7, 64):
        monkeypatch.setattr(int64, "CHUNK", chunk)
        same(int64.normals(mask_of(), torch.device("cpu"), torch.float64), expected)


@pytest.mark.parametrize("name", CALLS)
def test_bfloat16_without_ml_dtypes(monkeypatch, name):
    call, _ = CALLS[name]
    x, h, _ = (host.tensor(a) for a in arrays("bfloat16"))
    expected = call(KERNELS["cpu"], x, h, None)
    monkeypatch.setattr(host, "BFLOAT16", None)
    for out in (None, torch.empty_like(x), x):
        y = call(KERNELS["cpu"], x, h, out)
        assert bits(y.float().numpy()) == bits(expected.float().numpy())


@pytest.mark.parametrize("name", ["choice", "previous share"])
def test_a_mask_that_was_drawn(backend, name):
    """Such as a generator's."""
    kept = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) < 0.6
    x, h, _ = arrays("float32")
    given = (x, h) if name == "choice" else (None, h)
    expected = NUMPY.choose(*given, kept.numpy())
    leaves = [None if a is None else host.tensor(a).requires_grad_() for a in given]
    same(backend.choose(*(t if t is None else t.detach() for t in leaves), kept), expected)
    y = backend.choose(*leaves, kept)
    same(y.detach(), expected)
    (dh,) = torch.autograd.grad(y, leaves[1], torch.ones(SHAPE))
    assert torch.equal(dh, (~kept).float())
