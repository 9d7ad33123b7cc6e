"""The ways in which JAX runs a program: at once, traced by jit, and on several devices."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from anydrop import Window
from anydrop.backends.jax.backend import JaxBackend
from anydrop.core.recipe import Recipe

# Of the host, of which subjects.py makes eight; whatever other devices there are.
DEVICES = jax.devices("cpu")


def flushes(device: Any = None) -> bool:
    """Tell whether JAX's own product flushes subnormals: the one exception to exact bits.

    By default, on the device where JAX puts an array if nobody says.
    """
    tiny, one = (jax.device_put(np.float32(x), device) for x in (1e-40, 1.0))
    return float(tiny * one) == 0.0


class Traced(JaxBackend):
    """All of it under an outer jit, with the step and the offset of a window traced."""

    def keep(self, recipe: Recipe, like: Any) -> Any:
        return jax.jit(lambda places: super(Traced, self).keep(_placed(recipe, *places), like))(
            _places(recipe)
        )

    def select(self, x: Any, keep: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(keep, Recipe):
            return jax.jit(lambda x: super(Traced, self).select(x, keep, *args, **kwargs))(x)

        def select(x: Any, places: Any) -> Any:
            return super(Traced, self).select(x, _placed(keep, *places), *args, **kwargs)

        return jax.jit(select)(x, _places(keep))

    def select_add(self, x: Any, residual: Any, keep: Any, *args: Any) -> Any:
        if not isinstance(keep, Recipe):
            return jax.jit(lambda x: super(Traced, self).select_add(x, residual, keep, *args))(x)

        def select_add(x: Any, residual: Any, places: Any) -> Any:
            return super(Traced, self).select_add(x, residual, _placed(keep, *places), *args)

        return jax.jit(select_add)(x, residual, _places(keep))

    def perturb(self, x: Any, recipe: Recipe, std: float, relative: bool, *_: Any) -> Any:
        def perturb(x: Any, places: Any) -> Any:
            return super(Traced, self).perturb(x, _placed(recipe, *places), std, relative)

        return jax.jit(perturb)(x, _places(recipe))

    def choose(self, new: Any, previous: Any, keep: Any, *_: Any) -> Any:
        if not isinstance(keep, Recipe):
            return jax.jit(super().choose)(new, previous, keep)

        def choose(new: Any, previous: Any, places: Any) -> Any:
            return super(Traced, self).choose(new, previous, _placed(keep, *places))

        return jax.jit(choose)(new, previous, _places(keep))

    def select_blocks(
        self, x: Any, recipe: Recipe, sizes: Any, scale: float, out: Any = None
    ) -> Any:
        def select_blocks(x: Any, places: Any) -> Any:
            return super(Traced, self).select_blocks(x, _placed(recipe, *places), sizes, scale)

        return jax.jit(select_blocks)(x, _places(recipe))


def _places(recipe: Recipe) -> tuple[Any, dict[int, Any]]:
    """Return the step as two words, and the entries of the offset that fit one."""
    if not isinstance(recipe.step, int):
        return recipe.step, {}
    offset = recipe.window.offset if recipe.window else ()
    return (
        np.array([recipe.step & 0xFFFFFFFF, recipe.step >> 32], np.uint32),
        {a: np.uint32(o) for a, o in enumerate(offset) if isinstance(o, int) and o < 2**32},
    )


def _placed(recipe: Recipe, step: Any, traced: dict[int, Any]) -> Recipe:
    recipe = recipe._replace(step=step)
    if traced:
        offset = tuple(traced.get(a, o) for a, o in enumerate(recipe.window.offset))
        recipe = recipe._replace(window=Window(offset, recipe.window.shape))
    return recipe


def unplaced(x: np.ndarray) -> Any:
    """Return a JAX array of the same dtype; of 64 bits although JAX is not set to make such."""
    with jax.enable_x64(True):
        return jnp.asarray(x)


def single(x: np.ndarray) -> Any:
    """Return a JAX array in the host's memory, where JAX puts it unless it has a better device."""
    array = unplaced(x)
    return array if jax.default_backend() == "cpu" else jax.device_put(array, DEVICES[0])


def sharded(x: np.ndarray) -> Any:
    """Return a JAX array on eight devices, cut along the first axis that eight divides."""
    mesh = jax.make_mesh((8,), ("parts",), devices=DEVICES)
    axis = next((a for a, n in enumerate(x.shape) if n and n % 8 == 0), None)
    spec = PartitionSpec(*("parts" if a == axis else None for a in range(x.ndim)))
    return jax.device_put(single(x), NamedSharding(mesh, spec))


def ways() -> list[tuple[str, JaxBackend, Any]]:
    """Return name, backend and maker of arrays of each."""
    return [
        ("jax", JaxBackend(), single),
        ("jax-jit", Traced(), single),
        ("jax-sharded", JaxBackend(), sharded),
    ]
