"""NumPy: fused numba kernels where numba is installed, chunked NumPy otherwise; the same bits."""

from __future__ import annotations

import importlib
import logging
import math
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from anydrop._typing import Array
from anydrop.backends import _chunked
from anydrop.backends._threads import POOL, Pool
from anydrop.backends.base import NO_SHIFT, Backend
from anydrop.recipe import Drawable, Packed, Placement

# Elements drawn before numba is imported, which takes half a second.
WARM_UP = 2**20
# Uniform numbers at a time from a generator, so that they don't take eight bytes an element.
DRAWN = 2**16

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

    def keep(self, mask: Drawable, like: Array) -> Array:
        """Return the boolean keep mask, of shape ``mask.keep_shape``."""
        if isinstance(mask, Packed):
            return self.unpack(mask.bits, mask.keep_shape, like)
        keep = np.empty(mask.keep_shape, np.bool_)
        if keep.size:
            kernels = self._warm(keep.size, keep.dtype)
            constants = mask.key, mask.step, mask.threshold
            pieces = _Pieces(mask.placement, kernels.CHUNK)
            flat = keep.reshape(-1)

            def work(start: int, stop: int) -> None:
                for a, b, starts in pieces.between(start, stop):
                    kernels.keep(flat[a:b], starts, *constants)

            self._pool.run(work, keep.size)
        return keep

    def select(
        self,
        x: Array,
        mask: Drawable,
        scale: float,
        shift: float = NO_SHIFT,
        fill: float = 0.0,
        out: Array | None = None,
    ) -> Array:
        """Return ``where(keep, x * scale + shift, fill)``, in one pass if the mask is a recipe."""
        x = np.asarray(x)
        y = _empty_like(x) if out is None else out
        if not x.size:
            return y
        kernels = self._warm(x.size, x.dtype)
        if isinstance(mask, Packed) or mask.shared_axes:
            self._affine(x, y, scale, shift)
            _chunked.put(y, self.keep(mask, x), fill)
            return y
        constants = mask.key, mask.step, mask.threshold, scale, shift, fill
        pieces = _Pieces(mask.placement, kernels.CHUNK)

        def work(source: Array, target: Array, first: int) -> None:
            for a, b, starts in pieces.between(first, first + len(source)):
                a, b = a - first, b - first
                kernels.select(source[a:b], target[a:b], starts, *constants)

        self._each(work, x, y)
        return y

    def draw(self, rng: Any, shape: tuple[int, ...], p: float, like: Array) -> Array:
        """Return ``uniform(shape) < 1 - p`` from a generator of NumPy's."""
        if rng is np.random or isinstance(rng, (np.random.Generator, np.random.RandomState)):
            uniform = rng.random if isinstance(rng, np.random.Generator) else rng.random_sample
        else:
            raise TypeError(
                "rng must be a numpy.random.Generator, a numpy.random.RandomState or the module "
                f"numpy.random for a NumPy array, got {type(rng).__module__}."
                f"{type(rng).__qualname__}" + ("; did you mean seed=?" * isinstance(rng, int))
            )
        keep = np.empty(math.prod(shape), np.bool_)
        for a in range(0, keep.size, DRAWN):
            part = keep[a : a + DRAWN]
            np.less(uniform(part.size), 1.0 - p, out=part)
        return keep.reshape(shape)

    def owns(self, x: object) -> bool:
        """Tell whether `x` is a plain NumPy array: a subclass may mean more than its numbers."""
        return type(x) in (np.ndarray, np.memmap) or isinstance(x, np.generic)

    def affine(self, x: Array, scale: float, out: Array | None = None) -> Array:
        """Return ``x * scale``, rounded once to the dtype of `x`."""
        x = np.asarray(x)
        y = _empty_like(x) if out is None else out
        if x.size:
            self._affine(x, y, scale, NO_SHIFT)
        return y

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

    def to_numpy(self, x: Array) -> Array:
        """Return `x` itself."""
        return x

    def probes(self) -> list[tuple[Backend, Array]]:
        """Return an empty array for each kernel found here, and who draws with it."""
        backends = [NumpyBackend(use_numba=False)]
        try:
            backends.insert(0, NumpyBackend(use_numba=True))
        except ImportError as error:
            _log.info("drawing without numba: %r", error)
        return [(backend, self.empty("cpu")) for backend in backends]

    def _affine(self, x: Array, y: Array, scale: float, shift: float) -> None:
        def work(source: Array, target: Array, first: int) -> None:
            for a in range(0, len(source), _chunked.CHUNK):
                b = a + _chunked.CHUNK
                _chunked.affine(source[a:b], target[a:b], scale, shift)

        self._each(work, x, y)

    def _each(self, work: Work, x: Array, y: Array) -> None:
        """Call ``work(source, target, first)`` on flat pieces of x and y in C order.

        The kernels read and write plain memory: contiguous, aligned, in native byte order. Other
        arrays go through NumPy's buffered iterator, a piece at a time.
        """
        apart = x is y or not np.may_share_memory(x, y)
        if apart and _is_plain(x) and _is_plain(y):
            source, target = x.reshape(-1), y.reshape(-1)
            self._pool.run(lambda a, b: work(source[a:b], target[a:b], a), x.size)
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

    def _warm(self, n: int, dtype: Any) -> ModuleType:
        """Return the kernels for n elements more, which may be the ones that bring numba."""
        self._until_numba -= n
        if self._until_numba <= 0:
            self._until_numba = math.inf
            try:
                self._kernels = importlib.import_module("anydrop.backends._numba")
            except Exception as error:  # A broken numba raises anything; ours works without it.
                _log.info("drawing without numba: %r", error)
        self._kernels.prepare(dtype.newbyteorder("="))
        return self._kernels


class _Pieces:
    """Cuts the elements of a placement into runs of neighbouring indices.

    Parameters
    ----------
    placement : Placement
        The logical indices of the elements.
    chunk : int
        The most elements of one piece.
    """

    def __init__(self, placement: Placement, chunk: int) -> None:
        self._first = placement.first
        *self._outer, inner = placement.axes
        self._run = inner.length
        self._chunk = chunk

    def between(self, start: int, stop: int) -> Iterator[tuple[int, int, Array]]:
        """Yield (start, stop, first index of each run) of pieces that cover the elements.

        All runs of a piece have the same length.
        """
        while start < stop:
            row, column = divmod(start, self._run)
            left = min(stop - start, self._chunk)
            if column or left < self._run:
                n, rows = min(self._run - column, left), 1
            else:
                # Short runs go many at a time, but no more than fit a table of their starts.
                rows = min(left // self._run, _chunked.CHUNK // 8) if self._outer else 1
                n = rows * self._run
            yield start, start + n, self._starts(row, rows, column)
            start += n

    def _starts(self, row: int, rows: int, column: int) -> Array:
        if not self._outer:
            return np.array([self._first + column], np.uint64)
        left = np.arange(row, row + rows, dtype=np.uint64)
        starts = np.full(rows, self._first + column, np.uint64)
        for length, stride in reversed(self._outer):
            left, here = np.divmod(left, np.uint64(length))
            starts += here * np.uint64(stride)
        return starts


def _empty_like(x: Array) -> Array:
    return np.empty_like(x, dtype=x.dtype.newbyteorder("="), subok=False)


def _is_plain(x: Array) -> bool:
    return bool(x.flags.c_contiguous and x.flags.aligned and x.dtype.isnative)
