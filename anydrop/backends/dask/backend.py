"""Dask: graphs in which each chunk draws its part of the mask.

Nothing is computed here. The task of a chunk knows where the chunk lies, its window, and calls the
backend of the chunk's library. So chunks may be NumPy's or CuPy's, and any chunking gives the same
mask.
"""

# Dask's functions have no types.
# mypy: allow-untyped-calls

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from dask.base import tokenize

from anydrop.backends import load, resolve
from anydrop.backends.base import COMPUTE, HALVES, Backend, dtype_name
from anydrop.backends.dask import tasks
from anydrop.backends.dask.private import Chunks, chunk_slices, chunks_for, meta, meta_like
from anydrop.core import check, place
from anydrop.core.recipe import Recipe
from anydrop.core.typing import Array


class Home(NamedTuple):
    """The place of chunks that are not NumPy's: the backend of their library, and its device."""

    backend: Backend
    device: Any

    def __str__(self) -> str:
        return f"{self.backend.name} {self.device}"


class DaskBackend(Backend):
    """The backend of Dask arrays, whose methods build graphs and compute nothing."""

    namespace = "array_api_compat.dask.array"
    lazy = True

    @property
    def kernel(self) -> str:  # type: ignore[override]
        """Name of what draws the masks."""
        return load("numpy").kernel

    def keep(self, recipe: Recipe, like: Array) -> Array:
        """Return the boolean keep mask of a recipe, in the chunks of `like` where they fit."""
        return self._drawn("keep", recipe, like, "bool")

    def normals(self, recipe: Recipe, like: Array) -> Array:
        """Return standard normal numbers, in the chunks of `like` where they fit."""
        return self._drawn("normals", recipe, like, COMPUTE[self.dtype_name(like)])

    def keep_blocks(self, recipe: Recipe, sizes: tuple[int, ...], like: Array) -> Array:
        """Return the keep mask of blocks, in the chunks of `like` where they fit."""
        return self._drawn("keep_blocks", recipe, like, "bool", sizes)

    def _drawn(
        self, method: str, recipe: Recipe, like: Array, dtype: str, sizes: tuple[int, ...] = ()
    ) -> Array:
        """Return the result of a method of the chunks' backend that draws a recipe."""
        recipe = _known(recipe)._replace(scale=1.0)
        shape = tasks.less_reach(recipe.keep_shape, sizes)
        chunks = tuple(
            (1,) if a in recipe.shared_axes else lengths
            for a, lengths in enumerate(_chunks(shape, like, dtype))
        )
        token = tokenize(recipe, chunks, dtype, str(self.device(like)), *sizes)
        axes = tuple(range(len(shape)))
        return da.blockwise(
            partial(tasks.draw, method=method, recipe=recipe, like=meta(like), sizes=sizes),
            axes,
            *(chunk_slices(chunks), axes),
            name=f"anydrop-{method}-{token}",
            meta=meta_like(like, len(shape), dtype),
            dtype=dtype,
            align_arrays=False,
        )

    def select(
        self,
        x: Array,
        keep: Recipe | Array | None,
        scale: float,
        shift: float | None = None,
        fill: float = 0.0,
        out: Array | None = None,
    ) -> Array:
        """Return ``where(keep, x * scale + shift, fill)`` in the chunks of `x`."""
        return self._applied("select", x, keep, scale, shift, fill)

    def perturb(
        self, x: Array, recipe: Recipe, std: float, relative: bool, out: Array | None = None
    ) -> Array:
        """Return ``x * (1 + std * z)`` or ``x + std * z`` in the chunks of `x`."""
        return self._applied("perturb", x, recipe, std, relative)

    def select_blocks(
        self,
        x: Array,
        recipe: Recipe,
        sizes: tuple[int, ...],
        scale: float,
        out: Array | None = None,
    ) -> Array:
        """Return ``where(keep, x * scale, 0)`` with a mask of blocks, in the chunks of `x`."""
        return self._applied("select_blocks", x, recipe, sizes, scale, sizes=sizes)

    def _applied(
        self,
        method: str,
        x: Array,
        keep: Recipe | Array | None,
        *arguments: Any,
        sizes: tuple[int, ...] = (),
    ) -> Array:
        """Apply a method of the chunks' backend to each chunk and its part of the mask."""
        axes = tuple(range(x.ndim))
        recipe, where = _masked(x, keep)
        return da.blockwise(
            partial(tasks.apply, method=method, recipe=recipe, arguments=arguments, sizes=sizes),
            axes,
            *(x, axes, *where),
            name=f"anydrop-{method}-{tokenize(x, recipe or where, *arguments)}",
            meta=meta(x),
            dtype=x.dtype,
            align_arrays=False,
        )

    def choose(
        self,
        new: Array | None,
        previous: Array | None,
        keep: Recipe | Array,
        out: Array | None = None,
    ) -> Array:
        """Return ``where(keep, new, previous)`` in the chunks of `new`, if there is one."""
        states = [state for state in (new, previous) if state is not None]
        x, axes = states[0], tuple(range(states[0].ndim))
        recipe, where = _masked(x, keep)
        given = new is not None, previous is not None
        return da.blockwise(
            partial(tasks.choose, recipe=recipe, given=given),
            axes,
            *(part for state in states for part in (state.rechunk(x.chunks), axes)),
            *where,
            name=f"anydrop-choose-{tokenize(*states, recipe or where, given)}",
            meta=meta(x),
            dtype=x.dtype,
            align_arrays=False,
        )

    def select_add(
        self,
        x: Array,
        residual: Array,
        keep: Recipe | Array | None,
        scale: float,
        bias: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """Return ``residual + where(keep, (x + bias) * scale, 0)`` in the chunks of `x`."""
        axes = tuple(range(x.ndim))
        recipe, where = _masked(x, keep)
        if not any(math.isnan(n) for n in x.shape):
            residual = residual.rechunk(x.chunks)
        elif residual.numblocks != x.numblocks:
            raise ValueError(
                f"residual must have as many chunks as x, {x.numblocks}, whose sizes are unknown, "
                f"got {residual.numblocks}; call compute_chunk_sizes() of both first"
            )
        added = () if bias is None else _beside(bias, x)
        return da.blockwise(
            partial(tasks.select_add, recipe=recipe, scale=scale, masked=bool(where)),
            axes,
            *(x, axes, residual, axes, *where, *added),
            name=f"anydrop-add-{tokenize(x, residual, recipe or where, scale, added)}",
            meta=meta(residual),
            dtype=residual.dtype,
            align_arrays=False,
        )

    def sum_to(self, x: Array, shape: tuple[int, ...], dtype: str) -> Array:
        """Sum x to a shape, lazily: first each chunk, then the sums."""
        lengths = (1,) * (x.ndim - len(shape)) + shape
        axes = tuple(a for a, n in enumerate(lengths) if n == 1)
        summed, rounded = (partial(tasks.summed, dtype=name) for name in (_wide(x), dtype))
        result = {"dtype": dtype, "meta": meta_like(x, x.ndim, dtype)}
        if axes:
            parts = {"chunk": summed, "combine": summed, "aggregate": rounded}
            x = da.reduction(x, **parts, axis=axes, keepdims=True, **result)
        else:
            x = x.map_blocks(rounded, (), True, **result)
        return x[(0,) * (x.ndim - len(shape))]

    def recompute(
        self, forward: Callable[..., Array], backward: Callable[[Array], Any], *arrays: Array
    ) -> Array:
        """Return ``forward(*arrays)``, in chunks that Dask broadcasts correctly."""
        return forward(*map(self.composable, arrays))

    def composable(self, x: Array) -> Array:
        """Return an array with one chunk along each axis of length 1.

        Dask's functions would broadcast such an axis if there are empty chunks, too, and return a
        wrong shape.
        """
        cut = {axis: 1 for axis, sizes in enumerate(x.chunks) if len(sizes) > 1 == sum(sizes)}
        return x.rechunk(cut) if cut else x

    def draw(self, rng: Any, shape: tuple[int, ...], p: float, like: Array) -> Array:
        """Return ``uniform(shape) < 1 - p`` from a generator of Dask's, lazily.

        The numbers depend on the chunks, which are those of `like` where they fit.
        """
        self.check_generator(rng, like)
        return rng.random(shape, chunks=_chunks(shape, like, "float64")) < 1.0 - p

    def check_generator(self, rng: Any, like: Array) -> None:
        """Raise if `rng` is no generator of Dask's."""
        if not isinstance(rng, (da.random.Generator, da.random.RandomState)):
            raise TypeError(
                "rng must be a dask.array.random.Generator or RandomState for a Dask array, "
                f"got {check.described(rng)}; a seed goes to seed="
            )

    def shape(self, x: Array) -> tuple[int, ...]:
        """Return the shape of an array, or raise if the size of a chunk is unknown."""
        if any(math.isnan(n) for n in x.shape):
            raise ValueError(
                "a mask needs the sizes of all chunks, and this Dask array does not know them: "
                f"its shape is {x.shape}; call x.compute_chunk_sizes() first"
            )
        return tuple(x.shape)

    def device(self, x: Array) -> Any:
        """Return ``"cpu"``, or a `Home` for chunks that are not NumPy's."""
        backend = resolve(meta(x))
        return "cpu" if backend.name == "numpy" else Home(backend, backend.device(meta(x)))

    def empty(self, device: Any) -> Array:
        """Return an array of no elements, with chunks on the device."""
        none = np.empty(0) if device == "cpu" else device.backend.empty(device.device)
        return da.from_array(none, asarray=False)

    def pack(self, keep: Array) -> Array:
        """Return a boolean mask as bits in uint8, the first of eight in the lowest; lazily."""
        if not keep.size:  # Dask can't reshape every empty array.
            return self.empty(self.device(keep)).astype("uint8")
        # Dask's reshape fails with empty chunks.
        flat = keep.rechunk([[n for n in sizes if n] for sizes in keep.chunks]).reshape(-1)
        flat = flat.rechunk(-(-flat.chunksize[0] // 8) * 8)
        return flat.map_blocks(
            tasks.pack,
            chunks=(tuple(-(-n // 8) for n in flat.chunks[0]),),
            dtype="uint8",
            meta=meta_like(keep, 1, "uint8"),
            name=f"anydrop-pack-{tokenize(flat)}",
        )

    def unpack(self, bits: Array, shape: tuple[int, ...], like: Array) -> Array:
        """Return the boolean mask of bits that `pack` made; lazily."""
        if 0 in shape:
            none = resolve(meta(bits)).unpack(meta(bits), shape, meta(bits))
            return da.from_array(none, asarray=False)
        flat = bits.map_blocks(
            tasks.unpack,
            chunks=(tuple(8 * n for n in bits.chunks[0]),),
            dtype=bool,
            meta=meta_like(bits, 1, bool),
            name=f"anydrop-unpack-{tokenize(bits)}",
        )
        return flat[: math.prod(shape)].reshape(shape)

    def from_numpy(self, x: np.ndarray[Any, Any], like: Array) -> Array:
        """Convert a NumPy array to Dask, with chunks of the library of `like`."""
        return da.from_array(resolve(meta(like)).from_numpy(x, meta(like)), asarray=False)

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        """Compute an array, and return it as a NumPy array."""
        computed = x.compute()
        return np.asarray(resolve(computed).to_numpy(computed))

    def probes(self) -> list[tuple[Backend, Array]]:
        """Return an empty array of NumPy chunks."""
        return [(self, self.empty("cpu"))]

    def check_input(self, x: Array) -> None:
        """Raise if dropout does not support the dtype or the library of the chunks."""
        super().check_input(x)
        try:
            resolve(meta(x))
        except TypeError as error:
            raise TypeError(f"this Dask array has unsupported chunks: {error}") from error

    def check_out(self, out: Array, x: Array) -> None:
        """Raise for any `out`."""
        raise ValueError(
            "out= is not supported for Dask arrays, since they have no memory before they are "
            "computed; use the returned array"
        )


def _chunks(shape: tuple[int, ...], like: Array, dtype: str) -> Chunks:
    """Return chunks for a shape: those of `like` along axes where they fit."""
    # Dask can't choose chunks for no elements.
    free = shape if 0 in shape else ("auto",) * len(shape)
    fits = like.ndim == len(shape)
    wanted = (
        like.chunks[a] if fits and like.shape[a] == n else free[a] for a, n in enumerate(shape)
    )
    return chunks_for(tuple(wanted), shape, dtype)


def _masked(x: Array, keep: Recipe | Array | None) -> tuple[Recipe | None, tuple[Any, ...]]:
    """Return a recipe or None, and the argument that gives each chunk of x its part of the mask."""
    if isinstance(keep, Recipe):
        return _known(keep), (chunk_slices(x.chunks), tuple(range(x.ndim)))
    return None, () if keep is None else _beside(da.asarray(keep), x)


def _beside(other: Array, x: Array) -> tuple[Array, tuple[int, ...]]:
    """Return an array that broadcasts to x, in the chunks of x, and its axes there."""
    axes = tuple(range(x.ndim))[x.ndim - other.ndim :]
    # It is rechunked like x, and not x like it.
    fitting = [1 if other.shape[i] == 1 else x.chunks[a] for i, a in enumerate(axes)]
    return other.rechunk(fitting), axes


def _wide(x: Array) -> str:
    """Return the name of the dtype in which an array is summed."""
    name = dtype_name(x.dtype)
    return "float32" if name in HALVES else name


def _known(recipe: Recipe) -> Recipe:
    """Return a recipe of plain ints, which all processes pickle and tokenize in the same way."""
    for number, value in enumerate(place.parts(recipe)):
        if isinstance(value, da.Array):
            raise TypeError(
                f"{'window offset' if number else 'step'} must be known when the graph is built, "
                "got a Dask array; compute it first, with int(...)"
            )
    return place.known(Recipe(*recipe))
