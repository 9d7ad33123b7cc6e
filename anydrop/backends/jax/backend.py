"""JAX arrays, traced or not, on one device or many, in pure XLA."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from anydrop.backends.base import COMPUTE, Backend
from anydrop.backends.jax import programs, recipes
from anydrop.backends.jax.private import untraced
from anydrop.core import check, stream
from anydrop.core.recipe import Recipe
from anydrop.core.typing import Array


class JaxBackend(Backend):
    """The backend of JAX arrays."""

    namespace = "jax.numpy"
    kernel = "XLA"

    def __init__(self, name: str = "jax", namespace: str = "") -> None:
        super().__init__(name, namespace)

    def keep(self, recipe: Recipe, like: Array) -> Array:
        """Return the boolean keep mask of a recipe; see `Backend.keep`.

        It is sharded like `like`, along the axes whose lengths can be divided.
        """
        with jax.enable_x64(True):
            words, layout = recipes.words_and_layout(recipe)
            sharding = _sharding_beside(like, layout.shape)
            return programs.compiled(programs.keep, sharding, 1)(words, layout)

    def select(
        self,
        x: Array,
        keep: Recipe | Array | None,
        scale: float,
        shift: float | None = None,
        fill: float = 0.0,
        out: Array | None = None,
    ) -> Array:
        """Return ``where(keep, x * scale + shift, fill)``; see `Backend.select`."""
        shifted = shift is not None
        numbers = scale, shift if shifted else 0.0, fill
        factors = np.asarray(numbers, COMPUTE[self.dtype_name(x)])
        with jax.enable_x64(True):
            if isinstance(keep, Recipe):
                words, layout = recipes.words_and_layout(keep)
                return programs.select_drawn(x, words, factors, layout, shifted)
            return programs.select(x, keep, factors, shifted)

    def perturb(
        self, x: Array, recipe: Recipe, std: float, relative: bool, out: Array | None = None
    ) -> Array:
        """Return ``x * (1 + std * z)`` or ``x + std * z``; see `Backend.perturb`."""
        number = np.asarray(std, COMPUTE[self.dtype_name(x)])
        with jax.enable_x64(True):
            words, layout = recipes.words_and_layout(recipe)
            return programs.perturb(x, words, number, layout, relative)

    def choose(
        self,
        new: Array | None,
        previous: Array | None,
        keep: Recipe | Array,
        out: Array | None = None,
    ) -> Array:
        """Return ``where(keep, new, previous)``; see `Backend.choose`."""
        given = previous if new is None else new
        if 0 in given.shape:  # type: ignore[union-attr]
            return given  # On a mesh with explicit axes, XLA would find no device for it.
        with jax.enable_x64(True):
            if isinstance(keep, Recipe):
                words, layout = recipes.words_and_layout(keep)
                return programs.choose_drawn(new, previous, words, layout)
            return programs.choose(new, previous, keep)

    def keep_blocks(self, recipe: Recipe, sizes: tuple[int, ...], like: Array) -> Array:
        """Return the keep mask of blocks, sharded as `keep` is; see `Backend.keep_blocks`."""
        with jax.enable_x64(True):
            words, layout = recipes.words_and_layout(recipe)
            shape = tuple(n - m + 1 for n, m in zip(layout.shape, sizes, strict=True))
            sharding = _sharding_beside(like, shape)
            return programs.compiled(programs.keep_blocks, sharding, 1, 2)(words, layout, sizes)

    def select_blocks(
        self,
        x: Array,
        recipe: Recipe,
        sizes: tuple[int, ...],
        scale: float,
        out: Array | None = None,
    ) -> Array:
        """Return ``where(keep, x * scale, 0)`` with a mask of blocks; see `Backend`."""
        factors = np.asarray((scale, 0.0, 0.0), COMPUTE[self.dtype_name(x)])
        with jax.enable_x64(True):
            words, layout = recipes.words_and_layout(recipe)
            return programs.select_blocks(x, words, factors, layout, sizes)

    def select_add(
        self,
        x: Array,
        residual: Array,
        keep: Recipe | Array | None,
        scale: float,
        bias: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """Return ``residual + where(keep, (x + bias) * scale, 0)``; see `Backend.select_add`."""
        factors = np.asarray((scale, 0.0, 0.0), COMPUTE[self.dtype_name(x)])
        with jax.enable_x64(True):
            if isinstance(keep, Recipe):
                words, layout = recipes.words_and_layout(keep)
                return programs.select_add_drawn(x, residual, bias, words, factors, layout)
            return programs.select_add(x, residual, bias, keep, factors)

    def sum_to(self, x: Array, shape: tuple[int, ...], dtype: str) -> Array:
        """Sum x to a shape; see `Backend.sum_to`."""
        with jax.enable_x64(True):
            return programs.sum_to(x, shape, dtype)

    def normals(self, recipe: Recipe, like: Array) -> Array:
        """Return standard normal numbers, sharded as a keep mask is; see `Backend.normals`."""
        with jax.enable_x64(True):
            words, layout = recipes.words_and_layout(recipe)
            sharding = _sharding_beside(like, layout.shape)
            program = programs.compiled(programs.normals, sharding, 1, 2)
            return program(words, layout, COMPUTE[self.dtype_name(like)])

    def recompute(
        self, forward: Callable[..., Array], backward: Callable[[Array], Any], *arrays: Array
    ) -> Array:
        """Return ``forward(*arrays)``. A derivative runs it again; see `Backend.recompute`."""
        with jax.enable_x64(True):  # Otherwise 64-bit arrays would become 32-bit arrays.
            traced = any(isinstance(array, Tracer) for array in arrays)
            return (jax.checkpoint(forward) if traced else forward)(*arrays)

    def draw(self, rng: Any, shape: tuple[int, ...], p: float, like: Array) -> Array:
        """Return ``jax.random.uniform(key, shape) < 1 - p``."""
        below = programs.compiled(_below, _sharding_beside(like, shape), 2)
        return below(_one_key(rng), 1.0 - p, shape)

    def at_step(self, rng: Any, step: int) -> Array:
        """Return the key for a layer's draw number `step`, since a key has no state to advance."""
        low, high = stream.halves(step)
        key = jax.random.fold_in(_one_key(rng), low)
        return jax.random.fold_in(key, high) if high else key

    def owns(self, x: object) -> bool:
        """Tell whether `x` is a JAX array, traced or not."""
        return isinstance(x, jax.Array)

    def device(self, x: Array) -> Any:
        """Return the device of an array, or its sharding if it lies on several devices.

        It is None for an array that a compiler traces, which has no device yet.
        """
        x = untraced(x)
        return x.device if isinstance(x, jax.Array) else None

    def _place(self, x: Array) -> Any:
        """Return the devices on which an array lies, however it is sharded."""
        x = untraced(x)
        return x.devices() if isinstance(x, jax.Array) else None

    def empty(self, device: Any) -> Array:
        """Return an array of no elements, which represents a device or a sharding."""
        ndim = len(device.spec) if isinstance(device, NamedSharding) else 1
        return jnp.empty((0,) * max(ndim, 1), device=device)

    def move(self, x: Array, like: Array) -> Array:
        """Return an array on the device of `like`, replicated if there are several."""
        sharding = None if isinstance(x, Tracer) else _sharding_beside(like, ())
        return x if sharding is None else jax.device_put(x, sharding)

    def pack(self, keep: Array) -> Array:
        """Return a boolean mask as bits in uint8, the first of eight in the lowest."""
        # Replicated, since JAX can't reshape an array that is sharded along explicit axes.
        return jnp.packbits(self.move(keep, keep), bitorder="little")

    def unpack(self, bits: Array, shape: tuple[int, ...], like: Array) -> Array:
        """Return the boolean mask of bits that `pack` made."""
        # In a mask that a jitted function returned, lengths are arrays.
        lengths = tuple(map(operator.index, shape))
        return programs.compiled(_unpack, _sharding_beside(like, lengths), 1)(bits, lengths)

    def from_numpy(self, x: np.ndarray[Any, Any], like: Array) -> Array:
        """Convert a NumPy array to JAX, on the device of `like`, with the same dtype."""
        with jax.enable_x64(True):
            return self.move(jnp.asarray(x), like)

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        """Convert an array to NumPy, the whole of it in each process."""
        return np.asarray(x if x.is_fully_addressable else self.move(x, x))

    def probes(self) -> list[tuple[Backend, Array]]:
        """Return a backend and an empty array for one device of each platform of this machine."""
        first = {device.platform: device for device in reversed(jax.local_devices())}
        return [(self, self.empty(device)) for device in first.values()]

    def check_out(self, out: Array, x: Array) -> None:
        """Raise for any `out`."""
        raise ValueError(
            "out= can't be used with JAX arrays, which are immutable; use what is returned: "
            "x = anydrop.dropout(x, ...)"
        )

    def check_stateful(self, *, counts: bool) -> None:
        """Raise if a layer's pass is traced once and then run many times."""
        # Derivatives and vmap also trace, but at each call. An array that depends on nothing is
        # not traced there.
        if isinstance(jnp.zeros(()), Tracer):
            raise TypeError(
                "a layer counts its steps in Python, and jax.jit (or scan, checkpoint ...) runs "
                "Python once: each run would drop the same elements. Use the function and pass "
                "the step: anydrop.dropout(x, p, seed=seed, step=step)"
            )


