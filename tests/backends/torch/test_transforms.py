"""What PyTorch does to a function: derivatives, transforms, checkpoints, fake runs."""

import pytest
from subjects import available

import anydrop
import anydrop.backends
from anydrop import Mask, Window
from anydrop.testing.reference import keep

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

from anydrop.backends.numpy.backend import NumpyBackend
from anydrop.backends.torch import host
from anydrop.backends.torch.backend import TorchBackend

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own calls

SHAPE = (4, 3)
X = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
KEPT = torch.from_numpy(keep(SHAPE, 0.5, seed=3, step=2))
# The derivative of `drop`, worked out by hand.
SLOPE = KEPT * 2.0


def drop(x, step=2, **recipe):
    return anydrop.dropout(x, 0.5, seed=3, step=step, **recipe)


def cubes(x):
    return (drop(x) ** 3).sum()


def diagonal(x):
    return torch.diag(x.reshape(-1)).reshape(*SHAPE, *SHAPE)


@pytest.fixture(autouse=True)
def kernels_at_once(monkeypatch):
    """Let numba's kernels be there from the first call, where layers do their calls again."""
    monkeypatch.setattr(host, "HOST", NumpyBackend(use_numba=available("numba")))


@pytest.fixture(params=[backend._draws for backend, _ in TorchBackend().probes()])
def kernel(request, monkeypatch):
    """Let each kernel serve tensors on the host."""
    monkeypatch.setitem(anydrop.backends._BY_TYPE, torch.Tensor, TorchBackend(draws=request.param))


# Derivatives ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("recipe", [{}, {"shared_axes": (1,)}, {"window": Window((1, 2), (9, 9))}])
def test_derivatives_agree_with_differences(dtype, recipe):
    """Of the first order in both modes, of a batch, and of the second in all combinations."""
    x = X[:2].to(dtype, copy=True).requires_grad_()
    checks = {"check_batched_grad": True}
    assert gradcheck(
        lambda x: drop(x, **recipe),
        x,
        check_forward_ad=True,
        check_batched_forward_grad=True,
        **checks,
    )
    assert gradgradcheck(
        lambda x: drop(x, **recipe) ** 2,
        x,
        check_fwd_over_rev=True,
        check_rev_over_rev=True,
        **checks,
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("kept", [Mask.from_seed(SHAPE, 0.5, seed=3, step=2), KEPT, None])
def test_the_general_select_has_a_derivative(kept, dtype):
    x = X.to(dtype, copy=True).requires_grad_()
    backend = anydrop.resolve(x)

    def select(x):
        return backend.select(x, kept, 1.7, 0.3, -0.2)

    assert gradcheck(select, x, check_forward_ad=True, check_batched_grad=True)
    (gradient,) = torch.autograd.grad(select(x), x, torch.ones_like(x))
    kept = KEPT if kept is not None else torch.ones(SHAPE)
    assert torch.equal(gradient, 1.7 * kept.to(dtype))


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64]
)
def test_the_gradient_is_dropout_of_the_gradient(dtype):
    """To the bit, NaN and Inf in dropped places included."""
    x = torch.ones(SHAPE, dtype=dtype, requires_grad=True)
    gradient = X.to(dtype, copy=True)
    gradient[~KEPT] = torch.nan
    drop(x).backward(gradient)
    assert torch.equal(x.grad, torch.where(KEPT, gradient * 2, 0))
    assert x.grad.dtype == dtype


def test_gradient_of_another_layout():
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(drop(x), x, torch.ones(()).double().expand(SHAPE))
    assert torch.equal(gradient, SLOPE)


def test_forward_mode():
    with forward_ad.dual_level():
        y = drop(forward_ad.make_dual(X, torch.ones_like(X)))
        assert torch.equal(forward_ad.unpack_dual(y).tangent, SLOPE)


def test_inference_scaling_has_a_derivative():
    x = X.clone().requires_grad_()
    y = anydrop.dropout(x, 0.25, training=False, scaling="inference")
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.full_like(X, 0.75))


