"""PyTorch's private and experimental names: all in one file, each with what is relied on."""

import pytest
from private_names import named, names_used, used_by_file
from process import python
from subjects import available

from anydrop.core.tracing import constant

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )
import torch
import torch.utils.checkpoint
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.func import grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx

UNOFFICIAL = ("torch.fx.experimental", "fake_mode", "_dynamo_marked_constant")
X = torch.ones(3)


def seen_in(run, ask):
    """Return what a question answers within a function that something runs."""
    answers = []

    def function(x):
        answers.append(ask())
        return x * 2

    run(function)
    return answers[-1]


def traced(function):
    return torch.jit.trace(function, X, check_trace=False)


def dispatch_stack(length):
    assert length() == 0
    with FakeTensorMode():
        assert length() == 1


def is_included(included):
    key = torch._C.DispatchKey.PreDispatch
    assert not included(key)
    assert seen_in(lambda f: make_fx(f, pre_dispatch=True)(X), lambda: included(key))


def tracing_state(state):
    assert state() is None
    assert seen_in(traced, state) is not None


def transforms(active):
    assert not active()
    for transform in (lambda f: vmap(f)(X), lambda f: grad(lambda x: f(x).sum())(X)):
        assert seen_in(transform, active)


def dispatch_keys(keys):
    assert keys(X) == keys(torch.zeros(2, 2, dtype=torch.int8))
    z = torch.ones(3, dtype=torch.complex64)
    for other in (z.conj(), z.conj().imag, X.to("meta"), X.to_sparse()):
        assert keys(other) != keys(X)


def current_level(level):
    assert level == -1
    with forward_ad.dual_level():
        assert forward_ad._current_level == 0
    assert forward_ad._current_level == -1


def proxy_mode(mode):
    assert mode() is None
    assert seen_in(lambda f: make_fx(f)(X), mode) is not None


def graph_task(task):
    assert task() == -1
    x = X.clone().requires_grad_()
    answers = []
    x.register_hook(lambda g: answers.append(task()))
    (x * 2).sum().backward()
    assert answers[0] != -1


def below_autograd(guard):
    x = X.clone().requires_grad_()
    assert x.sin().grad_fn is not None
    with guard():
        assert x.sin().grad_fn is None


def forward_grad(enabled):
    with forward_ad.dual_level():
        x = forward_ad.make_dual(X, X)
        with enabled(False):
            assert forward_ad.unpack_dual(x * 2).tangent is None
            with enabled(True):
                assert torch.equal(forward_ad.unpack_dual(x * 2).tangent, 2 * X)


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


def single_level(allowed):
    """And what is relied on of ``Function`` itself: the method that its `apply` calls."""
    apply = super(torch.autograd.Function, Double).apply

    def double(x):
        return apply(x).sum()

    x = X.clone().requires_grad_()
    assert torch.equal(torch.autograd.grad(double(x), x)[0], 2 * X)
    with pytest.raises(RuntimeError, match="autograd"):
        grad(double)(X)
    with allowed():
        assert torch.equal(grad(double)(X), 2 * X)


def shard(offset):
    printed = python("""
        import torch.distributed as dist
        from torch.distributed.tensor import Shard, init_device_mesh
        from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        mesh = init_device_mesh("cpu", (1,))
        print(*compute_local_shape_and_global_offset((4, 6), mesh, (Shard(0),)))
        dist.destroy_process_group()
    """)
    assert printed == "(4, 6) (0, 0)"  # test_tensors has two processes


def fake_mode():
    with FakeTensorMode() as mode:
        assert torch.ones(3).fake_mode is mode


def marked_constant():
    theirs, ours = (mark(lambda: 0) for mark in (torch.compiler.assume_constant_result, constant))
    assert vars(ours) == vars(theirs) == {"_dynamo_marked_constant": True}


def dispatch_mode(mode):
    class Seen(mode):
        supports_higher_order_operators = True

        def __torch_dispatch__(self, operator, types, arguments=(), keywords=None):
            names.append(operator.name())
            return operator(*arguments, **(keywords or {}))

    names = []
    with torch.compiler.set_stance("force_eager"), Seen():
        torch.cond(X.sum() > 0, torch.sin, torch.cos, (X * 2,))
    assert {"aten::mul.Tensor", "cond"} <= {*names}


