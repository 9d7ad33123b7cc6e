"""NumPy: fused numba kernels where numba is installed, chunked NumPy otherwise; the same bits."""

from __future__ import annotations

import importlib
import logging
import math
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from anydrop import check, stream
from anydrop._typing import Array
from anydrop.backends import _chunked, _normals
from anydrop.backends._threads import POOL, Pool
from anydrop.backends.base import COMPUTE, NO_SHIFT, Backend, Pass
from anydrop.recipe import Axis, Placement, Recipe

# Elements drawn before numba is imported, which takes half a second; and how many a call counts for
# by itself, so that many small ones bring it too.
WARM_UP = 2**20
CALL = 2**7
# Uniform numbers at a time from a generator, so that they don't take eight bytes an element.
DRAWN = 2**16
# Starts of runs in one table.
STARTS = 2**14
# Elements beyond which what a call costs beside its kernel is not worth remembering.
SMALL = 2**18

_log = logging.getLogger(__name__)

Work = Callable[[Array, Array, int], None]


class NumpyBackend(Backend):
    """The backend of NumPy arrays.

    Parameters
    ----------
    name, namespace : str
        As for `Backend`.
    use_numba : bool, optional
        True takes numba's kernels at once and raises where they can't be had; False never takes
        them. By default they are taken after `WARM_UP` elements, and not missed if they fail.
    pool : Pool, optional
        The threads that share a long loop.
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
        self._pool = pool
        self._kernels: ModuleType = _chunked
        self._until_numba = math.inf
        if use_numba:
            self._kernels = importlib.import_module("anydrop.backends._numba")
        elif use_numba is None:
            self._until_numba = WARM_UP

    @property
    def kernel(self) -> str:  # type: ignore[override]
        """What draws the masks."""
        return str(self._kernels.NAME)

    @property
    def kernel_at(self) -> Any:
        """What makes a kernel that takes addresses, if there is one: see `_numba.kernel_at`."""
        return getattr(self._kernels, "kernel_at", None)

    def keep(self, recipe: Recipe, like: Array) -> Array:
        """Return the boolean keep mask of a recipe; see `Backend.keep`."""
        keep = np.empty(recipe.keep_shape, np.bool_)
        if keep.size:
            kernels = self._kernels_for(keep.size)
            draw = kernels.kernel(keep.dtype, recipe.key, recipe.threshold)
            step = check.known_step(recipe.step)
            placement, flat = recipe.placement, keep.reshape(-1)

            def work(start: int, stop: int) -> None:
                for a, b, starts, _ in _pieces(placement, start, stop, kernels.CHUNK):
                    draw(flat[a:b], flat[a:b], starts, 1, step)

            self._pool.run(work, keep.size, kernels.CROSSOVER)
        return keep

    def select(
        self,
        x: Array,
        keep: Recipe | Array | None,
        scale: float,
        shift: float = NO_SHIFT,
        fill: float = 0.0,
        out: Array | None = None,
    ) -> Array:
        """Return ``where(keep, x * scale + shift, fill)``; see `Backend.select`.

        A recipe takes one pass over memory, in which its mask is drawn.
        """
        x = np.asarray(x)
        y = np.empty_like(x, subok=False) if out is None else out
        if not x.size:
            return y
        kernels = self._kernels_for(x.size)
        if isinstance(keep, Recipe):
            native = x.dtype.newbyteorder("=")
            draw = kernels.kernel(native, keep.key, keep.threshold, scale, shift, fill)
            step, spread = check.known_step(keep.step), keep.spread

            def work(source: Array, target: Array, first: int) -> None:
                last = first + len(source)
                for a, b, starts, repeat in _pieces(spread, first, last, kernels.CHUNK):
                    here = slice(a - first, b - first)
                    draw(source[here], target[here], starts, repeat, step)

            self._each(work, x, y, kernels.CROSSOVER)
            return y

        def multiply(source: Array, target: Array, first: int) -> None:
            for a in range(0, len(source), _chunked.CHUNK):
                here = slice(a, a + _chunked.CHUNK)
                _chunked.affine(source[here], target[here], scale, shift)

        self._each(multiply, x, y, kernels.CROSSOVER)
        if keep is not None:
            _chunked.put(y, keep, fill)
        return y

    def again(
        self,
        x: Array,
        recipe: Recipe,
        scale: float,
        shift: float = NO_SHIFT,
        fill: float = 0.0,
    ) -> tuple[Pass, Pass] | None:
        """Return how to do `select` again for small plain arrays; see `Backend.again`."""
        piece = self.only_piece(x, recipe)
        if piece is None:
            return None
        (starts, repeat), dtype, shape = piece, x.dtype, x.shape
        kernel = partial(self._kernels.kernel, dtype, recipe.key, recipe.threshold, scale)

        def passing(draw: _chunked.Kernel) -> Pass:
            def again(x: Array, step: int) -> Array | None:
                if type(x) is not np.ndarray or x.dtype is not dtype or x.shape != shape:
                    return None
                flags = x.flags
                if not flags.c_contiguous or not flags.aligned or step > stream.LAST_STEP:
                    return None
                y = np.empty(shape, dtype)
                draw(x.ravel(), y.ravel(), starts, repeat, step)
                return y

            return again

        return passing(kernel(shift, fill)), passing(kernel())

    def only_piece(self, x: Array, recipe: Recipe) -> tuple[Array, int] | None:
        """Return starts and repeat of the one call of a kernel that serves a small plain array.

        None if it takes more than one, or so long a one that all else does not matter; or as long
        as numba may still come.
        """
        settled, most = self._until_numba == math.inf, min(SMALL, self._kernels.CHUNK)
        if not settled or not _is_plain(x) or not 0 < x.size <= most:
            return None
        (_, _, starts, repeat), *others = _pieces(recipe.spread, 0, x.size, most)
        return None if others else (starts, repeat)

    def normals(self, recipe: Recipe, like: Array) -> Array:
        """Return standard normal numbers, made a piece at a time; see `Backend.normals`."""
        dtype = COMPUTE[self.dtype_name(like)]
        drawn = np.empty(recipe.keep_shape, dtype)
        if drawn.size:
            words = np.dtype(np.uint32)
            kernels = self._kernels_for(drawn.size)
            draw, step = kernels.kernel(words, recipe.key), check.known_step(recipe.step)
            placement, flat = recipe.placement, drawn.reshape(-1)

            def work(start: int, stop: int) -> None:
                for a, b, starts, _ in _pieces(placement, start, stop, _chunked.CHUNK):
                    piece = np.empty(b - a, words)
                    draw(piece, piece, starts, 1, step)
                    flat[a:b] = _normals.standard(self.xp, piece, dtype)

            self._pool.run(work, drawn.size, _chunked.CROSSOVER)
        return drawn

    def draw(self, rng: Any, shape: tuple[int, ...], p: float, like: Array) -> Array:
        """Return ``uniform(shape) < 1 - p`` from a generator of NumPy's."""
        if rng is np.random or isinstance(rng, (np.random.Generator, np.random.RandomState)):
            uniform = rng.random if isinstance(rng, np.random.Generator) else rng.random_sample
        else:
            raise TypeError(
                "rng must be a numpy.random.Generator, a numpy.random.RandomState or the module "
                f"numpy.random for a NumPy array, got {check.described(rng)}; a seed goes to seed="
            )
        keep = np.empty(math.prod(shape), np.bool_)
        for a in range(0, keep.size, DRAWN):
            part = keep[a : a + DRAWN]
            np.less(uniform(part.size), 1.0 - p, out=part)
        return keep.reshape(shape)

    def redrawn(
        self, forward: Callable[..., Array], backward: Callable[[Array], Any], *arrays: Array
    ) -> Array:
        """Return ``forward(*arrays)``, without warnings and as an array; see `Backend.redrawn`.

        Operators make a scalar of what has no dimensions.
        """
        with np.errstate(all="ignore"):
            return np.asarray(forward(*arrays))

    def owns(self, x: object) -> bool:
        """Tell whether `x` is a plain NumPy array: a subclass may mean more than its numbers."""
        return type(x) in (np.ndarray, np.memmap) or isinstance(x, np.generic)

    def device(self, x: Array) -> str:
        """Return ``"cpu"``."""
        return "cpu"

    def pack(self, keep: Array) -> Array:
        """Return a boolean mask as bits in uint8, the first of eight in the lowest."""
        return np.packbits(keep, bitorder="little")

    def unpack(self, bits: Array, shape: tuple[int, ...], like: Array) -> Array:
        """Return the boolean mask of bits that `pack` made."""
        flat = np.unpackbits(bits, count=math.prod(shape), bitorder="little")
        return flat.view(np.bool_).reshape(shape)

    def check_out(self, out: Array | None, x: Array) -> Array | None:
        """Refuse an `out` that can't hold the result for `x`."""
        out = super().check_out(out, x)
        if out is not None and any(
            n > 1 and stride == 0 for n, stride in zip(out.shape, out.strides, strict=True)
        ):
            raise ValueError("out must have memory of its own for every element, got a broadcast")
        return out

    def to_numpy(self, x: Array) -> Array:
        """Return `x` itself."""
        return x

    def probes(self) -> list[tuple[Backend, Array]]:
        """Return an empty array for each kernel found here, and who draws with it."""
        like = self.empty("cpu")
        fused = [(NumpyBackend(use_numba=True), like)] if _numba() else []
        return [*fused, (NumpyBackend(use_numba=False), like)]

    def _each(self, work: Work, x: Array, y: Array, crossover: int) -> None:
        """Call ``work(source, target, first)`` on flat pieces of x and y in C order.

        The kernels read and write plain memory: contiguous, aligned, in native byte order. Other
        arrays go through NumPy's buffered iterator, a piece at a time.
        """
        apart = x is y or not np.may_share_memory(x, y)
        if apart and _is_plain(x) and _is_plain(y):
            source, target = x.reshape(-1), y.reshape(-1)
            self._pool.run(lambda a, b: work(source[a:b], target[a:b], a), x.size, crossover)
            return
        native = x.dtype.newbyteorder("=")
        with np.nditer(
            [x, y],
            ["external_loop", "buffered", "copy_if_overlap"],
            [
                ["readonly", "overlap_assume_elementwise"],
                ["writeonly", "overlap_assume_elementwise"],
            ],
            op_dtypes=[native, native],
            order="C",
            casting="equiv",
            buffersize=_chunked.CHUNK,
        ) as pairs:
            first = 0
            for source, target in pairs:
                if _is_plain(source) and _is_plain(target):
                    work(source, target, first)
                else:  # A stride that the iterator passes on as it is.
                    copy = np.empty(len(target), native)
                    work(np.ascontiguousarray(source), copy, first)
                    target[...] = copy
                first += len(source)

    def _kernels_for(self, n: int) -> ModuleType:
        """Return the kernels for n elements, which may be the ones that bring numba."""
        if self._until_numba < math.inf:
            self._until_numba -= n + CALL
            if self._until_numba <= 0:
                self._kernels = _numba() or _chunked
                self._until_numba = math.inf
        return self._kernels


