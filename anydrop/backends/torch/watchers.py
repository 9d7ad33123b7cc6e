"""Tells whether a compiler, a transform or autograd watches a call.

PyTorch documents no way to find out. So this file uses private and experimental names of PyTorch's,
each behind a function that is named for what it tells. No other file does, except
`anydrop.core.tracing`, which can't import PyTorch. Each name has a test that fails if a release
removes it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.utils._python_dispatch import TorchDispatchMode

from anydrop.core import place
from anydrop.core.recipe import Recipe
from anydrop.core.tracing import constant

# The types that are only their memory. Other subclasses can override every operation.
PLAIN = (Tensor, torch.nn.Parameter)

# The key of modes that see operations before the dispatcher. They are on no stack.
PRE_DISPATCH = torch._C.DispatchKey.PreDispatch


def is_traced() -> bool:
    """Tell whether a compiler or a mode, such as that of fake tensors, sees every operation."""
    return (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._dispatch_tls_is_dispatch_key_included(PRE_DISPATCH)
        or torch._C._get_tracing_state() is not None
    )


def is_jit_traced() -> bool:
    """Tell whether ``torch.jit.trace`` records operations."""
    return torch._C._get_tracing_state() is not None


def is_recorded() -> bool:
    """Tell whether a trace records operations once, to run them many times."""
    return torch._C._get_tracing_state() is not None or get_proxy_mode() is not None


def in_transform() -> bool:
    """Tell whether a transform of ``torch.func``, or forward mode, is active."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


@constant  # so that a compiler, which can't trace this, runs it within the traced transforms
def in_vmap() -> bool:
    """Tell whether ``torch.vmap`` is active, alone or around another transform."""
    if not torch._C._are_functorch_transforms_active():
        return False
    stack = torch._C._functorch.get_interpreter_stack()
    return any(one.key() == torch._C._functorch.TransformType.Vmap for one in stack)


def in_backward() -> bool:
    """Tell whether autograd runs a backward pass."""
    return torch._C._current_graph_task_id() != -1


def backward_pass() -> int:
    """Return the number of the backward pass that autograd runs in this thread, or -1."""
    number: int = torch._C._current_graph_task_id()
    return number


def let_compilers_look_into(functions: Iterable[Callable[..., Any]]) -> None:
    """Have compilers trace functions that replace PyTorch's.

    Compilers do not look inside a function with a name of PyTorch's.
    """
    rules = sys.modules.get("torch._dynamo.trace_rules")
    if rules is not None:
        known = rules.get_torch_obj_rule_map()
        for function in functions:
            known.pop(function, None)


def generator_state() -> int:
    """Return a hash of the state of PyTorch's CPU generator, without drawing from it."""
    with torch._C._DisableTorchDispatch():  # so that modes don't see it
        return hash(torch.get_rng_state().numpy().tobytes())


def may_be_repeated() -> bool:
    """Tell whether a checkpoint may recompute what runs now.

    Reentrant checkpoints run their forward without gradients, others with hooks for saved tensors.
    """
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    return hooks is not None or not torch.is_grad_enabled()


def is_plain(x: Tensor) -> bool:
    """Tell whether a tensor is only its memory, and no compiler or mode sees every operation."""
    return type(x) in PLAIN and not is_traced()


def is_plain_memory(x: Tensor) -> bool:
    """Tell whether a tensor is only memory of its device, and at most autograd tracks it."""
    return (
        is_plain(x)
        # In a transform, even a tensor that is made there is a wrapper.
        and not in_transform()
        and torch._C._dispatch_keys(x) == _memory_keys(x.device.type)
    )


def is_plain_cpu(x: Tensor) -> bool:
    """Tell whether a tensor is only CPU memory, and at most autograd tracks it."""
    return (
        is_plain(x)
        and not in_transform()
        and torch._C._dispatch_keys(x) == _memory_keys("cpu")  # x.device.type would be slow
    )


def requires_grad(x: Tensor) -> bool:
    """Tell whether autograd tracks what is done with a tensor."""
    return x.requires_grad and torch.is_grad_enabled()


def is_memory(x: Tensor) -> bool:
    """Tell whether a tensor is only CPU memory, and nothing tracks it."""
    return is_plain_cpu(x) and not requires_grad(x)


@lru_cache
def _memory_keys(device: str) -> Any:
    """Return the dispatch keys of a dense tensor on a type of device.

    A tensor that is lazily conjugated or negated, or wrapped by a transform, has more keys.
    """
    with torch.inference_mode(False):
        return torch._C._dispatch_keys(torch.empty(0, device=device))


def is_distributed(x: object) -> bool:
    """Tell whether a tensor is a ``DTensor``, without importing that class."""
    return type(x).__name__ == "DTensor"


def is_fake(x: Tensor) -> bool:
    """Tell whether a tensor is fake: it has no memory and no values."""
    return hasattr(x, "fake_mode")


def mode_of(x: Tensor) -> AbstractContextManager[Any]:
    """Return the mode of a fake tensor, which can't be combined with real tensors outside of it."""
    mode = None if type(x) in PLAIN or is_traced() else getattr(x, "fake_mode", None)
    return mode or nullcontext()


def read(recipe: Recipe) -> tuple[Recipe, bool]:
    """Return a recipe with the values of its CPU tensors, and whether all values are known."""
    found = place.known(recipe, stays=lambda v: isinstance(v, Tensor) and not is_memory(v))
    # A recipe without tensors is returned unchanged. A key has tensors only in a traced call.
    return found, found is recipe or place.is_known(found)


def local_part(x: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shape of this process's part of a ``DTensor``, and where it begins."""
    # Imported here, since those who have no DTensor need not wait for it.
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    shape, offset = compute_local_shape_and_global_offset(x.shape, x.device_mesh, x.placements)
    return tuple(shape), tuple(offset)


class EachOperator(TorchDispatchMode):
    """A block in which a function is called instead of each operator.

    Parameters
    ----------
    run : callable
        Takes an operator, its arguments and its keywords, and returns the operator's result.
    """

    supports_higher_order_operators = True  # such as that of flex_attention

    def __init__(self, run: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__()
        self.run = run

    def __torch_dispatch__(
        self, operator: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> Any:
        return self.run(operator, arguments, keywords or {})


# Autograd functions below the dispatcher ---------------------------------------------------------


def apply_of(function: type[torch.autograd.Function]) -> Callable[..., Any]:
    """Return the method that ``Function.apply`` calls after its checks for transforms."""
    return super(torch.autograd.Function, function).apply


def apply_in_transform(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """Apply a function where the dispatcher handles transforms, one level at a time."""
    with enable_single_level_autograd_function():
        return apply_of(function)(*arguments)


@contextmanager
def below_autograd() -> Iterator[None]:
    """Call the levels below autograd, with gradients, which ``Function.apply`` switched off."""
    with (
        torch._C._AutoDispatchBelowAutograd(),
        torch.enable_grad(),
        forward_ad._set_fwd_grad_enabled(True),
    ):
        yield
