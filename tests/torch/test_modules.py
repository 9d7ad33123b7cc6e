"""Each module of `anydrop.torch`: it draws what the function and the plain layer draw."""

import numpy as np
import pytest
from subjects import available

import anydrop
from anydrop.schedules import Linear

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint
from torch_modules import CASES, at_a_rate, cases_where, numbers, takes_one

import anydrop.torch as modules

SEED = np.random.SeedSequence(7, spawn_key=(3,))


def numpy_of(more):
    return {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in more.items()}


def test_each_module_is_in_the_table():
    public = {getattr(modules, name) for name in modules.__all__}
    named = {m for m in public if isinstance(m, type) and issubclass(m, modules.Module)}
    assert named - {modules.Module} == {case.module for case in CASES}


@cases_where()
def test_it_draws_what_the_function_draws_of_numpy(case):
    """Each forward at the module's step, of which it says the seed and the number."""
    module, x = case.make(seed=SEED), case.input()
    for step in range(3):
        assert module.step == step
        rate, more = getattr(module, case.rate[0]), numpy_of(case.more(x))
        expected = case.draw(x.numpy(), module.seed, module.step, rate, **more)
        y = case.run(module, x)
        assert np.array_equal(y.numpy(), expected)
        assert not np.array_equal(expected, np.broadcast_to(x.numpy(), expected.shape))


@cases_where()
def test_it_draws_what_the_plain_layer_draws(case):
    module, layer, x = case.make(), case.plain(), case.input()
    for _ in range(4):
        assert torch.equal(case.run(module, x), case.run(layer, x))
    if case.name != "DropPath-unscaled":  # a layer would scale here, and timm's module doesn't
        assert torch.equal(case.run(module.eval(), x), case.run(layer.eval(), x))
    assert torch.equal(case.run(module.train(), x), case.run(layer.train(), x))
    assert module.step == layer.step == 5


@cases_where(numbers)
def test_gradients_are_those_of_the_function(case):
    module, x = case.make(), case.input(torch.float64)
    more = case.more(x)
    inputs = [v.requires_grad_() for v in (x, *more.values()) if isinstance(v, torch.Tensor)]
    anything = False
    for step in range(4):
        y, expected = module(x, **more), case.draw(x, 0, step, **more)
        weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
        ours = torch.autograd.grad((y * weights).sum(), inputs)
        theirs = torch.autograd.grad((expected * weights).sum(), inputs)
        assert all(map(torch.equal, ours, theirs))
        anything |= any(bool(dx.ne(0).any()) for dx in ours)
    assert anything


