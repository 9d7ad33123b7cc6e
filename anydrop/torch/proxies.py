"""What is no tensor: proxies of ``torch.fx``, which stand for one, and what is refused."""

from __future__ import annotations

from typing import Any

import torch


def called(module: torch.nn.Module, input: object, *others: Any, **keywords: Any) -> Any:
    """Return what a module makes of a proxy: a call of the module, as of PyTorch's own modules.

    Raises
    ------
    TypeError
        If the input is no proxy.
    """
    name = type(module).__name__
    if not isinstance(input, torch.fx.Proxy):
        raise TypeError(
            f"anydrop.torch.{name} takes a torch.Tensor, got {type(input).__name__}: convert it, "
            "e.g. with torch.as_tensor, or use the layers and functions of anydrop, which take "
            "the arrays of any library"
        )
    tracer: Any = input.tracer
    if module is tracer.root:
        raise TypeError(
            f"torch.fx keeps {name} as a call of a model's part, and here it is the whole model: "
            "trace one that holds it, such as torch.nn.Sequential(module)"
        )
    keywords = {key: value for key, value in keywords.items() if value is not None}
    path = tracer.path_of_module(module)
    return tracer.create_proxy("call_module", path, (input, *others), keywords)
