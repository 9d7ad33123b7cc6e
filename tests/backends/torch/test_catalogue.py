"""The catalogue in PyTorch: derivatives, transforms, what is kept for them, compiled programs."""

import copy

import pytest
from subjects import available

import anydrop

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, jacfwd, jacrev, vmap

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own calls

RNG = torch.Generator().manual_seed(0)
MAPS = torch.randn(2, 2, 5, 4, dtype=torch.float64, generator=RNG)
X = torch.randn(3, 4, dtype=torch.float64, generator=RNG)
BEFORE = torch.randn(3, 4, dtype=torch.float64, generator=RNG)
BIAS = torch.randn(4, dtype=torch.float64, generator=RNG)


def source(seed):
    """Return what draws the same mask at each call."""
    return {"rng": torch.Generator().manual_seed(0)} if seed is None else {"seed": seed, "step": 3}


# Functions of the arrays that follow, and of a seed; None stands for a generator.
DRAWN = {
    "drop_block2d": (lambda x, s: anydrop.drop_block2d(x, 0.3, (3, 2), **source(s)), MAPS),
    "alpha_dropout": (lambda x, s: anydrop.alpha_dropout(x, 0.3, **source(s)), X),
    "zoneout": (lambda x, h, s: anydrop.zoneout(x, h, 0.3, **source(s)), X, BEFORE),
    "dropout_add": (
        lambda x, r, b, s: anydrop.dropout_add(x, r, 0.3, bias=b, **source(s)),
        *(X, BEFORE, BIAS),
    ),
    "dropout_add at p = 0": (
        lambda x, r, b, s: anydrop.dropout_add(x, r, 0.0, bias=b, **source(s)),
        *(X, BEFORE, BIAS),
    ),
    "drop_connect": (lambda x, s: anydrop.drop_connect(x, 0.3, examples=3, **source(s)), X),
    "dropout2d": (lambda x, s: anydrop.dropout2d(x, 0.3, **source(s)), MAPS),
    "gaussian_dropout": (lambda x, s: anydrop.gaussian_dropout(x, 0.3, **source(s)), X),
    "gaussian_noise": (lambda x, s: anydrop.gaussian_noise(x, 0.3, **source(s)), X),
}
FROM_A_GENERATOR = [name for name in DRAWN if not name.startswith("gaussian")]
CASES = [(name, 1) for name in DRAWN] + [(name, None) for name in FROM_A_GENERATOR]


