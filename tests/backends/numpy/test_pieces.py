"""Noise and choices without numba: each piece has the words of its own place, and all its bits."""

from functools import cache

import numpy as np
import pytest
from subjects import available

import anydrop
from anydrop.backends.numpy import chunked, normals
from anydrop.core.quantile import numerator
from anydrop.testing.reference import bits
from anydrop.testing.subject import dtype_of

KEY, STEP = (0x12345678, 0x9ABCDEF0), 2**40 + 3
LONG = 2 * chunked.CHUNK + 5


def spread(*arguments, **keywords):
    return anydrop.Mask.from_seed(*arguments, p=0.5, seed=0, **keywords).spread


PLACEMENTS = {
    "one element": spread((1,)),
    "several pieces": spread((LONG,)),
    "shared last": spread((300, 1000), shared_axes=1),
    "shared first": spread((3, LONG), shared_axes=0),
    "short rows": spread((9, 7, 3), window=anydrop.Window((1, 2, 3), (99, 77, 11))),
    "past 2**34": spread((2, 100), window=anydrop.Window((0, 2**34 - 50), (2, 2**34 + 99))),
}
each_placement = pytest.mark.parametrize("name", PLACEMENTS)
DTYPES = ["float16", "float32", "float64", "complex64", "complex128"]
DTYPES += ["bfloat16"] * available("ml_dtypes")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


@cache
def words_at(name):
    """Return the word of each element, and its normal number."""
    placement = PLACEMENTS[name]
    words = np.empty(np.prod([axis.length for axis in placement.axes]), np.uint32)
    draw = chunked.kernel(words.dtype, placement)
    draw(words, words, 0, KEY, STEP, placement.first)
    numbers = {int(word): numerator(int(word)) for word in set(words)}
    return words, np.array([numbers[word] for word in words.tolist()]) * 2.0**-28


def arrays(dtype, n, count=1):
    rng = np.random.default_rng(0)
    parts = rng.standard_normal((2, count, n))
    x = parts[0] + 1j * parts[1] if "complex" in dtype else parts[0]
    x = x.astype(dtype_of(dtype))
    x[:, ::5] = np.nan
    x[:, ::7] = -0.0
    return list(x)


def check(draw, sources, expected, name):
    """Hold what is drawn to what it should be, also in place: into any of the sources."""
    for which in [None, *range(len(sources))]:
        copies = [source.copy() for source in sources]
        y = np.empty_like(expected) if which is None else copies[which]
        for part in slice(3, None), slice(0, 3):  # the latter part first
            pieces = [source[part] for source in copies]
            draw(*pieces, y[part], part.start, KEY, STEP, PLACEMENTS[name].first)
        assert bits(y) == bits(expected)


@each_placement
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normals_are_those_of_the_definition(name, dtype):
    words, z = words_at(name)
    draw = chunked.normal(np.dtype(dtype), PLACEMENTS[name])
    check(draw, [np.empty(len(words), dtype)], z.astype(dtype), name)


@pytest.mark.parametrize("word", [0, 1, 31, 32, 63, 64, 2**24 + 1, 2**31 - 1, 2**31, 2**32 - 1])
def test_extreme_words(word):
    words = np.array([word], np.uint32)
    z = normals.Normals(np.float64, 1).of(words)
    assert bits(z) == bits(np.array([numerator(word) * 2.0**-28]))


@each_placement
@each_dtype
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("std", [0.3, 1e-42, 1e39])
def test_noise_rounds_each_product_and_each_sum(name, dtype, relative, std):
    _, z = words_at(name)
    [x] = arrays(dtype, len(z))
    compute = chunked.compute_dtype(x.dtype)
    with np.errstate(all="ignore"):
        noise = z.astype(compute) * compute.type(std)
        noise = compute.type(1) + noise if relative else noise
        if x.dtype.kind == "c":
            pair = x.view(compute).reshape(-1, 2) * noise[:, None]
            expected = pair.reshape(-1).view(x.dtype)
        else:
            wide = x.astype(compute)
            expected = (wide * noise if relative else wide + noise).astype(x.dtype)
    draw = chunked.perturbing(x.dtype, PLACEMENTS[name], std, relative)
    check(draw, [x], expected, name)


@each_placement
@each_dtype
def test_choices(name, dtype):
    words, _ = words_at(name)
    new, previous = arrays(dtype, len(words), 2)
    kept = words >= 2**30
    draw = chunked.choosing(new.dtype, PLACEMENTS[name], 2**30)
    check(draw, [new, previous], np.where(kept, new, previous), name)
    draw = chunked.dropping(new.dtype, PLACEMENTS[name], 2**30)
    check(draw, [new], np.where(kept, np.zeros_like(new), new), name)