# What is kept between the passes ----------------------------------------------------------------


def saved_by(call):
    """Return the bytes that autograd keeps of a call."""
    kept = []

    def pack(x):
        kept.append(x.numel() * x.element_size())
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        y = call()
    return sum(kept), y


@pytest.mark.parametrize(
    "recipe", [{}, {"shared_axes": (1,)}, {"window": Window((1, 2), (999, 99))}]
)
def test_nothing_of_the_masks_size_is_saved(recipe):
    x = torch.ones(200, 50, requires_grad=True)
    size, y = saved_by(lambda: drop(x, **recipe))
    assert size <= 24
    kept = torch.from_numpy(keep((200, 50), 0.5, seed=3, step=2, **recipe)).expand(200, 50)
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], 2.0 * kept)
    size, _ = saved_by(lambda: torch.nn.functional.dropout(x))  # which the check sees
    assert size >= 10_000


def test_of_a_generators_mask_one_bit_is_kept(monkeypatch):
    x = torch.ones(1000, requires_grad=True)
    packed = []
    pack = TorchBackend.pack
    monkeypatch.setattr(
        TorchBackend, "pack", lambda self, x: packed.append(pack(self, x)) or packed[-1]
    )
    size, y = saved_by(lambda: anydrop.dropout(x, 0.5, rng=torch.Generator().manual_seed(0)))
    assert size == 0
    assert [bits.numel() for bits in packed] == [125]
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, y)
    assert 300 < (y == 0).sum() < 700


def test_a_step_that_changes_before_the_backward_pass():
    x, step = X.clone().requires_grad_(), torch.tensor(2)
    y = drop(x, step=step)
    step += 1
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], SLOPE)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_a_layer_that_a_checkpoint_runs_again(use_reentrant):
    """Its second forward would draw the next mask, and the gradient be that of another function."""
    layer, x = anydrop.Dropout(0.5, seed=0), torch.ones(50, requires_grad=True)
    for step in (1, 2, 3):  # of which all but the first are repeated
        y = checkpoint(lambda x: layer(x).sin(), x, use_reentrant=use_reentrant)
        with pytest.raises(TypeError, match="a layer counts its forwards"):
            y.sum().backward()
        assert layer.step == step


IMAGES = (2, 3, 8, 8)

# Calls of x, of shape `IMAGES`, that draw by a generator.
BY_GENERATOR = {
    "dropout": lambda x, rng: anydrop.dropout(x, 0.5, rng=rng),
    "p = 0": lambda x, rng: anydrop.dropout(x, 0.0, rng=rng),
    "shared": lambda x, rng: anydrop.dropout2d(x, 0.5, rng=rng),
    "alpha": lambda x, rng: anydrop.alpha_dropout(x, 0.5, rng=rng),
    "blocks": lambda x, rng: anydrop.drop_block2d(x, 0.5, 3, rng=rng),
    "zoneout": lambda x, rng: anydrop.zoneout(x, -x, 0.5, rng=rng),
    "sum": lambda x, rng: anydrop.dropout_add(x, -x, 0.5, rng=rng),
    "copies": lambda x, rng: anydrop.drop_connect(x, 0.5, examples=2, rng=rng),
    "depth": lambda x, rng: anydrop.stochastic_depth(x, 0.5, rng=rng),
    "layer": lambda x, rng: anydrop.Dropout(0.5, rng=rng)(x),
}


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("call", BY_GENERATOR.values(), ids=BY_GENERATOR)
def test_a_generator_in_a_checkpoint(call, use_reentrant):
    """Its second draw is another mask: refused, as a layer's second forward is."""
    rng, x = torch.Generator().manual_seed(0), torch.ones(IMAGES, requires_grad=True)
    y = checkpoint(lambda x: call(x, rng).sin(), x, use_reentrant=use_reentrant)
    before = rng.get_state()
    with pytest.raises(TypeError, match="in this backward pass, where torch"):
        y.sum().backward()
    assert torch.equal(rng.get_state(), before)
    assert x.grad is None


