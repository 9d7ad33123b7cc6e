"""The NumPy backend.

It uses fused numba kernels if numba is installed, and chunked NumPy otherwise. Both give the same
bits.
"""

from __future__ import annotations

import importlib
import logging
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from anydrop.backends.base import COMPUTE, Backend
from anydrop.backends.common import pairwise
from anydrop.backends.common.strides import forbid_broadcast
from anydrop.backends.common.threads import POOL, Pool
from anydrop.backends.numpy import blocks, chunked, sums, works
from anydrop.backends.numpy.small import plan_of
from anydrop.backends.plan import Plan, Plans
from anydrop.core import check
from anydrop.core.recipe import Affine, Recipe, scaled
from anydrop.core.typing import Array

# How many elements to draw before importing numba, because the import takes a third of a second.
# Each call adds `CALL` to the count, so that many small calls also import numba.
WARM_UP = 2**20
CALL = 2**7
# How many uniform numbers to draw from a generator at a time. Drawing all at once would take 8
# bytes per element.
DRAWN = 2**16
# Arrays of this many elements get no plan, because it would save too little of a call's time.
SMALL = 2**20
# Imported when needed, because it imports numba.
COMPILED = "anydrop.backends.numpy.compiled"

_log = logging.getLogger(__name__)


class NumpyBackend(Backend):
    """The backend of NumPy arrays.

    Parameters
    ----------
    name, namespace : str
        As for `Backend`.
    use_numba : bool, optional
        True imports numba at once and raises if that fails. False never uses numba. By default the
        backend switches to numba after `WARM_UP` elements, if numba works.
    pool : Pool, optional
        The threads that split long loops.
    """

    namespace = "array_api_compat.numpy"

    def __init__(
        self,
        name: str = "numpy",
        namespace: str = "",
        use_numba: bool | None = None,
        pool: Pool = POOL,
    ) -> None:
        super().__init__(name, namespace)
        self.plans = Plans()
        self._pool = pool
        self._kernels = importlib.import_module(COMPILED) if use_numba else chunked
        self._until_numba = WARM_UP if use_numba is None else math.inf

    @property
    def kernel(self) -> str:  # type: ignore[override]
        """The name of the kernels that draw the masks."""
        return str(self._kernels.NAME)

    def keep(self, recipe: Recipe, like: Array) -> Array:
        """Return the boolean keep mask of a recipe; see `Backend.keep`."""
        keep = np.empty(recipe.keep_shape, np.bool_)
        if keep.size:
            kernels = self.kernels_for(keep.size)
            draw = works.drawing(kernels, keep.dtype, recipe, recipe.placement)
            works.share(self._pool, draw, [keep, keep], kernels.CROSSOVER)
        return keep

    def select(
        self,
        x: Array,
        keep: Recipe | Array | None,
        scale: float,
        shift: float | None = None,
        fill: float = 0.0,
        out: Array | None = None,
    ) -> Array:
        """Return ``where(keep, x * scale + shift, fill)``; see `Backend.select`.

        If `keep` is a recipe, one pass over memory draws the mask and applies it.
        """
        x = np.asarray(x)
        y = np.empty_like(x, subok=False) if out is None else out
        if not x.size:
            return y
        kernels, affine = self.kernels_for(x.size), Affine(scale, shift, fill)
        if isinstance(keep, Recipe):
            works.serve(
                self._pool,
                kernels,
                [x, y],
                lambda: works.drawing(kernels, works.native(x), keep, keep.spread, affine),
                lambda: kernels.tiled([x], y, keep, affine),
            )
            return y
        works.serve(self._pool, kernels, [x, y], lambda: works.multiplying(affine))
        if keep is not None:
            chunked.put(y, keep, fill)
        return y

    def select_packed(
        self,
        x: Array,
        bits: Array,
        shape: tuple[int, ...],
        affine: Affine,
        out: Array | None = None,
    ) -> Array:
        """Return `select` of x with packed bits; see `Backend.select_packed`."""
        x, kernels = np.asarray(x), self.kernels_for(x.size)
        y = np.empty_like(x, subok=False) if out is None else out
        plain = works.is_plain(x) and works.is_plain(y) and works.are_apart(x, y)
        if not (plain and x.size and shape == x.shape and hasattr(kernels, "packed")):
            return super().select_packed(x, bits, shape, affine, y)
        select = kernels.packed(x.dtype, affine)

        def work(source: Array, target: Array, start: int) -> None:
            select(source, bits, target, start)

        works.share(self._pool, work, [x, y], kernels.CROSSOVER)
        return y

    def select_add(
        self,
        x: Array,
        residual: Array,
        keep: Recipe | Array | None,
        scale: float,
        bias: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """Return ``residual + where(keep, (x + bias) * scale, 0)``; see `Backend.select_add`.

        If `keep` is a recipe, one pass over memory draws the mask and applies it.
        """
        x, residual = np.asarray(x), np.asarray(residual)
        dtypes = works.native(x), works.native(residual)
        y = np.empty_like(x, dtype=residual.dtype, subok=False) if out is None else out
        if not x.size:
            return y
        if keep is not None and not isinstance(keep, Recipe):
            with np.errstate(all="ignore"):
                return super().select_add(x, residual, keep, scale, bias, y)
        wide = chunked.wide_dtype(dtypes[0])
        bias = None if bias is None else np.array(bias, wide)
        kernels = self.kernels_for(x.size)

        def tiled() -> Any:
            biases = [] if bias is None else [np.broadcast_to(bias, x.shape)]
            arrays = [x, residual, *biases]
            return kernels.tiled(arrays, y, keep, scaled(scale), kernels.rules.Add)

        def work() -> works.Work:
            return works.summing(kernels, dtypes, keep, scale, works.repeated(bias, x.shape))

        works.serve(self._pool, kernels, [x, residual, y], work, None if keep is None else tiled)
        return y

    def perturb(
        self, x: Array, recipe: Recipe, std: float, relative: bool, out: Array | None = None
    ) -> Array:
        """Return ``x * (1 + std * z)`` or ``x + std * z``; see `Backend.perturb`.

        One pass over memory draws the noise and applies it.
        """
        x = np.asarray(x)
        y = np.empty_like(x, subok=False) if out is None else out
        if not x.size:
            return y
        kernels = self.kernels_for(x.size)

        def work() -> works.Work:
            draw = kernels.perturbing(works.native(x), recipe.spread, std, relative)
            return works.placed(draw, recipe, recipe.spread)

        def tiled() -> Any:
            return kernels.tiled([x], y, recipe, scaled(std), kernels.noise(relative))

        works.serve(self._pool, kernels, [x, y], work, tiled, kernels.NOISE_CROSSOVER)
        return y

    def choose(
        self,
        new: Array | None,
        previous: Array | None,
        keep: Recipe | Array,
        out: Array | None = None,
    ) -> Array:
        """Return ``where(keep, new, previous)``, in one pass over memory; see `Backend.choose`."""
        if previous is None or not isinstance(keep, Recipe):
            return super().choose(new, previous, keep, out)
        arrays = [np.asarray(x) for x in (new, previous) if x is not None]
        x = arrays[0]
        y = np.empty_like(x, subok=False) if out is None else out
        if not x.size:
            return y
        kernels = self.kernels_for(x.size)

        def work() -> works.Work:
            make = kernels.dropping if new is None else kernels.choosing
            return works.placed(
                make(works.native(x), keep.spread, keep.threshold), keep, keep.spread
            )

        def tiled() -> Any:
            rule = kernels.rules.Drop if new is None else kernels.rules.Choose
            return kernels.tiled(arrays, y, keep, rule=rule)

        works.serve(self._pool, kernels, [*arrays, y], work, tiled)
        return y

    def sum_to(self, x: Array, shape: tuple[int, ...], dtype: str) -> Array:
        """Return x summed to a shape, by threads; see `Backend.sum_to`."""
        rows = pairwise.rows_to(np, np.asarray(x), shape)
        if not len(rows):
            return np.zeros(shape, dtype)
        total = sums.tree(rows, chunked.wide_dtype(x.dtype), self._pool).reshape(shape)
        with np.errstate(all="ignore"):
            return total.astype(dtype)

    def sum_selected(
        self, x: Array, keep: Recipe | Array, scale: float, shape: tuple[int, ...], dtype: str
    ) -> Array:
        """Return `select` summed to a shape; see `Backend.sum_selected`.

        If x is plain memory, each row is added as soon as it is selected.
        """
        x = np.asarray(x)
        long = math.prod(shape) >= sums.SHORTEST and x.shape[1:] == shape and len(x) > 0
        if not (long and works.is_plain(x) and isinstance(keep, Recipe)):
            return super().sum_selected(x, keep, scale, shape, dtype)
        kernels = self.kernels_for(x.size)
        work = works.drawing(kernels, x.dtype, keep, keep.spread, scaled(scale))
        total = sums.selected(work, x, chunked.wide_dtype(x.dtype), self._pool)
        with np.errstate(all="ignore"):
            return total.astype(dtype)

    def plan(self, x: Array, recipe: Recipe, affine: Affine) -> Plan | None:
        """Return a plan that repeats `select` for small plain arrays; see `Backend.plan`."""
        kernels = self.settled(x)
        return None if kernels is None else plan_of(kernels, x, recipe, affine)

    def settled(self, x: Array) -> ModuleType | None:
        """Return the kernels for small plain arrays like x, if that choice is final.

        Return None if x is not small and plain, or if numba may still be imported.
        """
        small = works.is_plain(x) and 0 < x.size < min(SMALL, self._kernels.CROSSOVER)
        return self._kernels if small and self._until_numba == math.inf else None

    def normals(self, recipe: Recipe, like: Array) -> Array:
        """Return standard normal numbers; see `Backend.normals`."""
        dtype = COMPUTE[self.dtype_name(like)]
        drawn = np.empty(recipe.keep_shape, dtype)
        if drawn.size:
            kernels = self.kernels_for(drawn.size)
            draw = kernels.normal(drawn.dtype, recipe.placement)
            work = works.placed(draw, recipe, recipe.placement)
            works.share(self._pool, work, [drawn, drawn], kernels.NOISE_CROSSOVER)
        return drawn

    def keep_blocks(self, recipe: Recipe, sizes: tuple[int, ...], like: Array) -> Array:
        """Return the keep mask of blocks; see `Backend.keep_blocks`."""
        kernels = self.kernels_for(math.prod(recipe.keep_shape))
        kept = blocks.keep(kernels, self._pool, recipe, sizes)
        return super().keep_blocks(recipe, sizes, like) if kept is None else kept

    def select_blocks(
        self,
        x: Array,
        recipe: Recipe,
        sizes: tuple[int, ...],
        scale: float,
        out: Array | None = None,
    ) -> Array:
        """Return ``where(keep, x * scale, 0)``; see `Backend.select_blocks`."""
        x = np.asarray(x)
        kernels = self.kernels_for(x.size)
        y = blocks.select(kernels, self._pool, x, recipe, sizes, scale, out)
        return super().select_blocks(x, recipe, sizes, scale, out) if y is None else y

    def draw(self, rng: Any, shape: tuple[int, ...], p: float, like: Array) -> Array:
        """Return ``uniform(shape) < 1 - p`` from a NumPy generator."""
        kinds = np.random.Generator, np.random.RandomState
        if rng is not np.random and not isinstance(rng, kinds):
            raise TypeError(
                "rng must be a numpy.random.Generator, a numpy.random.RandomState or the module "
                f"numpy.random for a NumPy array, got {check.described(rng)}; a seed goes to seed="
            )
        keep = np.empty(math.prod(shape), np.bool_)
        for a in range(0, keep.size, DRAWN):
            part = keep[a : a + DRAWN]
            np.less(rng.random(part.size), 1.0 - p, out=part)
        return keep.reshape(shape)

    def recompute(
        self, forward: Callable[..., Array], backward: Callable[[Array], Any], *arrays: Array
    ) -> Array:
        """Return ``forward(*arrays)``, without warnings and as an array; see `Backend.recompute`.

        NumPy's operators return a scalar in native byte order for an array without dimensions.
        """
        with np.errstate(all="ignore"):
            y, dtype = np.asarray(forward(*arrays)), arrays[0].dtype
        # The sum with a wider residual keeps the residual's dtype.
        return y.astype(dtype, copy=False) if y.dtype == dtype.newbyteorder("=") else y

    def owns(self, x: object) -> bool:
        """Tell whether `x` is a plain NumPy array.

        Subclasses are excluded, because they may behave differently.
        """
        return type(x) in (np.ndarray, np.memmap) or isinstance(x, np.generic)

    def device(self, x: Array) -> str:
        """Return ``"cpu"``."""
        return "cpu"

    def aligned(self, x: Array, like: Array) -> Array:
        """Return x in the memory order of `like`, which has as many dimensions."""
        if like.flags.c_contiguous:
            return x
        y = np.empty_like(like, dtype=x.dtype, shape=x.shape)
        y[...] = x
        return y

    def pack(self, keep: Array) -> Array:
        """Return a boolean mask packed into uint8, the first of eight in the lowest bit."""
        return np.packbits(keep, bitorder="little")

    def unpack(self, bits: Array, shape: tuple[int, ...], like: Array) -> Array:
        """Return the boolean mask that `pack` packed."""
        flat = np.unpackbits(bits, count=math.prod(shape), bitorder="little")
        return flat.view(np.bool_).reshape(shape)

    def check_out(self, out: Array, x: Array) -> None:
        """Raise if the result for `x` can't be written to `out`."""
        super().check_out(out, x)
        forbid_broadcast(out)

    def to_numpy(self, x: Array) -> Array:
        """Return `x` itself."""
        return x

    def probes(self) -> list[tuple[Backend, Array]]:
        """Return a backend and an empty array for each kind of kernel that works here."""
        like = self.empty("cpu")
        fused = [(NumpyBackend(use_numba=True), like)] if _numba() else []
        return [*fused, (NumpyBackend(use_numba=False), like)]

    def kernels_for(self, n: int) -> ModuleType:
        """Return the kernels for n elements.

        This call may import numba.
        """
        if self._until_numba < math.inf:
            self._until_numba -= n + CALL
            if self._until_numba <= 0:
                self._kernels = _numba() or chunked
                self._until_numba = math.inf
        return self._kernels


def _numba() -> ModuleType | None:
    """Return the fused kernels, or None where numba is missing or broken."""
    try:
        return importlib.import_module(COMPILED)
    except Exception as error:  # A broken numba may raise anything, and NumPy works without it.
        _log.info("drawing without numba: %r", error)
        return None
