"""JAX: import this once, after JAX, if masks were made before JAX was imported.

They can then be passed to `jax.jit`, `jax.lax.scan` and `jax.device_put`, as all others can without
it.
"""

try:
    import anydrop.backends.jax.recipes  # noqa: F401  (which registers them)
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"anydrop.jax needs JAX, which can't be imported here ({error}): pip install 'anydrop[jax]'"
    ) from error
