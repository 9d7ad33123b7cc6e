"""Dropout that a module calls as a function: a child named ``anydrop`` draws its masks.

`install` puts functions of ours in the place of PyTorch's, such as ``F.dropout``. They pass each
call on to PyTorch's, unless the forward of a converted module runs, or a checkpoint repeats one.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from anydrop.backends.torch.watchers import in_backward
from anydrop.torch import standard
from anydrop.torch.draws import peeked
from anydrop.torch.module import Module

# PyTorch's functions, by name, and the module that does the same.
DROPOUTS: dict[str, type[standard.Standard]] = {
    "dropout": standard.Dropout,
    "dropout1d": standard.Dropout1d,
    "dropout2d": standard.Dropout2d,
    "dropout3d": standard.Dropout3d,
    "alpha_dropout": standard.AlphaDropout,
    "feature_alpha_dropout": standard.FeatureAlphaDropout,
}
ATTENTION = "scaled_dot_product_attention"


class FunctionalDropout(Module):
    """The child of a converted module: it draws the masks of the functions that its parent calls.

    Parameters
    ----------
    seed, per_rank
        As for `Module`. Steps count the calls of a forward, in their order.
    """

    _takes_one = True

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        DRAWING.add(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        DRAWING.add(self)
        install()

    def forward(self, input: Tensor, *, step: Any = None) -> Tensor:
        """Refuse to be called."""
        raise TypeError(
            "this module draws the masks of the functions that its parent calls, and has no drop "
            "probability of its own: call the parent"
        )

    def draw(self, kind: type[standard.Standard], x: Tensor, p: float, inplace: bool) -> Tensor:
        """Return what a kind of module makes of a tensor, with this one's next mask."""
        y: Tensor = self._run(x, kind, p, inplace)
        return y

    def _drop(self, *inputs: Any, seed: Any, step: Any, counted: Any = None) -> Any:
        x, kind, p, inplace = inputs
        function, settings = kind.function_for(x)
        settings |= {"seed": seed, "step": step}
        return self.drop_at(p, inplace, function, x, counted=counted, **settings)

    def _rate(self, step: Any = None) -> float:
        return 0.5  # `monte_carlo` asks whether it drops anything. Each call has its own.

    def _shown(self) -> str:
        return ""


# All that live: the function that a checkpoint runs again may not say who draws.
DRAWING: WeakSet[FunctionalDropout] = WeakSet()


class _Here(threading.local):
    def __init__(self) -> None:
        #: Who draws for the forwards that run in this thread, the innermost last. None: PyTorch.
        self.drawing: list[FunctionalDropout | None] = []


_here = _Here()


@contextmanager
def drawn_by(child: FunctionalDropout | None) -> Iterator[None]:
    """Let a child draw for the functions that are called in this block; None: leave them be."""
    _here.drawing.append(child)
    try:
        yield
    finally:
        _here.drawing.pop()


def _drawing() -> FunctionalDropout | None:
    """Return who draws for a function that is called now."""
    if _here.drawing:
        return _here.drawing[-1]
    if not torch.compiler.is_compiling() and DRAWING and in_backward():
        token = peeked()
        return next((child for child in DRAWING if child.remembers(token)), None)
    return None


# In the place of PyTorch's functions ------------------------------------------------------------


def _dropout(stock: Callable[..., Any], kind: type[standard.Standard]) -> Callable[..., Any]:
    by_default = stock.__name__ in ("dropout", "dropout1d", "dropout2d", "dropout3d")

    @functools.wraps(stock)
    def dropout(
        input: Any, p: float = 0.5, training: bool = by_default, inplace: bool = False
    ) -> Any:
        child = _drawing() if training and p != 0 else None
        if child is None:
            return stock(input, p, training, inplace)
        stock(input, p, False)  # PyTorch's own checks
        _refuse_proxies(input, stock)
        return child.draw(kind, input, p, inplace)

    return dropout


def _attention(stock: Callable[..., Any]) -> Callable[..., Any]:
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
        child = _drawing() if dropout_p != 0 else None
        if child is None:
            keywords = {"scale": scale, "enable_gqa": enable_gqa}
            return stock(query, key, value, attn_mask, dropout_p, is_causal, **keywords)
        _refuse_proxies(query, stock)
        if enable_gqa:
            groups = query.shape[-3] // key.shape[-3]
            key, value = (x.repeat_interleave(groups, -3) for x in (key, value))
        weights = attention_weights(query, key, attn_mask, is_causal, scale)
        return child.draw(standard.Dropout, weights, dropout_p, False) @ value

    return scaled_dot_product_attention


def attention_weights(
    query: Tensor, key: Tensor, mask: Tensor | None, is_causal: bool, scale: float | None
) -> Tensor:
    """Return softmax(query key^T scale + mask), as ``F.scaled_dot_product_attention`` does."""
    if is_causal and mask is not None:
        raise RuntimeError("pass attn_mask or is_causal=True to attention, and not both")
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1])
    scores = (query * scale) @ key.transpose(-2, -1)
    if is_causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, -math.inf)
    elif mask is not None:
        scores = scores + mask
    wide = torch.float32 if scores.dtype in (torch.float16, torch.bfloat16) else scores.dtype
    weights = torch.softmax(scores, -1, dtype=wide)
    if mask is not None:  # A query that may see no key has zeros.
        weights = weights.masked_fill((scores == -math.inf).all(-1, keepdim=True), 0)
    return weights.to(query.dtype)


def _refuse_proxies(input: Any, stock: Callable[..., Any]) -> None:
    if isinstance(input, torch.fx.Proxy):
        raise TypeError(
            f"torch.fx would write down PyTorch's {stock.__name__} in the place of a converted "
            "module's own mask: trace in eval mode, or use torch.export or torch.compile"
        )


_stock: dict[str, Callable[..., Any]] = {}
_ours: dict[str, Callable[..., Any]] = {}


def install() -> None:
    """Put our functions in the place of PyTorch's in ``torch.nn.functional``, once."""
    for name in (*DROPOUTS, ATTENTION):
        stock = getattr(F, name)
        if stock is _ours.get(name):
            continue
        ours = _attention(stock) if name == ATTENTION else _dropout(stock, DROPOUTS[name])
        # torch.jit.script then compiles PyTorch's function.
        vars(ours).update({"__script_if_tracing_wrapper": True, "__original_fn": stock})
        _stock[name], _ours[name] = stock, ours
        setattr(F, name, ours)


def uninstall() -> None:
    """Put PyTorch's functions back, if no converted module needs ours."""
    for name, ours in _ours.items():
        if not DRAWING and getattr(F, name) is ours:
            setattr(F, name, _stock[name])
