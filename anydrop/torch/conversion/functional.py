"""The functions that replace PyTorch's, such as ``F.dropout``.

`install` puts them in place. They call PyTorch's function, unless the forward of a converted module
is running, or a checkpoint recomputes one: then the module's child draws the mask.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import FunctionType
from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its name everywhere
from torch.overrides import handle_torch_function, has_torch_function_unary

from anydrop.backends.torch.watchers import is_traced, let_compilers_look_into
from anydrop.core.tracing import constant
from anydrop.torch import standard
from anydrop.torch.conversion.scope import CHILDREN, drawing, forget

# PyTorch's functions, by name, and our module that does the same.
DROPOUTS: dict[str, type[standard.Standard]] = {
    "dropout": standard.Dropout,
    "dropout1d": standard.Dropout1d,
    "dropout2d": standard.Dropout2d,
    "dropout3d": standard.Dropout3d,
    "alpha_dropout": standard.AlphaDropout,
    "feature_alpha_dropout": standard.FeatureAlphaDropout,
}
ATTENTION, MULTI_HEAD = "scaled_dot_product_attention", "multi_head_attention_forward"

# The functions that replaced PyTorch's, by name. Each has PyTorch's as `__wrapped__`.
_ours: dict[str, Any] = {}


def _dropout(stock: Callable[..., Any], kind: type[standard.Standard]) -> Callable[..., Any]:
    """Return a replacement for ``F.dropout`` or a variant of it."""
    by_default = stock.__name__ in ("dropout", "dropout1d", "dropout2d", "dropout3d")

    @functools.wraps(stock)
    def dropout(
        input: Any, p: float = 0.5, training: bool = by_default, inplace: bool = False
    ) -> Any:
        child = drawing() if training and p != 0 else None
        if child is None:
            uninstall()
            # PyTorch's function would pass such an input the function that has its name now: ours.
            if has_torch_function_unary(input):
                keywords = {"p": p, "training": training, "inplace": inplace}
                return handle_torch_function(stock, (input,), input, **keywords)
            return stock(input, p, training, inplace)
        stock(input, p, False)  # for PyTorch's checks
        _forbid_proxies(input, stock)
        return child.draw(kind, input, p, inplace)

    return dropout


def _attention(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Return a replacement for ``F.scaled_dot_product_attention``."""

    @functools.wraps(stock)
    def scaled_dot_product_attention(
        query: Any,
        key: Any,
        value: Any,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Any:
        child = drawing() if dropout_p != 0 else None
        if child is None:
            uninstall()
            keywords = {"scale": scale, "enable_gqa": enable_gqa}
            return stock(query, key, value, attn_mask, dropout_p, is_causal, **keywords)
        _forbid_proxies(query, stock)
        if query.is_nested:
            raise TypeError(
                "attention of nested tensors can't draw anydrop's masks: pad them, or leave this "
                "module out with where="
            )
        if enable_gqa:
            key, value = (_for_each_query(query, x) for x in (key, value))
        weights = attention_weights(query, key, attn_mask, is_causal, scale)
        return child.draw(standard.Dropout, weights, dropout_p, False) @ value

    return scaled_dot_product_attention


def _multi_head(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Return a replacement for ``F.multi_head_attention_forward``."""
    # Compilers don't trace PyTorch's function. They trace a copy of it, which calls the functions
    # above.
    traceable = FunctionType(
        *(stock.__code__, stock.__globals__, stock.__name__),
        *(stock.__defaults__, stock.__closure__),
    )

    @functools.wraps(stock)
    def multi_head_attention_forward(*arguments: Any, **keywords: Any) -> Any:
        draws = torch.compiler.is_compiling() and drawing() is not None
        return (traceable if draws else stock)(*arguments, **keywords)

    return multi_head_attention_forward


def _for_each_query(query: Tensor, x: Tensor) -> Tensor:
    """Return keys or values repeated to one head for each query head."""
    heads, shared = query.shape[-3], x.shape[-3]
    if heads % shared:
        raise ValueError(
            "with enable_gqa=True the number of query heads must be a multiple of the number of "
            f"key and value heads, got {heads} and {shared}"
        )
    return x.repeat_interleave(heads // shared, -3)


def attention_weights(
    query: Tensor, key: Tensor, mask: Tensor | None, is_causal: bool, scale: float | None
) -> Tensor:
    """Return softmax(query key^T scale + mask), as ``F.scaled_dot_product_attention`` does."""
    if is_causal and mask is not None:
        raise RuntimeError("pass attn_mask or is_causal=True to attention, and not both")
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1])
    scores = (query * scale) @ key.transpose(-2, -1)
    shape = scores.shape
    if is_causal:
        mask = torch.ones(shape[-2:], dtype=torch.bool, device=query.device).tril()
    if mask is not None:
        if mask.dtype != torch.bool and not mask.is_floating_point():
            raise TypeError(
                f"attn_mask must have a bool or floating-point dtype, got {mask.dtype}: convert "
                "it, e.g. with attn_mask.bool()"
            )
        is_bool = mask.dtype == torch.bool
        scores = scores.masked_fill(~mask, -math.inf) if is_bool else scores + mask
        if scores.shape != shape:
            raise ValueError(
                f"attn_mask must broadcast to {tuple(shape)}, the shape of the scores, got "
                f"{tuple(mask.shape)}: leave out its leading axes"
            )
    wide = torch.float32 if scores.dtype in (torch.float16, torch.bfloat16) else scores.dtype
    if mask is None:
        weights = torch.softmax(scores, -1, dtype=wide)
    else:  # A query that sees no key gets zeros, and zero gradients.
        unseen = (scores == -math.inf).all(-1, keepdim=True)
        weights = torch.softmax(scores.masked_fill(unseen, 0), -1, dtype=wide)
        weights = weights.masked_fill(unseen, 0)
    return weights.to(query.dtype)


def _forbid_proxies(input: Any, stock: Callable[..., Any]) -> None:
    if isinstance(input, torch.fx.Proxy):
        raise TypeError(
            f"torch.fx would record PyTorch's {stock.__name__} instead of the converted module's "
            "mask: trace in eval mode, or use torch.export or torch.compile"
        )


def install() -> None:
    """Replace PyTorch's functions in ``torch.nn.functional`` by ours, once."""
    for name in (*DROPOUTS, ATTENTION, MULTI_HEAD):
        stock = getattr(F, name)
        if stock is _ours.get(name):
            continue
        ours: Any
        if name in DROPOUTS:
            ours = _dropout(stock, DROPOUTS[name])
        else:
            ours = _attention(stock) if name == ATTENTION else _multi_head(stock)
        # So torch.jit.script compiles PyTorch's function. torch.compile traces ours.
        scripted = _scripted_attention if name == ATTENTION else stock
        ours.__prepare_scriptable__ = lambda scripted=scripted: scripted
        _ours[name] = ours
        setattr(F, name, ours)


def _scripted_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Optional[Tensor] = None,  # noqa: UP045 - TorchScript reads it
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Optional[float] = None,  # noqa: UP045
    enable_gqa: bool = False,
) -> Tensor:
    """Call PyTorch's attention. That is no Python function, so TorchScript compiles this one."""
    y: Tensor = torch.ops.aten.scaled_dot_product_attention(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    )
    return y


def uninstall() -> None:
    """Put PyTorch's functions back if no child is alive, but not during a trace."""
    if torch.compiler.is_compiling() or CHILDREN or is_traced():
        return
    forget()
    for name, ours in _ours.items():
        if getattr(F, name) is ours:
            setattr(F, name, ours.__wrapped__)


@constant  # so that a compiler which traces a call runs it once
def let_compilers_trace() -> None:
    """Have compilers trace our functions, although they have the names of PyTorch's."""
    let_compilers_look_into(_ours.values())
