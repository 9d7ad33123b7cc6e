"""The modules of `anydrop.torch` that PyTorch has, too, beside its own: all but which mask."""

import inspect
import math
import warnings

import pytest
from subjects import available

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

import anydrop.torch as modules

# A shape that each takes without a warning.
SHAPES = {
    "Dropout": (6, 5),
    "Dropout1d": (6, 5, 4),
    "Dropout2d": (4, 3, 5, 4),
    "Dropout3d": (4, 3, 4, 5, 4),
    "AlphaDropout": (6, 5),
    "FeatureAlphaDropout": (6, 5, 4),
}
of_each = pytest.mark.parametrize("name", SHAPES)
in_both_modes = pytest.mark.parametrize("seed", [0, None])


def pair(name, *arguments, seed=0, **keywords):
    """Return a module and PyTorch's own."""
    ours = getattr(modules, name)(*arguments, **keywords, seed=seed)
    return ours, getattr(nn, name)(*arguments, **keywords)


def outcome(call):
    """Return a call's result, or that it was refused, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = call()
        except (RuntimeError, TypeError, ValueError, NotImplementedError):
            result = None
    return result, [str(one.message) for one in caught]


@of_each
def test_it_is_one_of_pytorchs(name):
    ours, theirs = pair(name, seed=None)
    assert isinstance(ours, getattr(nn, name))
    assert isinstance(ours, modules.Module)
    assert repr(ours) == repr(theirs)
    assert repr(nn.Sequential(ours)) == repr(nn.Sequential(theirs))
    assert (ours.p, ours.inplace) == (theirs.p, theirs.inplace)
    assert not ours.state_dict()
    assert not list(ours.buffers())
    assert not list(ours.parameters())
    assert repr(pair(name, 0.25, True)[0]) == f"{name}(p=0.25, inplace=True, seed=0, step=0)"


@of_each
def test_its_arguments_are_pytorchs_and_then_its_own(name):
    given, theirs = (list(inspect.signature(c).parameters.values()) for c in map(type, pair(name)))
    for ours, other in zip(given, theirs, strict=False):
        assert (ours.name, ours.default, ours.kind) == (other.name, other.default, other.kind)
    more = given[len(theirs) :]
    assert [p.name for p in more] == ["seed", "per_rank"]
    assert all(p.kind is p.KEYWORD_ONLY and p.default is None for p in more)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DropPath", {"drop_prob": 0.0, "scale_by_keep": True}),  # timm's
        ("StochasticDepth", {"p": ..., "mode": ...}),  # torchvision's
        ("DropBlock2d", {"p": ..., "block_size": ..., "inplace": False, "eps": 1e-06}),
        ("DropBlock3d", {"p": ..., "block_size": ..., "inplace": False, "eps": 1e-06}),
    ],
)
def test_arguments_of_timm_and_torchvision(name, expected):
    """As their sources have them; what has no default there may have one here."""
    parameters = inspect.signature(getattr(modules, name)).parameters.values()
    positional = {p.name: p.default for p in parameters if p.kind is not p.KEYWORD_ONLY}
    assert list(positional) == list(expected)
    for argument, default in expected.items():
        assert default is ... or positional[argument] == default


def test_reprs_of_timm_and_torchvision():
    assert repr(modules.DropPath(0.1234)) == "DropPath(drop_prob=0.123)"
    assert repr(modules.StochasticDepth(0.2, "row")) == "StochasticDepth(p=0.2, mode=row)"
    assert repr(modules.DropBlock2d(0.1, 3)) == "DropBlock2d(p=0.1, block_size=3, inplace=False)"


@of_each
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "shape",
    [(), (3,), (3, 4), (0, 4), (4, 3, 2), (2, 0, 3), (4, 3, 2, 2), (4, 3, 2, 2, 2), (2,) * 6],
    ids=str,
)
def test_shapes_are_taken_refused_and_warned_of_as_by_pytorch(name, training, shape):
    ours, theirs = pair(name)
    ours.train(training), theirs.train(training)
    x = torch.ones(shape)
    (y, said), (other, warned) = (outcome(lambda m=m: m(x)) for m in (ours, theirs))
    assert said == warned
    assert (y is None) == (other is None)
    assert ours.step == (training and y is not None)
    if y is None:
        return
    assert (y.shape, y.dtype, y.stride()) == (other.shape, other.dtype, other.stride())


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (name, shape)
        for name in SHAPES
        for shape in [(3, 4), (4, 3, 2), (4, 3, 2, 2), (4, 3, 2, 2, 2), (2,) * 6]
        if name != "Dropout1d" or len(shape) < 4  # which both refuse
    ],
)
@pytest.mark.filterwarnings("ignore:dropout:UserWarning")
def test_the_same_elements_are_dropped_together(name, shape):
    """Along which axes all elements were alike in thirty draws: of ours as of theirs."""

    def alike(module):
        torch.manual_seed(0)
        drawn = [module(torch.ones(shape)) for _ in range(30)]
        return [all((y == y.narrow(a, 0, 1)).all() for y in drawn) for a in range(len(shape))]

    assert alike(getattr(modules, name)(seed=1)) == alike(getattr(nn, name)())


LAYOUTS = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.transpose(0, 1),
    "sliced": lambda x: x[::2],
    "strided": lambda x: x[..., ::2],
    "expanded": lambda x: x[:1].expand(x.shape),
    "channels last": lambda x: x.movedim(1, -1).contiguous().movedim(-1, 1),
}


@of_each
@in_both_modes
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_the_result_has_the_dtype_and_layout_of_pytorchs(name, seed, layout, dtype):
    x = LAYOUTS[layout](torch.ones(SHAPES[name], dtype=getattr(torch, dtype)))
    ours, theirs = (module(x) for module in pair(name, seed=seed))
    assert (ours.dtype, ours.shape, ours.device) == (theirs.dtype, theirs.shape, theirs.device)
    assert ours.stride() == theirs.stride()
    with torch.inference_mode():
        ours, theirs = (module(x) for module in pair(name, seed=seed))
        assert ours.is_inference() == theirs.is_inference()
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = (module(x) for module in pair(name, seed=seed))
        assert ours.dtype == theirs.dtype


@of_each
@pytest.mark.parametrize("dtype", ["int32", "bool", "uint8"])
def test_dtypes_that_pytorch_refuses(name, dtype):
    ours, theirs = pair(name)
    x = torch.ones(SHAPES[name], dtype=getattr(torch, dtype))
    with pytest.raises(RuntimeError, match="can't be cast"):
        theirs(x)
    with pytest.raises(TypeError, match=f"needs a floating-point array .*, got dtype {dtype}"):
        ours(x)
    assert ours.step == 0
    assert ours.eval()(x) is x


@of_each
@pytest.mark.parametrize("bad", [-0.1, 1.5])
def test_rates_that_pytorch_refuses(name, bad):
    for module in (getattr(modules, name), getattr(nn, name)):
        with pytest.raises(ValueError, match=r"0 <= p <= 1|between 0 and 1"):
            module(bad)
        late = module(0.5)
        late.p = bad
        with pytest.raises(ValueError, match=r"0 <= p <= 1|between 0 and 1"):
            late(torch.ones(SHAPES[name]))


@of_each
def test_a_rate_of_one(name):
    """PyTorch's zeros, with the gradient zero, where its input is finite."""
    shape = SHAPES[name]
    x = torch.linspace(-1, 1, math.prod(shape)).reshape(shape).requires_grad_()
    for module in pair(name, 1.0):
        y = module(x)
        assert y.eq(0).all()
        assert torch.autograd.grad(y.sum(), x)[0].eq(0).all()


