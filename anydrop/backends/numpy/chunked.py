"""The stream in plain NumPy: what draws the masks where numba is not installed.

Its `kernel` and `summing` are interchangeable with those of `anydrop.backends.numpy.compiled`: they
take the same arguments and give the same bits.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from anydrop.backends.base import COMPUTE, dtype_name
from anydrop.core import stream
from anydrop.core.recipe import UNCHANGED, Affine, Axis, Placement
from anydrop.core.typing import Array

NAME = "chunked NumPy"
# The most elements of one call: of fewer the interpreter would take too large a part, more outgrow
# the cache.
CHUNK = 2**17
# A second thread never saves what it costs: after each of some fifty passes over a chunk it waits
# for the interpreter's lock. ``nox -s bench`` measures it.
CROSSOVER = math.inf

# Adding it changes nothing, not even a zero's sign: x + 0.0 would turn -0 into +0.
NO_SHIFT = -0.0
# Numbers below it overflow in no dtype that is computed in.
LARGE = 2.0**127

UINT64 = np.uint64
WORD, SHIFT_32 = UINT64(stream.WORD), UINT64(32)
MULTIPLIERS = np.array(stream.MULTIPLIERS, UINT64)[:, None]
# Words of 64 bits as pairs of 32: from the first low half to the last, and likewise of high ones.
LOW, HIGH = (slice(0, -1), slice(1, None))[:: 1 if sys.byteorder == "little" else -1]


# Takes x, y, where their elements begin, a key, a step and the first index; see `kernel`.
Kernel = Callable[[Array, Array, int, stream.Key, int, int], None]
# Takes x, the residual, y, and the same; see `summing`.
Summing = Callable[[Array, Array, Array, int, stream.Key, int, int], None]


def kernel(
    dtype: Any, placement: Placement, threshold: int = 0, affine: Affine = UNCHANGED
) -> Kernel:
    """Return the function that draws with these constants.

    Parameters
    ----------
    dtype : numpy.dtype
        Of `y`: bool for a keep mask, uint32 for the words themselves, both whatever `x` is; of
        others ``where(keep, x * scale + shift, fill)``.
    placement : Placement
        The indices of the elements, but for the first one.
    threshold : int
        The least word that survives.
    affine : Affine
        What becomes of an element, rounded to the dtype in which x is multiplied.

    Returns
    -------
    callable
        Called with C-contiguous arrays x and y of one length, which may be the same memory; with
        where in the placement their elements begin, counted in C order; and with a key, a step
        and the placement's first index. It writes to y.
    """
    least = np.uint32(threshold)

    def keep(x: Array, y: Array, words: Array) -> None:
        np.greater_equal(words[:, None], least, out=y)

    def copy(x: Array, y: Array, words: Array) -> None:
        y[...] = words[:, None]

    def select(x: Array, y: Array, words: Array) -> None:
        apply(x, y.reshape(-1), affine)
        put(y, (words >= least)[:, None], affine.fill)

    use = {np.dtype(bool): keep, np.dtype(np.uint32): copy}.get(dtype, select)

    def draw(x: Array, y: Array, start: int, key: stream.Key, step: int, first: int) -> None:
        for a, b, starts, repeat in _pieces(placement, first, start, start + len(y)):
            here = slice(a - start, b - start)
            # No name for the words: it would keep them while the next ones are drawn.
            use(x[here], y[here].reshape(-1, repeat), _words(starts, (b - a) // repeat, key, step))

    return draw


def summing(
    dtypes: tuple[Any, Any],
    placement: Placement,
    threshold: int,
    scale: float,
    bias: Array | None = None,
) -> Summing:
    """Return the function that draws and sums with these constants.

    Parameters
    ----------
    dtypes : tuple of numpy.dtype
        Of x, and of the residual and the result.
    placement, threshold : Placement, int
        As for `kernel`.
    scale : float
        What survivors are multiplied by.
    bias : array of one dimension, optional
        In the dtype of the computation. It repeats: element i takes its entry ``i % len(bias)``.

    Returns
    -------
    callable
        Takes what that of `kernel` takes, with the residual after x; y may be either of them. It
        writes ``residual + where(keep, (x + bias) * scale, 0)``.
    """
    dropped = kernel(wide_dtype(dtypes[0]), placement, threshold, Affine(scale))

    def draw(
        x: Array, residual: Array, y: Array, start: int, key: stream.Key, step: int, first: int
    ) -> None:
        for a in range(0, len(y), CHUNK):
            here, at = slice(a, a + CHUNK), start + a
            wide = biased(x[here], at, bias)
            dropped(wide, wide, at, key, step, first)
            add(wide, residual[here], y[here])

    return draw


def biased(x: Array, start: int, bias: Array | None) -> Array:
    """Return x + bias in memory of its own, for elements that begin at `start`."""
    dtype = wide_dtype(x.dtype)
    if bias is None:
        return x.astype(dtype)
    n, length, wide = len(x), len(bias), np.empty(len(x), dtype)
    lead = min(n, -start % length)
    rest = lead + (n - lead) // length * length
    # The end of the bias, the whole of it again and again, and its beginning.
    for a, b, part in (0, lead, bias[start % length :]), (lead, rest, bias), (rest, n, bias):
        shape = -1, max(1, min(b - a, len(part)))
        added, target = part[: shape[1]], wide[a:b].reshape(shape)
        with np.errstate(all="ignore"):
            np.add(x[a:b].reshape(shape), added, out=target, dtype=dtype)
    return wide


def add(wide: Array, residual: Array, y: Array) -> None:
    """Write ``residual + wide`` to y, rounded once."""
    with np.errstate(all="ignore"):
        if y.dtype == wide.dtype:
            np.add(residual, wide, out=y)
        else:
            y[...] = np.add(residual.astype(wide.dtype), wide, out=wide)


def _pieces(
    placement: Placement, first: int, start: int, stop: int
) -> Iterator[tuple[int, int, Array, int]]:
    """Cut elements of a placement, counted in C order, into runs of neighbouring indices.

    Yields (start, stop, first index of each run, elements of each index) of pieces of at most
    `CHUNK` elements that cover ``range(start, stop)``. All runs of a piece have the same length.
    """
    outer, run, repeat = placement.rows
    while start < stop:
        row, column = divmod(start, run * repeat)
        index, within = divmod(column, repeat)
        left, rows, each = min(stop - start, CHUNK), 1, repeat
        if within or left < repeat:  # a part of the elements of one index
            n = each = min(left, repeat - within)
        elif index or left < run * repeat:  # a part of a run
            n = min(run - index, left // repeat) * repeat
        else:  # Short runs go many at a time.
            rows = left // (run * repeat)
            n = rows * run * repeat
        yield start, start + n, _starts(first + index, outer, row, rows), each
        start += n


def _starts(first: int, outer: tuple[Axis, ...], row: int, rows: int) -> Array:
    """Return the first indices of consecutive rows."""
    left = np.arange(row, row + rows, dtype=UINT64)
    starts = np.full(rows, first, UINT64)
    for length, stride in reversed(outer):
        left, here = np.divmod(left, UINT64(length))
        starts += here * UINT64(stride)
    return starts


def apply(x: Array, y: Array, affine: Affine) -> None:
    """Write ``x * scale + shift`` to `y`, rounded once; the arrays are those of a `Kernel`."""
    compute = compute_dtype(x.dtype)
    factor, addend, _ = factors(x.dtype, affine)
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
        fills = factors(y.dtype, Affine(1.0, fill=fill))
        np.copyto(y, fills[2], where=~kept, casting="unsafe")


def factors(dtype: Any, affine: Affine) -> Array:
    """Return scale, shift and fill in the dtype in which arrays of a dtype are multiplied."""
    scale, shift, fill = affine
    numbers = [scale, NO_SHIFT if shift is None else shift, fill]
    if max(map(abs, numbers)) < LARGE:
        return np.array(numbers, compute_dtype(dtype))
    with np.errstate(over="ignore"):  # which takes longer than all else here
        return np.array(numbers, compute_dtype(dtype))


@lru_cache
def compute_dtype(dtype: Any) -> Any:
    """Return the real dtype in which arrays of a dtype are multiplied.

    Of masks and words, which are not, any will do.
    """
    return np.dtype(COMPUTE.get(dtype_name(dtype), "float32"))


@lru_cache
def wide_dtype(dtype: Any) -> Any:
    """Return the dtype in which numbers of a dtype are computed; complex ones keep theirs."""
    dtype = np.dtype(dtype)
    return dtype.newbyteorder("=") if dtype.kind == "c" else compute_dtype(dtype)


def _words(starts: Array, n: int, key: stream.Key, step: int) -> Array:
    """Return the words of runs of neighbouring indices, n in all, in uint32."""
    run = n // len(starts)
    lead = (starts & UINT64(3)).astype(np.intp)
    blocks_a_run = (run + int(lead.max()) + 3) // 4
    first = starts >> UINT64(2)
    blocks = (first[:, None] + np.arange(blocks_a_run, dtype=UINT64)).reshape(-1)
    ends = np.concatenate([first, first + UINT64(blocks_a_run)]) >> SHIFT_32
    drawn = _philox(blocks, int(ends[0]) if np.all(ends == ends[0]) else None, key, step)
    if len(starts) == 1:
        return drawn.reshape(-1)[lead[0] : lead[0] + run]
    at = lead[:, None] + np.arange(run)
    return np.take_along_axis(drawn.reshape(len(starts), -1), at, axis=1).reshape(-1)


def _philox(blocks: Array, high: int | None, key: stream.Key, step: int) -> Array:
    """Return the four words of each block, in uint32; `high` is that of all blocks, if they agree.

    Philox multiplies its first and third word and adds its second and fourth. The two pairs go
    through the rounds side by side: of fewer, longer calls each lets go of the interpreter's lock
    for longer. A word is the low half of 64 bits; of the added ones the high half is whatever a
    product left there.
    """
    n, keys = len(blocks), stream.round_keys(key)
    multiplied, added = _aligned(4, n).reshape(2, 2, -1)[..., :n]
    if high is None:
        np.bitwise_and(blocks, WORD, out=multiplied[0])
        np.right_shift(blocks, SHIFT_32, out=added[0])
        multiplied[1], added[1] = stream.halves(step)
    else:
        _two_rounds(blocks, high, keys, step, multiplied, added)
        keys = keys[2:]
    for round_key in np.array(keys, UINT64)[:, :, None]:
        np.multiply(multiplied, MULTIPLIERS, out=multiplied)
        # High halves of the products come onto low halves of what they are added to, since one of
        # the two rows of 32 bits begins a half later. Other halves meet too, and are then erased.
        onto, products = added.view(np.uint32), multiplied[::-1].view(np.uint32)
        np.bitwise_xor(onto[:, LOW], products[:, HIGH], out=onto[:, LOW])
        np.bitwise_and(added, WORD, out=added)
        np.bitwise_xor(added, round_key, out=added)
        multiplied, added = added, multiplied[::-1]
    drawn = np.empty((n, 4), np.uint32)
    for lane, words in enumerate((multiplied[0], added[0], multiplied[1], added[1])):
        drawn[:, lane] = words
    return drawn


def _aligned(rows: int, n: int) -> Array:
    """Return memory for rows of n words of 64 bits, each of which begins with a line of the cache.

    Off such lines a pass over it would take a fifth longer.
    """
    line = 8
    length = -(-n // line) * line
    memory = np.empty(rows * length + line, UINT64)
    start = -(memory.ctypes.data // memory.itemsize) % line
    return memory[start : start + rows * length]


def _two_rounds(
    blocks: Array,
    high: int,
    keys: tuple[stream.Key, ...],
    step: int,
    multiplied: Array,
    added: Array,
) -> None:
    """Do the first two rounds where all words but the first are one number for all blocks.

    In the first round only two words become arrays, and the other two remain numbers.
    """
    (m0, m1), (k0, k1), (k2, k3) = stream.MULTIPLIERS, *keys[:2]
    c2, c3 = stream.halves(step)
    low1, high1 = stream.halves(m1 * c2)
    low0, high0 = stream.halves(m0 * (high1 ^ high ^ k0))
    first, third, product = multiplied[0], multiplied[1], added[0]
    np.bitwise_and(blocks, WORD, out=third)
    np.multiply(third, UINT64(m0), out=third)
    np.right_shift(third, SHIFT_32, out=product)
    np.bitwise_xor(product, UINT64(c3 ^ k1), out=product)
    np.multiply(product, UINT64(m1), out=product)
    np.right_shift(product, SHIFT_32, out=first)
    np.bitwise_xor(first, UINT64(low1 ^ k2), out=first)
    np.bitwise_and(third, WORD, out=third)
    np.bitwise_xor(third, UINT64(high0 ^ k3), out=third)
    added[1] = low0
