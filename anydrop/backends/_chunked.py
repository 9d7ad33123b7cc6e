"""The stream in plain NumPy: what draws the masks where numba is not installed.

It has the functions of `anydrop.backends._numba`, with the same arguments and the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from anydrop import stream
from anydrop._typing import Array
from anydrop.backends._threads import TURN
from anydrop.backends.base import COMPUTE, dtype_name

NAME = "chunked NumPy"
# The most elements of one call: one turn of a thread. Fewer leave two threads waiting for the
# interpreter's lock, more outgrow the cache.
CHUNK = TURN

UINT64 = np.uint64
WORD, SHIFT_32 = UINT64(stream.WORD), UINT64(32)
MULTIPLIERS = np.array(stream.MULTIPLIERS, UINT64)[:, None]


def prepare(dtype: Any) -> None:
    """Do nothing: there is nothing to compile."""


def keep(out: Array, starts: Array, key: stream.Key, step: stream.Words, threshold: int) -> None:
    """Fill `out` with the keep mask of runs of neighbouring indices.

    Parameters
    ----------
    out : array of bool, shape (n,)
        C-contiguous. Its runs follow each other and have the same length.
    starts : array of uint64, shape (runs,)
        The first index of each run.
    key, step : pair of int
        Low and high words.
    threshold : int
        The least word that survives.
    """
    out[:] = _kept(starts, len(out), key, step, threshold)


def words(out: Array, starts: Array, key: stream.Key, step: stream.Words) -> None:
    """Fill `out`, of uint32, with the words of runs of neighbouring indices; see `keep`."""
    out[:] = _drawn(starts, len(out), key, step, out.dtype, _cast)


def select(
    x: Array,
    y: Array,
    starts: Array,
    key: stream.Key,
    step: stream.Words,
    threshold: int,
    scale: float,
    shift: float,
    fill: float,
) -> None:
    """Write ``where(keep, x * scale + shift, fill)`` to `y`, for runs of neighbouring indices.

    Parameters
    ----------
    x, y : arrays of one dtype, shape (n,)
        C-contiguous; may be the same memory. Runs follow each other and have the same length.
    starts, key, step, threshold
        As in `keep`.
    scale, shift, fill : float
        Rounded to the dtype in which x is multiplied. A shift of -0.0 means none.
    """
    affine(x, y, scale, shift)
    put(y, _kept(starts, len(x), key, step, threshold), fill)


def affine(x: Array, y: Array, scale: float, shift: float) -> None:
    """Write ``x * scale + shift`` to `y`, rounded once; the arguments are those of `select`."""
    compute = compute_dtype(x.dtype)
    factor, addend = compute.type(scale), compute.type(shift)
    with np.errstate(all="ignore"):  # The kernels that are not NumPy's warn of nothing either.
        if x.dtype.kind == "c":
            # By parts: a complex product would turn an infinite part into a NaN beside it.
            x, y = x.view(compute), y.view(compute)
            np.multiply(x, factor, out=y)
            np.add(y[::2], addend, out=y[::2])
            return
        wide = x.astype(compute, copy=False)
        product = y if y.dtype == compute else wide
        np.multiply(wide, factor, out=product)
        if addend != 0 or not np.signbit(addend):
            np.add(product, addend, out=product)
        if product is not y:
            y[:] = product


def put(y: Array, kept: Array, fill: float) -> None:
    """Write `fill` to `y` where an element is not kept; `kept` is broadcast against `y`."""
    if fill == 0 and not np.signbit(fill):
        # The bits times 0 or 1: a selection in integers, faster than a masked copy.
        for part in (y.real, y.imag) if y.dtype.kind == "c" else (y,):
            bits = part.view(f"u{part.dtype.itemsize}")
            np.multiply(bits, kept, out=bits)
    else:
        np.copyto(y, compute_dtype(y.dtype).type(fill), where=~kept, casting="unsafe")


@lru_cache
def compute_dtype(dtype: Any) -> Any:
    """Return the real dtype in which arrays of a dtype are multiplied."""
    return np.dtype(COMPUTE[dtype_name(dtype)])


def _kept(starts: Array, n: int, key: stream.Key, step: stream.Words, threshold: int) -> Array:
    """Return the keep mask of runs of neighbouring indices, n elements in all."""

    def compare(out: Array, words: Array) -> None:
        np.greater_equal(words, UINT64(threshold), out=out)

    return _drawn(starts, n, key, step, np.bool_, compare)


def _cast(out: Array, words: Array) -> None:
    np.copyto(out, words, casting="unsafe")  # of 64 bits, of which the upper half is empty


def _drawn(
    starts: Array,
    n: int,
    key: stream.Key,
    step: stream.Words,
    dtype: Any,
    put: Callable[..., None],
) -> Array:
    """Return what ``put(out, words)`` makes of the words of runs of neighbouring indices."""
    run = n // len(starts)
    lead = (starts & UINT64(3)).astype(np.intp)
    blocks_a_run = (run + int(lead.max()) + 3) // 4
    blocks = (starts >> UINT64(2))[:, None] + np.arange(blocks_a_run, dtype=UINT64)
    drawn = np.empty((blocks.size, 4), dtype)
    for lane, words in enumerate(_philox(blocks.reshape(-1), key, step)):
        put(drawn[:, lane], words)
    if len(starts) == 1:
        return drawn.reshape(-1)[lead[0] : lead[0] + run]
    at = lead[:, None] + np.arange(run)
    return np.take_along_axis(drawn.reshape(len(starts), -1), at, axis=1).reshape(-1)


def _philox(blocks: Array, key: stream.Key, step: stream.Words) -> tuple[Array, ...]:
    """Return the four words of each block, in uint64."""
    # Philox multiplies its first and third word and adds its second and fourth. The two pairs go
    # through the rounds side by side: of fewer, longer calls each lets go of the interpreter's
    # lock for longer, and all of them work in the same memory.
    multiplied, added, product = np.empty((3, 2, len(blocks)), UINT64)
    np.bitwise_and(blocks, WORD, out=multiplied[0])
    np.right_shift(blocks, SHIFT_32, out=added[0])
    multiplied[1], added[1] = step
    for round_key in np.array(stream.round_keys(key), UINT64)[:, :, None]:
        added ^= round_key
        np.multiply(multiplied, MULTIPLIERS, out=product)
        np.right_shift(product[::-1], SHIFT_32, out=multiplied)
        multiplied ^= added
        np.bitwise_and(product[::-1], WORD, out=added)
    return multiplied[0], added[0], multiplied[1], added[1]