# In place -----------------------------------------------------------------------------------------


@of_each
@in_both_modes
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "channels last"])
def test_in_place(name, seed, layout):
    """The result is the input, with the values and the gradient of a call that copies."""
    x = LAYOUTS[layout](torch.rand(SHAPES[name])).requires_grad_()

    def pass_through(inplace):
        torch.manual_seed(2)
        z = x * 3.0
        y = pair(name, inplace=inplace, seed=seed)[0](z)
        assert (y is z) == inplace
        return y.detach(), torch.autograd.grad((y**2).sum(), x)[0]

    for a, b in zip(pass_through(True), pass_through(False), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("name", "shape"), [("Dropout1d", (6, 5)), ("Dropout3d", (3, 4, 2, 2))])
def test_in_place_without_a_batch(name, shape):
    for module in pair(name, inplace=True):
        x = torch.ones(shape)
        y = module(x)
        assert y is x
        assert y.shape == shape


@of_each
@pytest.mark.parametrize("p", [0.5, 1.0])
def test_in_place_of_a_leaf(name, p):
    x = torch.ones(SHAPES[name], requires_grad=True)
    ours, theirs = pair(name, p, inplace=True)
    if "Alpha" not in name:  # PyTorch's own ignore it
        with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
            theirs(x)
    with pytest.raises(RuntimeError, match="inplace=True can't change a leaf that requires grad"):
        ours(x)
    assert ours.step == 0
    with torch.no_grad():
        assert ours(x) is x


