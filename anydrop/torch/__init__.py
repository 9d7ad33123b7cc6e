"""PyTorch: import this before a saved program that drops is loaded in a new process.

``torch.export.load`` and ``torch.jit.load`` then find the operator ``anydrop::select``.
"""

try:
    import anydrop.backends.torch.operator  # noqa: F401  (which registers it)
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"anydrop.torch needs PyTorch, which can't be imported here ({error}): "
        "pip install 'anydrop[torch]'"
    ) from error
