"""For compilers that trace Python code, such as PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def constant(function: Function) -> Function:
    """Make PyTorch's compiler call a function while tracing, instead of tracing it.

    The result is then a constant of the compiled program, so it must depend on the arguments only.
    This is ``torch.compiler.assume_constant_result`` without importing PyTorch.
    """
    vars(function)["_dynamo_marked_constant"] = True
    return function