def _numba() -> ModuleType | None:
    """Return the fused kernels, or None where numba is missing or broken."""
    try:
        return importlib.import_module("anydrop.backends._numba")
    except Exception as error:  # A broken numba raises anything; there is a way without it.
        _log.info("drawing without numba: %r", error)
        return None


def _pieces(
    placement: Placement, start: int, stop: int, most: int
) -> Iterator[tuple[int, int, Array, int]]:
    """Cut elements of a placement, counted in C order, into runs of neighbouring indices.

    Yields (start, stop, first index of each run, elements of each index) of pieces of at most
    `most` elements that cover ``range(start, stop)``. All runs of a piece have the same length.
    """
    axes = placement.axes
    *outer, (run, _), (repeat, _) = (*axes, Axis(1, 0)) if axes[-1].stride else axes
    while start < stop:
        row, column = divmod(start, run * repeat)
        index, within = divmod(column, repeat)
        left = min(stop - start, most)
        if within or left < repeat:  # a part of the elements of one index
            n = each = min(left, repeat - within)
            starts = _starts(placement.first + index, outer, row, 1)
        elif index or not outer or left < run * repeat:
            n, each = min(run - index, left // repeat) * repeat, repeat
            starts = _starts(placement.first + index, outer, row, 1)
        else:
            # Short runs go many at a time, but no more than fit a table of their starts.
            rows = min(left // (run * repeat), STARTS)
            n, each = rows * run * repeat, repeat
            starts = _starts(placement.first, outer, row, rows)
        yield start, start + n, starts, each
        start += n


def _starts(first: int, outer: list[Axis], row: int, rows: int) -> Array:
    """Return the first indices of consecutive rows."""
    if not outer:
        return np.array([first], np.uint64)
    left = np.arange(row, row + rows, dtype=np.uint64)
    starts = np.full(rows, first, np.uint64)
    for length, stride in reversed(outer):
        left, here = np.divmod(left, np.uint64(length))
        starts += here * np.uint64(stride)
    return starts


def _is_plain(x: Array) -> bool:
    return bool(x.flags.c_contiguous and x.flags.aligned and x.dtype.isnative)
