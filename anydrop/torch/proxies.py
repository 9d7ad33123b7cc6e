"""Inputs of modules that are no tensors: proxies of ``torch.fx``. All others are refused."""

from __future__ import annotations

from typing import Any

import torch


def called(module: torch.nn.Module, input: object, *others: Any, **keywords: Any) -> Any:
    """Return a proxy for a call of the module, as ``torch.fx`` does for PyTorch's own modules.

    Raises
    ------
    TypeError
        If the input is no proxy.
    """
    name = type(module).__name__
    if not isinstance(input, torch.fx.Proxy):
        raise TypeError(
            f"anydrop.torch.{name} takes a torch.Tensor, got {type(input).__name__}: convert it, "
            "e.g. with torch.as_tensor, or use anydrop's own layers and functions, which take the "
            "arrays of any library"
        )
    tracer: Any = input.tracer
    if module is tracer.root:
        raise TypeError(
            f"torch.fx can't trace {name} alone: trace a model that contains it, such as "
            "torch.nn.Sequential(module)"
        )
    keywords = {key: value for key, value in keywords.items() if value is not None}
    path = tracer.path_of_module(module)
    return tracer.create_proxy("call_module", path, (input, *others), keywords)
