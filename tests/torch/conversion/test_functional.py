"""Functions that converted modules call: who draws for each call."""

import gc
import threading
import weakref

import pytest
from subjects import available

import anydrop

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.func import functional_call, grad
from torch.nn import functional as F  # noqa: N812 - its name everywhere
from torch.utils.checkpoint import checkpoint

from anydrop.torch import convert, revert
from anydrop.torch.conversion import scope

X = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
REENTRANT = pytest.mark.parametrize("reentrant", [False, True])
SEEDS = pytest.mark.parametrize("seed", [None, 3])
NAMES = ("dropout", "alpha_dropout", "scaled_dot_product_attention", "multi_head_attention_forward")
PYTORCHS = {name: getattr(F, name) for name in NAMES}


def is_put_back():
    gc.collect()
    F.dropout(X)  # It notices that no converted model is left.
    return all(getattr(F, name) is function for name, function in PYTORCHS.items())


@pytest.fixture(autouse=True)
def _put_back():
    yield
    assert is_put_back()


class Functions(nn.Module):
    """It calls two functions, in a checkpoint or not."""

    def __init__(self, **checkpointed):
        super().__init__()
        self.one, self.two, self.checkpointed = nn.Linear(16, 16), nn.Linear(16, 16), checkpointed

    def forward(self, x):
        if self.checkpointed:
            return checkpoint(lambda x: self.inner(x), x, **self.checkpointed)
        return self.inner(x)

    def inner(self, x):
        h = F.dropout(self.one(x), 0.3, self.training)
        return F.dropout(self.two(h) ** 2, 0.4, self.training)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, dropout=0.4, batch_first=True)
        self.drop = nn.Dropout(0.3)

    def forward(self, x):
        return self.drop(self.attention(x, x, x, need_weights=False)[0])


def functions(seed=3, **checkpointed):
    torch.manual_seed(0)
    model = Functions(**checkpointed)
    convert(model, seed=seed, functional=True)
    return model


def expected(model, x=X, step=0):
    """Return what a model of `Functions` makes of an input, by public functions."""
    seed = model.anydrop.seed
    h = anydrop.dropout(model.one(x), 0.3, seed=seed, step=step)
    return anydrop.dropout(model.two(h) ** 2, 0.4, seed=seed, step=step + 1)


def gradients(model, call, x=X):
    model.zero_grad()
    x = x.clone().requires_grad_()
    y = call(x)
    y.sum().backward()
    return [y.detach(), x.grad, *(p.grad.clone() for p in model.parameters())]


def same(some, others, **tolerance):
    torch.testing.assert_close(some, others, **(tolerance or {"rtol": 0, "atol": 0}))


# Who draws ---------------------------------------------------------------------------------------


def test_calls_of_a_forward_draw_the_steps_of_the_seed():
    model = functions()
    for step in (0, 2, 4):
        assert torch.equal(model(X), expected(model, step=step))
    assert torch.equal(model.forward(X), expected(model, step=6))
    assert torch.equal(model.eval()(X), model(X))
    assert model.anydrop.step == 8


@REENTRANT
@SEEDS
def test_a_checkpoint_of_a_lambda_within_a_forward(seed, reentrant):
    plain, checkpointed = functions(seed), functions(seed, use_reentrant=reentrant)
    for n in range(3):
        torch.manual_seed(n)
        right = gradients(plain, plain)
        torch.manual_seed(n)
        same(gradients(checkpointed, checkpointed), right)


@REENTRANT
def test_nested_checkpoints_around_a_model(reentrant):
    def twice(x):
        return checkpoint(
            lambda x: checkpoint(nested, x, use_reentrant=reentrant), x, use_reentrant=reentrant
        )

    plain, nested = functions(), functions(use_reentrant=reentrant)
    same(gradients(nested, twice), gradients(plain, plain))


def test_a_backward_pass_within_a_forward_around():
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Functions(use_reentrant=False)

        def forward(self, x):
            y = self.inner(x)
            return y, torch.autograd.grad(y.sum(), x)[0]

    model, x = Around(), X.clone().requires_grad_()
    convert(model, seed=0, functional=True)
    y, gradient = model(x)
    right = expected(model.inner, x)
    same(y, right)
    same(gradient, torch.autograd.grad(right.sum(), x)[0])


def test_a_checkpoint_that_does_not_restore_the_generator_is_refused():
    model = functions(use_reentrant=False, preserve_rng_state=False)
    y = model(X.clone().requires_grad_())
    with pytest.raises(RuntimeError, match=r"no living converted model .*preserve_rng_state=True"):
        y.sum().backward()


def test_a_call_that_was_forgotten_is_refused(monkeypatch):
    monkeypatch.setattr(scope, "MEMORY", 4)
    model = functions(use_reentrant=False)
    first, *_ = [model(X.clone().requires_grad_()) for _ in range(4)]
    with pytest.raises(RuntimeError, match=r"no living converted model .* among the last 4 calls"):
        first.sum().backward()


@pytest.mark.parametrize("other", [lambda **c: functions(4, **c), Functions])
def test_two_models_that_call_in_one_state_of_the_generator_are_refused(other):
    outputs = []
    for model in (functions(use_reentrant=False), other(use_reentrant=False)):
        torch.manual_seed(1)
        outputs.append(model(X.clone().requires_grad_()))
    for y in outputs:
        with pytest.raises(RuntimeError, match=r"several models called it.*torch.manual_seed once"):
            y.sum().backward()


