"""What of a call is known at once, and what a compiler, a transform or autograd must see."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from anydrop.core import place
from anydrop.core.recipe import Recipe

# The types whose memory holds what they mean: other subclasses have a say in every operation.
PLAIN = (Tensor, torch.nn.Parameter)

# Of the modes that see operations before the dispatcher does, and stand on no stack.
PRE_DISPATCH = torch._C.DispatchKey.PreDispatch


def is_traced() -> bool:
    """Tell whether a compiler or a mode, such as that of fake tensors, sees every operation."""
    return (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._dispatch_tls_is_dispatch_key_included(PRE_DISPATCH)
        or torch._C._get_tracing_state() is not None
    )


def is_plain_cpu(x: Tensor) -> bool:
    """Tell whether a tensor is the host's memory, and nothing but autograd watches."""
    return (
        type(x) in PLAIN
        and not is_traced()
        # Within a transform even a tensor that is made there is a wrapper.
        and not torch._C._are_functorch_transforms_active()
        and torch._C._dispatch_keys(x) == _host_keys()
        and forward_ad._current_level < 0
    )


def requires_grad(x: Tensor) -> bool:
    """Tell whether autograd follows what is done with a tensor."""
    return x.requires_grad and torch.is_grad_enabled()


def is_memory(x: Tensor) -> bool:
    """Tell whether a tensor is the host's memory and nothing else, to anyone who watches."""
    return is_plain_cpu(x) and not requires_grad(x)


@lru_cache
def _host_keys() -> Any:
    """Return what the dispatcher knows of a dense tensor in the host's memory.

    One with a bit to conjugate or negate it, or seen by a transform of ``torch.func``, has more.
    """
    with torch.inference_mode(False):
        return torch._C._dispatch_keys(torch.empty(0, device="cpu"))


def mode_of(x: Tensor) -> AbstractContextManager[Any]:
    """Return the mode of a fake tensor, which may have left it: it meets no real ones outside."""
    mode = None if type(x) in PLAIN or is_traced() else getattr(x, "fake_mode", None)
    return mode or nullcontext()


def read(recipe: Recipe) -> Recipe:
    """Return a recipe with the values of those of its tensors that can be read without waiting."""
    return place.known(recipe, stays=_is_unreadable)


def _is_unreadable(value: Any) -> bool:
    return isinstance(value, Tensor) and not is_memory(value)