def of(name, seed):
    function, *arrays = DRAWN[name]
    return (lambda *arrays: function(*arrays, seed)), [x.clone() for x in arrays]


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_derivatives_agree_with_differences(name, seed):
    """Of the first and second order, backward, forward, and of a batch of gradients."""
    function, arrays = of(name, seed)
    for x in arrays:
        x.requires_grad_()
    assert gradcheck(function, arrays, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(function, arrays, check_fwd_over_rev=True)


@pytest.mark.parametrize("name", ["gaussian_dropout", "alpha_dropout", "zoneout", "dropout_add"])
def test_derivatives_of_complex_numbers(name):
    function, arrays = of(name, 1)
    assert gradcheck(function, [x.to(torch.complex128).requires_grad_() for x in arrays])


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_nothing_of_the_arrays_size_is_kept(name, seed):
    function, arrays = of(name, seed)
    sizes = []

    def pack(x):
        sizes.append(x.numel() * x.element_size())
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        y = function(*(x.requires_grad_() for x in arrays))
    assert y.requires_grad
    assert sum(sizes) <= 8, "of a step that may be a tensor"


class Watching(torch.Tensor):
    """A subclass, which has a say in every operation, and so in every derivative."""


def operations(y):
    """Return the names of the operations that autograd will go back through."""
    found, nodes = set(), [y.grad_fn]
    while nodes:
        node = nodes.pop()
        found.add(node.name())
        nodes += [before for before, _ in node.next_functions if before is not None]
    return found


@pytest.mark.parametrize("name", ["drop_block2d", "zoneout", "gaussian_dropout", "dropout_add"])
def test_a_subclass_sees_each_operation(name):
    function, arrays = of(name, 1)
    plain = [x.clone().requires_grad_() for x in arrays]
    ours = [x.as_subclass(Watching).requires_grad_() for x in arrays]
    results = [function(*inputs) for inputs in (plain, ours)]
    recomputed = ["_RecomputeBackward" in operations(y) for y in results]
    assert recomputed == [True, False]
    assert type(results[1]) is Watching
    for y in results:
        (y**2).sum().backward()
    for a, b in zip(plain, ours, strict=True):
        theirs = b.grad.as_subclass(torch.Tensor)
        assert torch.equal(theirs, a.grad)


@pytest.mark.parametrize("name", DRAWN)
def test_transforms(name):
    function, arrays = of(name, 1)

    def squares(*arrays):
        return (function(*arrays) ** 2).sum()

    leaf = arrays[0].clone().requires_grad_()
    (expected,) = torch.autograd.grad(squares(leaf, *arrays[1:]), leaf)
    assert torch.equal(grad(squares)(*arrays), expected)
    assert torch.equal(jacfwd(function)(*arrays), jacrev(function)(*arrays))
    batch = [torch.stack([x, 2 * x]) for x in arrays]
    assert torch.equal(vmap(function)(*batch)[1], function(*(2 * x for x in arrays)))
    assert torch.equal(vmap(grad(squares))(*batch)[0], expected)


@pytest.mark.parametrize(
    "draw",
    [
        lambda step: anydrop.gaussian_dropout(torch.ones(5), 0.3, seed=1, step=step),
        lambda step: anydrop.drop_block1d(torch.ones(1, 1, 9), 0.3, 3, seed=1, step=step),
    ],
)
def test_a_step_that_vmap_maps(draw):
    expected = torch.stack([draw(step) for step in range(3)])
    assert torch.equal(vmap(draw)(torch.arange(3)), expected)


@pytest.mark.parametrize(
    "draw",
    [
        lambda x, step: anydrop.gaussian_dropout(x, 0.3, seed=1, step=step),
        lambda x, step: anydrop.drop_block1d(x, 0.3, 3, seed=1, step=step),
        lambda x, step: anydrop.drop_block1d(
            x, 0.3, 3, seed=1, window=anydrop.Window((0, 0, step), (1, 9, 99))
        ),
    ],
)
def test_a_place_that_changes_before_the_backward_pass(draw):
    x, place = torch.ones(1, 9, 9, requires_grad=True), torch.tensor(3)
    y = draw(x, place)
    place += 1
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], y)


COMPILED = {
    "Dropout2d": (anydrop.Dropout2d(0.3, seed=1), MAPS),
    "AlphaDropout": (anydrop.AlphaDropout(0.3, seed=1), X),
    "DropBlock2d": (anydrop.DropBlock2d(0.3, 3, seed=1), MAPS),
    "GaussianDropout": (anydrop.GaussianDropout(0.3, seed=1), X),
    "GaussianNoise": (anydrop.GaussianNoise(0.3, seed=1), X),
    "StochasticDepth": (anydrop.StochasticDepth(0.3, seed=1), X),
    "Zoneout": (anydrop.Zoneout(0.3, seed=1), X, BEFORE),
    "DropoutAdd": (anydrop.DropoutAdd(0.3, seed=1), X, BEFORE, BIAS),
    "DropoutAdd at p = 0": (anydrop.DropoutAdd(0.0, seed=1), X, BEFORE, BIAS),
}


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_layers(name):
    """Whole, step after step: what they give uncompiled, forward and backward."""
    layer, x, *others = COMPILED[name]
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: layer(x, *others), fullgraph=True, backend="aot_eager")
    twin = copy.deepcopy(layer)
    for step in range(3):
        assert layer.step == step
        a, b = (x.clone().requires_grad_() for _ in range(2))
        got, expected = compiled(a), twin(b, *others)
        assert torch.equal(got, expected)
        for y in (got, expected):
            (y**2).sum().backward()
        assert torch.equal(a.grad, b.grad)


def test_a_step_that_was_read_stays_what_it_was():
    drop = anydrop.Dropout(0.5, seed=0)
    drop.step = torch.tensor(4)
    read = drop.step
    drop(torch.ones(3))
    assert (int(read), int(drop.step)) == (4, 5)
