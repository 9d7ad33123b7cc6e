"""Import this after JAX if you made masks before you imported JAX.

Such masks can then be passed to `jax.jit`, `jax.lax.scan` and `jax.device_put`, like all others.
"""

try:
    import anydrop.backends.jax.recipes  # noqa: F401  (which registers them)
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"anydrop.jax needs JAX, which can't be imported here ({error}): pip install 'anydrop[jax]'"
    ) from error
