"""For compilers that trace Python code, as PyTorch's does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def constant(function: Function) -> Function:
    """Have PyTorch's compiler call a function when it traces a call of it, and not look inside.

    What the function returns is then a constant of the compiled program, so it must depend on its
    arguments alone. This is ``torch.compiler.assume_constant_result`` without importing PyTorch.
    """
    vars(function)["_dynamo_marked_constant"] = True
    return function