def _sharding_beside(like: Array, shape: tuple[int, ...]) -> Sharding | None:
    """Return the sharding of an array of a shape beside another array, or None for anywhere."""
    if isinstance(like, Tracer) or not like.committed:
        return None
    sharding = like.sharding
    if not isinstance(sharding, NamedSharding):
        return sharding if sharding.is_fully_replicated else None
    mesh, names = sharding.mesh, sharding.spec
    if len(names) > len(shape):
        return NamedSharding(mesh, PartitionSpec())

    def parts(name: Any) -> int:
        axes = name if isinstance(name, tuple) else () if name is None else (name,)
        return math.prod(mesh.shape[axis] for axis in axes)

    whole = (n % parts(name) == 0 for name, n in zip(names, shape, strict=False))
    spec = (name if fits else None for name, fits in zip(names, whole, strict=True))
    return NamedSharding(mesh, PartitionSpec(*spec))


def _one_key(rng: Any) -> Array:
    """Check that `rng` is one JAX key, of the new kind or the old, and return it."""
    ours = isinstance(rng, jax.Array)
    if ours and jnp.issubdtype(rng.dtype, jax.dtypes.prng_key):
        if rng.shape:
            raise ValueError(f"rng must be one key, got an array of keys of shape {rng.shape}")
        return rng
    if ours and rng.dtype == np.uint32 and rng.shape in ((2,), (4,)):
        return rng
    raise TypeError(
        "rng must be a key, such as jax.random.key(0), for a JAX array, "
        f"got {check.described(rng)}; a seed goes to seed="
    )


def _below(key: Array, bound: float, shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(key, shape) < bound


def _unpack(bits: Array, shape: tuple[int, ...]) -> Array:
    flat = jnp.unpackbits(bits, count=math.prod(shape), bitorder="little")
    return flat.astype(bool).reshape(shape)
