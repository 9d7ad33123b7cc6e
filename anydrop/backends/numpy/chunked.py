"""The stream in plain NumPy, which draws the masks if numba is not installed.

Each function that returns a `Kernel` or a `KernelOfTwo` has a counterpart of the same name in
`anydrop.backends.numpy.compiled`. The two take the same arguments and give the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from anydrop.backends.base import COMPUTE, dtype_name
from anydrop.backends.numpy.normals import Normals
from anydrop.backends.numpy.words import UINT64, Words
from anydrop.core import stream
from anydrop.core.recipe import UNCHANGED, Affine, Axis, Placement
from anydrop.core.typing import Array

NAME = "chunked NumPy"
# The most elements of one call. With fewer, too much of the time goes to the interpreter. More
# elements don't fit in the cache.
CHUNK = 2**17
# Chunked NumPy runs on one thread. A second thread would wait for the interpreter's lock after each
# of about fifty passes over a chunk. On long arrays it saves up to a third of the time if no other
# threads run in the process, and nothing beside the threads of other libraries. ``nox -s bench``
# measures this.
CROSSOVER = math.inf
# Noise takes twice as long in as many passes, so a second thread pays off.
NOISE_CROSSOVER = 2**21

# Adding -0.0 changes nothing, not even the sign of a zero. Adding 0.0 would turn -0 into +0.
NO_SHIFT = -0.0
# Smaller numbers don't overflow in any dtype that we compute in.
LARGE = 2.0**127

# Takes x, y, the position of their first element, a key, a step and the first index; see `kernel`.
Kernel = Callable[[Array, Array, int, stream.Key, int, int], None]
# Takes x, a second array, y and the same further arguments; see `summing` and `choosing`.
KernelOfTwo = Callable[[Array, Array, Array, int, stream.Key, int, int], None]


def kernel(
    dtype: Any, placement: Placement, threshold: int = 0, affine: Affine = UNCHANGED
) -> Kernel:
    """Return the function that draws with these constants.

    Parameters
    ----------
    dtype : numpy.dtype
        The dtype of `y`. For bool, the function writes the keep mask, and for uint32 the random
        words. In both cases it ignores x. For other dtypes it writes
        ``where(keep, x * scale + shift, fill)``.
    placement : Placement
        The indices of the elements, except for the first one.
    threshold : int
        The smallest word whose element is kept.
    affine : Affine
        Scale, shift and fill, which are rounded to the dtype in which x is multiplied.

    Returns
    -------
    callable
        A function that writes to y. It takes C-contiguous arrays x and y of the same length, which
        may be the same memory. Then it takes the position of their first element in the placement,
        counted in C order, a key, a step, and the placement's first index.
    """
    least = np.uint32(threshold)

    def keep(x: Array, y: Array, words: Array) -> None:
        np.greater_equal(words[:, None], least, out=y)

    def copy(x: Array, y: Array, words: Array) -> None:
        y[...] = words[:, None]

    select = _selecting(threshold, affine)
    use = {np.dtype(bool): keep, np.dtype(np.uint32): copy}.get(dtype, select)

    def draw(x: Array, y: Array, start: int, key: stream.Key, step: int, first: int) -> None:
        for here, repeat, words in _draw_pieces(placement, key, step, first, start, len(y)):
            use(x[here], y[here].reshape(-1, repeat), words)

    return draw


def summing(
    dtypes: tuple[Any, Any],
    placement: Placement,
    threshold: int,
    scale: float,
    bias: Array | None = None,
) -> KernelOfTwo:
    """Return the function that draws and adds a residual with these constants.

    Parameters
    ----------
    dtypes : tuple of numpy.dtype
        The dtype of x, and the dtype of the residual and the result.
    placement, threshold : Placement, int
        As for `kernel`.
    scale : float
        The factor of the elements that are kept.
    bias : array of one dimension, optional
        In the dtype of the computation. The bias repeats: element i takes ``bias[i % len(bias)]``.

    Returns
    -------
    callable
        A function that writes ``residual + where(keep, (x + bias) * scale, 0)`` to y. It takes the
        same arguments as that of `kernel`, with the residual after x. y may be x or the residual.
    """
    select = _selecting(threshold, Affine(scale))

    def draw(
        x: Array, residual: Array, y: Array, start: int, key: stream.Key, step: int, first: int
    ) -> None:
        for here, repeat, words in _draw_pieces(placement, key, step, first, start, len(y)):
            wide = biased(x[here], start + here.start, bias)
            select(wide, wide.reshape(-1, repeat), words)
            add(wide, residual[here], y[here])

    return draw


def _selecting(threshold: int, affine: Affine) -> Callable[[Array, Array, Array], None]:
    """Return the function that applies a mask to x, given words and a y of shape (words, -1)."""
    least = np.uint32(threshold)

    def select(x: Array, y: Array, words: Array) -> None:
        apply(x, y.reshape(-1), affine)
        put(y, (words >= least)[:, None], affine.fill)

    return select


def choosing(dtype: Any, placement: Placement, threshold: int) -> KernelOfTwo:
    """Return the function that draws and chooses with these constants.

    Parameters
    ----------
    dtype, placement, threshold : numpy.dtype, Placement, int
        As for `kernel`.

    Returns
    -------
    callable
        A function that writes ``where(keep, new, previous)`` to y. It takes the same arguments as
        that of `summing`, with the new and the previous numbers first. y may be either of them.
    """
    least, bits = np.uint32(threshold), _bits_dtype(dtype)

    def draw(
        new: Array, previous: Array, y: Array, start: int, key: stream.Key, step: int, first: int
    ) -> None:
        between = np.empty(min(CHUNK, len(y)), dtype)
        for here, repeat, words in _draw_pieces(placement, key, step, first, start, len(y)):
            kept = (words >= least)[:, None]
            new_bits, previous_bits, y_bits, turn = (
                part.reshape(-1, repeat).view(bits)
                for part in (new[here], previous[here], y[here], between[: len(y[here])])
            )
            # The bits that turn the previous number into the new one, or zero to leave it.
            np.bitwise_xor(new_bits, previous_bits, out=turn)
            np.multiply(turn, kept, out=turn)
            np.bitwise_xor(previous_bits, turn, out=y_bits)

    return draw


def dropping(dtype: Any, placement: Placement, threshold: int) -> Kernel:
    """Return the function that writes ``where(keep, 0, x)``; see `kernel`."""
    least, bits = np.uint32(threshold), _bits_dtype(dtype)

    def draw(x: Array, y: Array, start: int, key: stream.Key, step: int, first: int) -> None:
        for here, repeat, words in _draw_pieces(placement, key, step, first, start, len(y)):
            dropped = (words < least)[:, None]
            x_bits, y_bits = (part[here].reshape(-1, repeat).view(bits) for part in (x, y))
            np.multiply(x_bits, dropped, out=y_bits)

    return draw


def _bits_dtype(dtype: Any) -> Any:
    """Return the unsigned integer dtype that an array of a dtype is viewed as."""
    return np.dtype(f"u{min(np.dtype(dtype).itemsize, 8)}")


def normal(dtype: Any, placement: Placement) -> Kernel:
    """Return the function that writes normal numbers; see `kernel`.

    `dtype` is float32 or float64.
    """
    return _drawing(dtype, placement, lambda x, y, z: np.copyto(y, z))


def perturbing(dtype: Any, placement: Placement, std: float, relative: bool) -> Kernel:
    """Return the function that draws noise with these constants.

    Parameters
    ----------
    dtype, placement : numpy.dtype, Placement
        As for `kernel`.
    std : float
        The standard deviation, which is rounded to the dtype in which x is computed.
    relative : bool
        Whether to multiply x by the noise, instead of adding it.

    Returns
    -------
    callable
        A function that takes the same arguments as that of `kernel`. It writes
        ``x * (1 + std * z)`` or ``x + std * z``, and rounds each product and each sum.
    """
    compute = compute_dtype(dtype)
    deviation = factors(dtype, Affine(std))[0]
    use = np.multiply if relative else np.add

    def perturb(x: Array, y: Array, z: Array) -> None:
        np.multiply(z, deviation, out=z)
        if relative:
            np.add(z, compute.type(1), out=z)
        if x.dtype.kind == "c":
            # Multiply the two parts. Complex arrays get no additive noise.
            np.multiply(x.view(compute), z, out=y.view(compute))
        else:
            use(x, z, out=y, dtype=compute, casting="unsafe")

    return _drawing(compute, placement, perturb)


def _drawing(dtype: Any, placement: Placement, use: Any) -> Kernel:
    """Return the function that calls `use` with pieces of x and y and their normal numbers."""

    def draw(x: Array, y: Array, start: int, key: stream.Key, step: int, first: int) -> None:
        normals = Normals(dtype, min(CHUNK, len(y)))
        for here, repeat, words in _draw_pieces(placement, key, step, first, start, len(y)):
            z = normals.of(words)[:, None]
            source, target = (part[here].reshape(-1, repeat) for part in (x, y))
            with np.errstate(all="ignore"):
                use(source, target, z)

    return draw


def biased(x: Array, start: int, bias: Array | None) -> Array:
    """Return x + bias in new memory, for elements that begin at `start`."""
    dtype = wide_dtype(x.dtype)
    if bias is None:
        return x.astype(dtype)
    n, length, wide = len(x), len(bias), np.empty(len(x), dtype)
    lead = min(n, -start % length)
    rest = lead + (n - lead) // length * length
    # First the end of the bias, then whole repetitions of it, then its beginning.
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


def _draw_pieces(
    placement: Placement, key: stream.Key, step: int, first: int, start: int, n: int
) -> Iterator[tuple[slice, int, Array]]:
    """Draw the words of n elements from `start` on, piece by piece.

    Yields the slice of a piece in the arrays, how many elements share a word, and the words. The
    words are valid until the next piece.
    """
    words = Words(key, step)
    for a, b, starts, repeat in pieces(placement, first, start, start + n):
        yield slice(a - start, b - start), repeat, words.draw(starts, (b - a) // repeat)


def pieces(
    placement: Placement, first: int, start: int, stop: int
) -> Iterator[tuple[int, int, Array, int]]:
    """Cut elements of a placement, counted in C order, into runs of neighbouring indices.

    Yields (start, stop, first index of each run, elements per index) for each piece. The pieces
    cover ``range(start, stop)`` and have at most `CHUNK` elements. All runs of a piece have the
    same length.
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
        else:  # many short runs in one piece
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
    """Write ``x * scale + shift`` to `y`, rounded once; x and y are arrays as for a `Kernel`."""
    compute = compute_dtype(x.dtype)
    factor, addend, _ = factors(x.dtype, affine)
    with np.errstate(all="ignore"):  # because the compiled kernels don't warn either
        if x.dtype.kind == "c":
            # Multiply the parts: the complex product of an infinite part would make a NaN of the
            # other part.
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
        # Multiplying the bits by 0 or 1 is faster than a masked copy.
        for part in (y.real, y.imag) if y.dtype.kind == "c" else (y,):
            bits = part.view(f"u{part.dtype.itemsize}")
            np.multiply(bits, kept, out=bits)
    else:
        fills = factors(y.dtype, Affine(1.0, fill=fill))
        np.copyto(y, fills[2], where=~kept, casting="unsafe")


def factors(dtype: Any, affine: Affine) -> Array:
    """Return scale, shift and fill in the dtype that `compute_dtype` returns."""
    scale, shift, fill = affine
    numbers = [scale, NO_SHIFT if shift is None else shift, fill]
    if max(map(abs, numbers)) < LARGE:
        return np.array(numbers, compute_dtype(dtype))
    with np.errstate(over="ignore"):  # slow, so only for large numbers
        return np.array(numbers, compute_dtype(dtype))


@lru_cache
def compute_dtype(dtype: Any) -> Any:
    """Return the real dtype in which arrays of a dtype are multiplied.

    Masks and words are not multiplied, so any dtype will do for them.
    """
    return np.dtype(COMPUTE.get(dtype_name(dtype), "float32"))


@lru_cache
def wide_dtype(dtype: Any) -> Any:
    """Return the dtype in which numbers of a dtype are computed.

    Complex numbers keep their dtype.
    """
    dtype = np.dtype(dtype)
    return dtype.newbyteorder("=") if dtype.kind == "c" else compute_dtype(dtype)