def interpreter_stack(stack):
    assert not stack()
    vmapped = torch._C._functorch.TransformType.Vmap
    around = seen_in(
        lambda f: vmap(grad(lambda x: f(x).sum()))(X), lambda: [s.key() for s in stack()]
    )
    assert vmapped in around
    assert vmapped not in seen_in(
        lambda f: grad(lambda x: f(x).sum())(X), lambda: [s.key() for s in stack()]
    )


def saved_tensors_hooks(top):
    assert top(True) is None
    for reentrant, there in ((False, True), (True, False)):
        tops = []
        torch.utils.checkpoint.checkpoint(
            lambda x, tops=tops: (tops.append(top(True)), x * 2)[1],
            X.clone().requires_grad_(),
            use_reentrant=reentrant,
        )
        assert (tops[0] is not None) == there


def no_dispatch(disabled):
    with FakeTensorMode():
        with disabled():
            assert type(torch.ones(1)) is torch.Tensor
        assert type(torch.ones(1)) is not torch.Tensor


RELIED_ON = {
    "torch._C._len_torch_dispatch_stack": dispatch_stack,
    "torch._C.DispatchKey.PreDispatch": lambda key: None,  # the next asks for it
    "torch._C._dispatch_tls_is_dispatch_key_included": is_included,
    "torch._C._get_tracing_state": tracing_state,
    "torch._C._are_functorch_transforms_active": transforms,
    "torch._C._functorch.get_interpreter_stack": interpreter_stack,
    "torch._C._functorch.TransformType.Vmap": lambda key: None,  # the former asks for it
    "torch._C._dispatch_keys": dispatch_keys,
    "torch._C._current_graph_task_id": graph_task,
    "torch._C._autograd._top_saved_tensors_default_hooks": saved_tensors_hooks,
    "torch._C._DisableTorchDispatch": no_dispatch,
    "torch._C._AutoDispatchBelowAutograd": below_autograd,
    "torch.autograd.forward_ad._current_level": current_level,
    "torch.autograd.forward_ad._set_fwd_grad_enabled": forward_grad,
    "torch.fx.experimental.proxy_tensor.get_proxy_mode": proxy_mode,
    "torch.utils._python_dispatch.TorchDispatchMode": dispatch_mode,
    "torch._functorch.utils.enable_single_level_autograd_function": single_level,
    "torch.distributed.tensor._utils.compute_local_shape_and_global_offset": shard,
}
ATTRIBUTES = {"fake_mode": fake_mode, "_dynamo_marked_constant": marked_constant}


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own calls
@pytest.mark.parametrize("name", RELIED_ON)
def test_a_name_is_there_and_does_what_is_relied_on(name):
    RELIED_ON[name](named(name))


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_is_there_and_is_what_is_relied_on(name):
    ATTRIBUTES[name]()


def test_they_are_used_in_one_file():
    used = used_by_file("torch", UNOFFICIAL)
    assert used.pop("core/tracing.py") == {"_dynamo_marked_constant"}  # it can't import PyTorch
    everything = {*RELIED_ON, *ATTRIBUTES} - {"_dynamo_marked_constant"}
    assert used == {"backends/torch/watchers.py": everything}


def test_that_a_private_name_is_seen():
    source = """
import torch, numpy
from torch import _C as core, nn
from torch.autograd import forward_ad as ad
from torch.fx.experimental.proxy_tensor import make_fx
core._dispatch_keys(x), torch._C._jit, ad._current_level, nn.Module, x.fake_mode, x._base, self._x
getattr(x, "fake_mode"), numpy._core
"""
    assert names_used(source, "torch", UNOFFICIAL, attributes=True) == {
        "torch._C._dispatch_keys",
        "torch._C._jit",
        "torch.autograd.forward_ad._current_level",
        "torch.fx.experimental.proxy_tensor.make_fx",
        "fake_mode",
        "._base",
        "._core",
    }


@pytest.mark.parametrize("name", ["torch._C._no_such_thing", "torch._no_such_module.thing"])
def test_that_a_name_is_missed(name):
    with pytest.raises(pytest.fail.Exception, match=f"has no {name}, which anydrop relies on"):
        named(name)