def test_a_layer_that_a_checkpoint_need_not_run_again():
    """Since nothing is saved for its derivative."""
    layer, x = anydrop.Dropout(0.5, seed=0), torch.ones(50, requires_grad=True)
    for step in (1, 2, 3):
        checkpoint(layer, x, use_reentrant=False).sum().backward()
        assert layer.step == step
        assert torch.equal(x.grad, 2.0 * layer.mask)
        x.grad = None


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpoint(use_reentrant):
    x = X.clone().requires_grad_()
    checkpoint(lambda x: drop(x.sin()), x, use_reentrant=use_reentrant).sum().backward()
    assert torch.equal(x.grad, SLOPE * X.cos())


# torch.func -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("kernel")
def test_transforms():
    second = 6 * X * SLOPE**3
    assert torch.equal(grad(cubes)(X), 3 * X**2 * SLOPE**3)
    assert torch.equal(jvp(drop, (X,), (X,))[1], X * SLOPE)
    pull = vjp(drop, X)[1]
    assert torch.equal(pull(X)[0], X * SLOPE)
    assert torch.equal(jacrev(drop)(X), diagonal(SLOPE))
    assert torch.equal(jacfwd(drop)(X), diagonal(SLOPE))
    for twice in (
        hessian(cubes),
        jacfwd(jacfwd(cubes)),
        jacrev(jacrev(cubes)),
        jacrev(jacfwd(cubes)),
    ):
        assert torch.allclose(twice(X), diagonal(second), rtol=1e-15)
    nested = grad(lambda x: grad(cubes)(x).sum())(X)
    assert torch.allclose(nested, second, rtol=1e-15)


@pytest.mark.parametrize("kept", [KEPT, None])
def test_transforms_of_a_mask_that_is_given(kept):
    backend = anydrop.resolve(X)

    def total(x):
        return (backend.select(x, kept, 2.0, 0.3, -0.2) ** 2).sum()

    slope = SLOPE if kept is not None else torch.full(SHAPE, 2.0)
    assert torch.allclose(hessian(total)(X), diagonal(2 * slope.double() ** 2), rtol=1e-15)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(
    "recipe", [{}, {"shared_axes": (1,)}, {"shared_axes": (0,), "window": Window((1, 2), (9, 9))}]
)
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_vmap_gives_every_example_one_mask(recipe, dim):
    batch = torch.stack([X, -X, 2 * X], dim=dim)
    y = vmap(lambda x: drop(x, **recipe), in_dims=dim)(batch)
    kept = torch.from_numpy(keep(SHAPE, 0.5, seed=3, step=2, **recipe))
    expected = torch.where(kept, 2 * X, 0)
    assert torch.equal(y, torch.stack([expected, -expected, 2 * expected]))


@pytest.mark.parametrize("randomness", ["error", "same", "different"])
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_a_layer_within_vmap(randomness, chunk_size):
    """PyTorch would run it once for all examples, or once a chunk, whatever it was told."""
    layer, batch = anydrop.Dropout(0.5, seed=3), X.expand(6, *SHAPE)
    layer(X)
    before = layer.state_dict(), layer.recipe
    mapped = {"randomness": randomness, "chunk_size": chunk_size}
    for function in (layer, grad(lambda x: layer(x).sum())):
        with pytest.raises(TypeError, match="a layer counts its forwards, and torch"):
            vmap(function, **mapped)(batch)
    with pytest.raises(TypeError, match="for all or mapped beside x"):
        jacfwd(layer)(X)
    assert (layer.state_dict(), layer.recipe) == before
    assert torch.equal(vmap(layer.eval(), **mapped)(batch), batch)
    dx = layer.train().backward(batch[0])
    assert torch.equal(vmap(layer.backward, **mapped)(batch), dx.expand(6, *SHAPE))