def test_two_models_without_a_seed_in_one_state_of_the_generator():
    models, outputs = [functions(None, use_reentrant=False) for _ in range(2)], []
    for model in models:
        torch.manual_seed(1)
        x = X.clone().requires_grad_()
        outputs.append((x, model(x)))
    for _, y in outputs:
        y.sum().backward()
    same(outputs[0][0].grad, outputs[1][0].grad)
    plain = functions(None)
    torch.manual_seed(1)
    same(gradients(plain, plain)[1], outputs[0][0].grad)


@REENTRANT
@pytest.mark.parametrize("make", [Functions, Layer, lambda: nn.TransformerEncoderLayer(16, 2, 32)])
def test_other_models_keep_their_bits(make, reentrant):
    model = make()

    def run():
        torch.manual_seed(2)
        around = gradients(model, lambda x: checkpoint(model, x, use_reentrant=reentrant))
        return around, gradients(model, model)

    before = run()
    beside = functions(use_reentrant=False)
    gradients(beside, beside)
    same(run(), before)


def test_another_module_whose_rng_is_not_restored_is_left_alone():
    beside, model = functions(), nn.Dropout(0.5)
    beside(X)
    y = checkpoint(
        *(model, X.clone().requires_grad_()), use_reentrant=False, preserve_rng_state=False
    )
    y.sum().backward()


def test_threads_have_scopes_of_their_own():
    models = [functions(seed) for seed in (1, 2)]
    right = [[expected(model, step=2 * n).detach() for n in range(50)] for model in models]
    wrong = list[int]()

    def run(model, right):
        wrong.extend(n for n, y in enumerate(right) if not torch.equal(model(X), y))

    threads = [threading.Thread(target=run, args=pair) for pair in zip(models, right, strict=True)]
    stock = threading.Thread(target=lambda: [F.dropout(X) for _ in range(500)])
    for thread in (*threads, stock):
        thread.start()
    for thread in (*threads, stock):
        thread.join()
    assert not wrong


def test_a_parent_in_eval_mode_draws_nothing_whatever_its_child_says():
    model = functions()
    model.training = False
    assert model.anydrop.training
    assert torch.equal(model(X), model(X))
    assert model.anydrop.step == 0


@SEEDS
def test_monte_carlo_of_attention_in_eval_mode(seed):
    model = Layer().eval()
    convert(model, seed=seed)
    model.drop.p = 0.0
    x = X[None]
    one, two = (anydrop.monte_carlo(model, x, samples=8, seed=0) for _ in range(2))
    assert one.std.max() > 0
    same(one.mean, two.mean)
    assert torch.equal(model(x), model(x))
    assert not model.attention.training


# Compilers, transforms and other tools -----------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own calls
@SEEDS
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("make", [Functions, Layer])
def test_compiled_programs_draw_what_eager_ones_draw(make, backend, seed):
    torch.compiler.reset()
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(make())
        convert(models[-1], seed=seed, functional=True)
    eager, model = models
    counter = CompileCounterWithBackend(backend)
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    for n in range(3):
        torch.manual_seed(n)
        right = gradients(eager, eager, X[None])
        torch.manual_seed(n)
        same(gradients(model, compiled, X[None]), right, rtol=1e-5, atol=1e-5)
    assert counter.frame_count == 1


@pytest.mark.parametrize("make", [Functions, Layer])
def test_compiled_blocks_share_one_program(make):
    torch.compiler.reset()
    model, counter = nn.Sequential(*(make() for _ in range(12))), CompileCounterWithBackend("eager")
    convert(model, seed=0, functional=True)
    for block in model:
        block.compile(backend=counter, fullgraph=True)
        block(X[None])
    assert counter.frame_count == 1


def test_functional_call_and_grad():
    model = functions()
    parameters = dict(model.named_parameters())
    of_function = grad(lambda p: functional_call(model, p, (X,)).sum())(parameters)
    expected(model).sum().backward()
    same(of_function, {name: p.grad for name, p in parameters.items()})


def test_torch_fx_names_pytorchs_function_in_other_models():
    beside = functions()
    traced = torch.fx.symbolic_trace(Functions())
    targets = [node.target for node in traced.graph.nodes if node.op == "call_function"]
    assert targets.count(PYTORCHS["dropout"]) == 2
    with pytest.raises(TypeError, match=r"torch\.fx would record PyTorch's dropout"):
        torch.fx.symbolic_trace(beside)


def test_a_tensor_subclass_is_told_pytorchs_function():
    class Told(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, arguments=(), keywords=None):
            return function

    beside = functions()
    assert F.dropout is not PYTORCHS["dropout"]
    assert F.dropout(X.as_subclass(Told)) is PYTORCHS["dropout"]
    del beside


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_other_modules_are_scripted():
    beside = functions()
    scripted = torch.jit.script(nn.Dropout(0.5))
    torch.manual_seed(0)
    y = scripted(X)
    torch.manual_seed(0)
    assert torch.equal(y, nn.Dropout(0.5)(X))
    del beside


def test_pytorchs_functions_come_back_with_the_last_model():
    model, other = functions(), functions()
    revert(model)
    assert not is_put_back()
    del other
    assert is_put_back()


def test_a_class_that_nothing_uses_goes():
    def converted():
        class Own(Functions):
            pass

        model = Own()
        convert(model, functional=True)
        model(X)
        return weakref.ref(Own)

    own = converted()
    gc.collect()
    assert own() is None