def kept_by(run, x, more):
    """Return the tensors that autograd keeps of a call for its backward pass."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda place: place):
        run(x, **more)
    return kept


@cases_where(numbers)
@pytest.mark.parametrize("seed", [0, None])
def test_nothing_is_kept_for_the_backward_pass(case, seed):
    x = case.input().requires_grad_()
    assert kept_by(case.make(seed=seed), x, case.more(x)) == []


@cases_where(numbers)
@pytest.mark.parametrize("seed", [0, None])
def test_compiled_two_words_and_a_step_are_kept_for_the_backward_pass(case, seed):
    torch.compiler.reset()
    x = case.input().requires_grad_()
    program = torch.compile(case.make(seed=seed), fullgraph=True, backend="aot_eager")
    # The compiler looks for `grad`, of which PyTorch warns where a tensor is no leaf.
    more = case.more(x.detach())
    for value in more.values():
        if isinstance(value, torch.Tensor):
            value.requires_grad_()
    kept = [(place.numel(), place.dtype) for place in kept_by(program, x, more)]
    # Through noise that is added a gradient goes as it is.
    assert kept == ([] if case.module is modules.GaussianNoise else [(3, torch.int64)])


@cases_where()
@pytest.mark.parametrize("seed", [0, None])
def test_compiled_it_draws_what_it_draws_eagerly(case, seed):
    x = case.input().requires_grad_(not case.whole)
    torch.compiler.reset()
    counter = CompileCounterWithBackend("aot_eager")
    eager, module = case.make(seed=seed), case.make(seed=seed)
    program = torch.compile(lambda x: case.run(module, x), backend=counter, fullgraph=True)

    def drawn(call):
        torch.manual_seed(3)
        for _ in range(3):
            y = call(x)
            yield y.detach()
            if y.requires_grad:
                yield torch.autograd.grad((y**2).sum(), x)[0]

    eagerly = list(drawn(lambda x: case.run(eager, x)))
    compiled = list(drawn(program))
    assert len(eagerly) == len(compiled) == (3 if case.whole else 6)
    for a, b in zip(eagerly, compiled, strict=True):
        assert torch.equal(a, b)
    assert counter.frame_count == 1
    assert module.step == eager.step == (None if seed is None else 3)


@cases_where()
def test_without_a_seed_it_follows_pytorchs_generator(case):
    module, x = case.make(seed=None), torch.cat([case.input()] * 4)
    first, second = (
        (torch.manual_seed(5), case.run(module, x), case.run(module, x))[1:] for _ in range(2)
    )
    assert all(map(torch.equal, first, second))
    assert not module.state_dict()
    assert "seed" not in repr(module)
    assert any(not torch.equal(first[0], case.run(module, x)) for _ in range(20))


@cases_where()
def test_inference(case):
    """Most return the input itself; zoneout, sums, copies and the scaling of 2014 compute."""
    module, x = case.make().eval(), case.input()
    of_several = modules.Zoneout, modules.DropoutAdd
    computes = {"DropConnect-examples", "AttentionDropout-2014"}
    y = case.run(module, x)
    computed = case.module in of_several or case.name in computes
    assert (y is x) == (not computed)
    if computed:
        assert torch.equal(y, case.draw(x, None, 0, training=False, **case.more(x)))
    assert module.step == 0
    assert torch.equal(case.run(module.train(), x), case.draw(x, 0, 0, **case.more(x)))


@cases_where()
def test_a_step_that_is_said(case):
    module, x = case.make(), case.input()
    y = case.run(module, x, step=2**40 + 1)
    assert torch.equal(y, case.draw(x, 0, 2**40 + 1, **case.more(x)))
    assert module.step == 0


@cases_where()
def test_a_refused_call_spends_no_step(case):
    module, x = case.make(), case.input()
    case.run(module, x)
    bad = x.double() if case.whole else x.int()
    with pytest.raises(TypeError, match="dtype"):
        case.run(module, bad)
    assert module.step == 1
    assert torch.equal(case.run(module, x), case.draw(x, 0, 1, **case.more(x)))


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (modules.Dropout1d(seed=0), (2, 3, 4, 5)),
        (modules.FeatureAlphaDropout(seed=0), (3,)),
        (modules.DropPath(0.5, seed=0), ()),
        (modules.DropBlock2d(0.5, 3, seed=0), (3, 8, 8)),
        (modules.EmbeddingDropout(seed=0), (3, 4, 5)),
        (modules.AttentionDropout(share_heads=True, seed=0), (3, 4)),
        (modules.LockedDropout(time_axis=3, seed=0), (3, 4)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_a_wrong_number_of_axes_spends_no_step(module, shape):
    with pytest.raises((ValueError, RuntimeError), match=r"dimension|axis|2D or 3D|shape"):
        module(torch.ones(shape))
    assert module.step == 0


# The rate -----------------------------------------------------------------------------------------


@cases_where(at_a_rate)
@pytest.mark.parametrize("bad", [-0.1, 1.5, float("nan"), True, "0.5", None])
def test_a_rate_out_of_range_is_refused_at_once_and_later(case, bad):
    name = case.rate[0] if case.takes_one else "p"
    rule = f"{name} must satisfy 0 <= {name} <(=)? 1|must be a real number"
    with pytest.raises((TypeError, ValueError), match=rule) as said:
        case.make(bad)
    if "satisfy" in str(said.value):
        assert ("<= 1" in str(said.value)) == case.takes_one
        assert repr(bad) in str(said.value)
    module = case.make()
    setattr(module, case.rate[0], bad)
    with pytest.raises((TypeError, ValueError), match=rule):
        case.run(module, case.input())
    assert module.step == 0


@cases_where(at_a_rate)
def test_a_rate_that_is_set_acts_at_the_next_forward(case):
    module, x = case.make(0.1), case.input()
    case.run(module, x)
    setattr(module, case.rate[0], 0.7)
    assert torch.equal(case.run(module, x), case.draw(x, 0, 1, 0.7, **case.more(x)))


@cases_where(at_a_rate)
def test_a_rate_of_zero(case):
    module, x = case.make(0), case.input()
    more = case.more(x)
    assert torch.equal(case.run(module, x), case.draw(x, 0, 0, 0.0, **more))
    assert module.step == 1


@cases_where(takes_one)
@pytest.mark.parametrize("one", [1, 1.0, np.float64(1)])
def test_a_rate_of_one_gives_zeros_by_selection(case, one):
    module, x = case.make(one), case.input()
    x.view(-1)[:3] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    x.requires_grad_()
    y = module(x)
    assert torch.equal(y, torch.zeros_like(x))
    assert not torch.signbit(y).any()
    (dx,) = torch.autograd.grad(y, x, torch.full_like(y, float("nan")))
    assert torch.equal(dx, torch.zeros_like(x))
    assert module.step == 1


@cases_where(takes_one, lambda case: hasattr(case.make(), "inplace"))
def test_a_rate_of_one_in_place(case):
    module, x = case.make(1.0), case.input().requires_grad_()
    module.inplace = True
    z = x * 2.0
    z.data[0] = float("nan")
    y = module(z)
    assert y is z
    assert torch.equal(y, torch.zeros_like(x))
    assert torch.autograd.grad(y.sum(), x)[0].eq(0).all()


@cases_where(at_a_rate, lambda case: not case.takes_one)
def test_other_modules_refuse_a_rate_of_one(case):
    with pytest.raises(ValueError, match="p must satisfy 0 <= p < 1, got 1"):
        case.make(1.0)


@cases_where(at_a_rate)
def test_a_schedule_needs_a_seed(case):
    schedule = Linear(0.0, 0.8, steps=4)
    with pytest.raises(ValueError, match=r"doesn't count steps: make it with \w+\(..., seed=0\)"):
        case.make(schedule, seed=None)
    module, layer, x = case.make(schedule), case.plain(schedule), case.input()
    assert f"{case.rate[0]}={schedule!r}" in repr(module)
    for step in range(6):
        y = case.run(module, x)
        assert torch.equal(y, case.draw(x, 0, step, schedule(step), **case.more(x)))
        assert torch.equal(y, case.run(layer, x))
    program = torch.compile(lambda x: case.run(module, x), backend="eager", fullgraph=True)
    with pytest.raises(Exception, match=f"{case.rate[0]} follows a schedule, but a compiled"):
        program(x)


def test_a_standard_deviation():
    noise = modules.GaussianNoise(2.5, seed=0)
    x = torch.zeros(100)
    assert torch.equal(noise(x), anydrop.gaussian_noise(x, 2.5, seed=0, step=0))
    noise.std = -1.0
    with pytest.raises(ValueError, match=r"std must be finite and >= 0, got -1.0"):
        noise(x)
    assert noise.step == 1


# Where modules stand ------------------------------------------------------------------------------


class Network(nn.Module):
    """Holds a module of two inputs as well as one of a single input."""

    def __init__(self, case):
        super().__init__()
        self.case = case
        self.parts = nn.ModuleDict({"drop": case.make()})

    def forward(self, x):
        return self.case.run(self.parts["drop"], x)


@cases_where()
def test_a_network_reaches_it(case):
    model, x = Network(case), case.input()
    drop = model.parts["drop"]
    assert dict(model.named_modules())["parts.drop"] is drop
    model.eval()
    assert not drop.training
    model.train()
    first, second = model(x), model(x)
    assert list(model.state_dict()) == ["parts.drop.step"]
    new = Network(case)
    new.load_state_dict(model.state_dict())
    assert torch.equal(new(x), model(x))
    assert model.parts["drop"].step == 3
    new.parts["drop"].step = 0
    called = torch.func.functional_call(new, {}, (x,))
    assert torch.equal(called, first)
    assert torch.equal(torch.func.functional_call(new, {}, (x,)), second)


def test_in_a_sequence():
    model = nn.Sequential(
        nn.Linear(4, 6), modules.AlphaDropout(0.3, seed=1), modules.GaussianNoise(0.1, seed=2)
    )
    x = torch.ones(5, 4)
    hidden = model[0](x)
    expected = anydrop.alpha_dropout(hidden, 0.3, seed=1, step=0)
    expected = anydrop.gaussian_noise(expected, 0.1, seed=2, step=0)
    assert torch.equal(model(x), expected)
    assert torch.equal(model.eval()(x), hidden)


@cases_where(numbers)
@pytest.mark.parametrize("seed", [0, None])
def test_a_checkpoint_gives_the_gradient_of_its_forward(case, seed):
    x = case.input().requires_grad_()

    def gradient(run):
        torch.manual_seed(4)
        module = case.make(seed=seed)
        y = run(lambda x: case.run(module, x) ** 2, x)
        return torch.autograd.grad(y.sum(), x)[0]

    recomputed = gradient(lambda f, x: checkpoint(f, x, use_reentrant=False))
    assert torch.equal(recomputed, gradient(lambda f, x: f(x)))


@cases_where()
def test_its_repr_has_its_settings(case):
    module = case.make(per_rank=2)
    shown = repr(module)
    assert shown.startswith(f"{case.module.__name__}({case.rate[0]}=0.4")
    assert shown.endswith("seed=0, per_rank=2, step=0)")
    for name, value in case.options.items():
        known = ("scale_by_keep",)  # timm's module doesn't show it
        assert name in known or f"{name}={value}" in shown.replace("'", "")


def test_settings_of_layers_are_refused_as_by_layers():
    with pytest.raises(ValueError, match="'inference' makes no sense here"):
        modules.Zoneout(scaling="inference")
    with pytest.raises(ValueError, match="either shared_axes= or noise_shape="):
        modules.GaussianDropout(shared_axes=1, noise_shape=(1, None))
    with pytest.raises(TypeError, match="token must be an int"):
        modules.TokenDropout(token=0.5)
    with pytest.raises(ValueError, match="mode must be 'row' or 'batch'"):
        modules.StochasticDepth(0.1, "rows")
    with pytest.raises(ValueError, match="block_size must be one length, or 2 of them"):
        modules.DropBlock2d(0.1, (3, 3, 3))