@of_each
def test_in_place_of_what_autograd_has_kept(name):
    for module in pair(name, inplace=True):
        z = torch.ones(SHAPES[name], requires_grad=True).exp()
        y = module(z).sum()
        if "Alpha" in name and type(module) is getattr(nn, name):
            continue
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.backward()


@of_each
def test_in_place_of_an_expanded_tensor(name):
    ours, _ = pair(name, inplace=True)
    x = LAYOUTS["expanded"](torch.ones(SHAPES[name]))
    with pytest.raises(ValueError, match="expanded"):
        ours(x)
    assert ours.step == 0


# Compiled -----------------------------------------------------------------------------------------


@of_each
@in_both_modes
@pytest.mark.parametrize("inplace", [False, True])
def test_no_more_compilations_than_pytorchs(name, seed, inplace):
    """Of batches of changing length, in training and at inference."""

    def compilations(module):
        torch.compiler.reset()
        counter = CompileCounterWithBackend("aot_eager")
        program = torch.compile(module, backend=counter, fullgraph=True)
        for mode in (True, False):
            module.train(mode)
            for n in range(6):
                program(torch.ones(2 + n % 3, *SHAPES[name][1:]))
        return counter.frame_count

    ours, theirs = (compilations(module) for module in pair(name, 0.5, inplace, seed=seed))
    assert ours <= theirs


@in_both_modes
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # of PyTorch's
@pytest.mark.parametrize("rates", [[0.5] * 4, [0.1, 0.2, 0.3, 0.4]], ids=str)
def test_equal_blocks_and_others_compile_as_often_as_with_pytorchs(seed, rates):
    class Block(nn.Module):
        def __init__(self, drop):
            super().__init__()
            self.linear, self.drop = nn.Linear(4, 4), drop

        def forward(self, x):
            return self.drop(self.linear(x))

    def compilations(make):
        torch.compiler.reset()
        counter = CompileCounterWithBackend("aot_eager")
        blocks = nn.Sequential(*(Block(make(p)) for p in rates))
        for block in blocks:
            block.compile(backend=counter, fullgraph=True)
        for _ in range(3):
            blocks(torch.ones(3, 4))
        return counter.frame_count

    ours = compilations(lambda p: modules.Dropout(p, seed=seed))
    assert ours <= compilations(nn.Dropout)


@of_each
def test_compiled_in_place(name):
    """The caller's tensor has changed, as it does eagerly."""
    (eager, _), (module, _) = pair(name, inplace=True), pair(name, inplace=True)
    program = torch.compile(module, backend="aot_eager", fullgraph=True)
    for _ in range(2):
        x, z = torch.ones(SHAPES[name]), torch.ones(SHAPES[name])
        y = program(x)
        assert torch.equal(y, eager(z))
        assert torch.equal(x, z)
        assert not torch.equal(x, torch.ones(SHAPES[name]))