@pytest.mark.parametrize("chunk_size", [None, 1, 2, 6])
def test_a_function_within_vmap_has_one_mask_in_all_chunks(chunk_size):
    y = vmap(drop, chunk_size=chunk_size)(X.expand(6, *SHAPE))
    assert torch.equal(y, drop(X).expand(6, *SHAPE))
    steps = torch.arange(6)
    y = vmap(lambda x, step: drop(x, step), chunk_size=chunk_size)(X.expand(6, *SHAPE), steps)
    assert torch.equal(y, torch.stack([drop(X, step) for step in range(6)]))


def test_vmap_over_steps_and_offsets():
    steps = torch.tensor([0, 5, 2**40])
    fates = [torch.from_numpy(keep(SHAPE, 0.5, seed=3, step=int(s))) for s in steps]
    expected = torch.stack([torch.where(kept, 2 * X, 0) for kept in fates])
    assert torch.equal(vmap(lambda s: drop(X, step=s))(steps), expected)
    batch = X.expand(3, *SHAPE)
    assert torch.equal(vmap(lambda x, s: drop(x, step=s))(batch, steps), expected)
    gradients = vmap(grad(lambda x, s: drop(x, step=s).sum()))(batch, steps)
    assert torch.equal(gradients, torch.stack(fates) * 2.0)
    masks = vmap(lambda s: Mask.from_seed(SHAPE, 0.5, seed=3, step=s).keep(like=X))(steps)
    assert torch.equal(masks, torch.stack(fates))

    rows = vmap(lambda x, o: drop(x, window=Window((o, 0), SHAPE)))(X[:, None], torch.arange(4))
    assert torch.equal(rows[:, 0], drop(X))


def test_vmap_of_gradients():
    batch = torch.stack([X, -X])
    assert torch.equal(vmap(grad(cubes))(batch), 3 * batch**2 * SLOPE**3)


# Runs without numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recipe", [{}, {"shared_axes": (1,)}, {"window": Window((torch.tensor(1), 2), (9, 9))}]
)
def test_meta(recipe):
    x = torch.empty(SHAPE, device="meta", dtype=torch.bfloat16, requires_grad=True)
    y = drop(x, **recipe)
    assert (y.device, y.dtype, y.shape) == (x.device, x.dtype, x.shape)
    assert y.requires_grad
    kept = Mask.from_seed(SHAPE, 0.5, seed=3, **recipe).keep(like=x)
    assert (kept.device, kept.dtype) == (x.device, torch.bool)


def test_fake_tensors():
    with FakeTensorMode() as mode:
        x = torch.empty(4, 3, 2).permute(2, 0, 1)
        inside = drop(x), Mask.from_seed((5,), 0.5, seed=0).keep(like=x)
    outside = drop(x), Mask.from_seed((5,), 0.5, seed=0).keep(like=x)
    for y, kept in (inside, outside):
        assert isinstance(y, FakeTensor)
        assert isinstance(kept, FakeTensor)
        assert y.fake_mode is mode
        assert y.shape == x.shape
        assert y.stride() == x.stride()


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_make_fx(mode):
    """Tracing records the operator, not one mask's result."""
    traced = make_fx(grad(lambda x, s: (drop(x, step=s) ** 3).sum()), tracing_mode=mode)
    program = traced(X, torch.tensor(9))
    assert torch.equal(program(X, torch.tensor(2)), 3 * X**2 * SLOPE**3)


def test_make_fx_before_the_dispatcher():
    program = make_fx(lambda x, s: drop(x, step=s) * 1, pre_dispatch=True)(X, torch.tensor(9))
    assert torch.equal(program(-X, torch.tensor(2)), -X * SLOPE + 0.0)
    program = make_fx(lambda x: drop(x) * 1, pre_dispatch=True)(X)
    assert torch.equal(program(-X), -X * SLOPE + 0.0)
    mask = Mask.from_seed(SHAPE, 0.5, seed=3, step=2)
    program = make_fx(lambda x: mask.keep(like=x) * x, pre_dispatch=True)(X)
    assert torch.equal(program(-X), -X * KEPT)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_jit_trace():
    traced = torch.jit.trace(drop, (X,))
    assert torch.equal(traced(-X), -X * SLOPE + 0.0)
