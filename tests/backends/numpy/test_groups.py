"""Groups of blocks in vectors: wherever a run of indices begins and ends, its words are the same.

NumPy's kernel knows no groups, and says what the words are.
"""

import itertools

import numpy as np
import pytest
from subjects import available

import anydrop

if not available("numba"):
    pytest.skip(
        "numba is not installed here; nox -s tests-numpy runs this", allow_module_level=True
    )

from anydrop.backends.numpy import chunked, compiled
from anydrop.backends.numpy.kernels.philox import GROUP, WORDS, draw_many
from anydrop.core.recipe import Affine
from anydrop.testing.reference import bits
from anydrop.testing.subject import dtype_of

KEY, STEP = (0x9E3779B9, 2**32 - 2), 2**40 + 3
KEPT, AFFINE = 2**31, Affine(1.25)
DTYPES = ["bool", "uint32", "float16", "float32", "float64", "complex64", "complex128"]
DTYPES += ["bfloat16"] * available("ml_dtypes")


def drawn(kernels, x, y, first, affine=AFFINE):
    """Return y, written by the kernels of a module for elements whose first index is `first`."""
    window = anydrop.Window((first,), (2**64,))
    placement = anydrop.Mask.from_seed(x.shape, 0.5, seed=0, window=window).placement
    kernels.kernel(y.dtype, placement, KEPT, affine)(x, y, 0, KEY, STEP, first)
    return y


def both(x, dtype, first):
    """Return the bits that both kernels write."""
    results = []
    for module in (chunked, compiled):
        y = np.zeros(x.shape, dtype)
        reads = y.dtype not in (np.bool_, np.uint32)
        results.append(bits(drawn(module, x if reads else y, y, first)))
    return results


@pytest.mark.parametrize("dtype", ["uint32", "float32"])
def test_a_run_begins_at_any_place_of_a_group(dtype):
    """It has a part of a group, two whole ones, and a part again."""
    x = np.linspace(-1, 1, 3 * WORDS, dtype="f4")
    for first in range(WORDS + 2):
        expected, got = both(x, dtype, first)
        assert got == expected, first


@pytest.mark.parametrize("length", [*range(1, 9), *range(WORDS - 5, WORDS + 6), 5 * WORDS + 1])
def test_a_run_has_any_length(length):
    x = np.linspace(-1, 1, length, dtype="f4")
    for first in range(5):
        expected, got = both(x, "float32", first)
        assert got == expected, first


@pytest.mark.parametrize("block", [7, 2**32 - GROUP - 9])
def test_any_number_of_blocks_is_drawn_in_groups_and_what_is_left(block):
    """And nothing is written beyond the last one. The second group of some crosses block 2**32."""
    drawn = *map(np.uint32, KEY), np.uint32(STEP % 2**32), np.uint32(STEP >> 32)
    for blocks in (1, GROUP - 1, GROUP, GROUP + 1, 3 * GROUP, 3 * GROUP + 5):
        expected, got = np.zeros((2, 4 * blocks + 4), "u4")
        placement = anydrop.Mask.from_seed((4 * blocks,), 0.5, seed=0).placement
        words = expected[:-4]
        chunked.kernel(words.dtype, placement)(words, words, 0, KEY, STEP, 4 * block)
        draw_many(got, np.uint64(blocks), np.uint64(block), drawn)
        assert np.array_equal(got, expected), blocks


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_run_crosses_block_2_to_the_32(dtype):
    """A group in which the low half of a block's number overflows, at each of its blocks."""
    dtype = dtype_of(dtype)
    x = np.linspace(-1, 1, 4 * WORDS).astype(dtype)
    for blocks in range(2 * GROUP + 1):
        first = 2**34 - 4 * blocks - WORDS
        expected, got = both(x, dtype, first)
        assert got == expected, blocks


@pytest.mark.parametrize("dtype", DTYPES[2:])
@pytest.mark.parametrize("affine", [Affine(1.25, 0.5, -3.0), Affine(-0.5, None, 0.0)], ids=str)
def test_y_may_be_x_itself_and_no_neighbour_is_touched(dtype, affine):
    n = 5 * WORDS + 7
    x = np.linspace(-2, 2, n + 2).astype(dtype_of(dtype))
    expected = drawn(chunked, x[1:-1], np.zeros(n, x.dtype), 3, affine)
    in_place = x.copy()
    drawn(compiled, in_place[1:-1], in_place[1:-1], 3, affine)
    assert bits(in_place[1:-1]) == bits(expected)
    assert bits(in_place[[0, -1]]) == bits(x[[0, -1]])


@pytest.mark.parametrize("residual", ["apart", "x", "y"])
@pytest.mark.parametrize("period", [1, 4, 100, WORDS, 1000])
def test_a_sum_whose_bias_goes_round_and_round(period, residual):
    """Whatever the arrays share, and wherever the elements begin in the bias."""
    n, dtype = 7 * WORDS + 3, np.dtype("f4")
    rng = np.random.default_rng(0)
    x, other = rng.standard_normal((2, n)).astype(dtype)
    bias = rng.standard_normal(period).astype(dtype)
    window = anydrop.Window((0, 2), (29, 40))
    rows = anydrop.Mask.from_seed((29, 31), 0.5, seed=0, window=window)
    masks = anydrop.Mask.from_seed((n,), 0.5, seed=0), rows
    assert n == 29 * 31
    for mask, start in itertools.product(masks, (0, 5, WORDS)):
        placement = mask.placement
        results = []
        for module in (chunked, compiled):
            y = other.copy()
            second = {"apart": other, "x": x, "y": y}[residual]
            draw = module.summing((dtype, dtype), placement, KEPT, 1.5, bias)
            draw(x[start:], second[start:], y[start:], start, KEY, STEP, placement.first)
            results.append(bits(y))
        assert results[0] == results[1], start


@pytest.mark.parametrize("place", [0, 2, 5, WORDS - 1, WORDS + 3])
def test_a_word_that_is_the_threshold_survives(place):
    """In a mask, in a selection and in a sum; one that is less by one does not."""
    n = 2 * WORDS + 8
    placement = anydrop.Mask.from_seed((n,), 0.5, seed=0).placement
    words, ones = np.empty(n, "u4"), np.ones(n, "f4")
    chunked.kernel(words.dtype, placement)(words, words, 0, KEY, STEP, 0)
    for least in (int(words[place]), int(words[place]) + 1):
        expected = words >= least
        for module in (chunked, compiled):
            keep, y, total = np.empty(n, bool), ones.copy(), ones.copy()
            module.kernel(keep.dtype, placement, least)(keep, keep, 0, KEY, STEP, 0)
            module.kernel(y.dtype, placement, least)(y, y, 0, KEY, STEP, 0)
            draw = module.summing((y.dtype, y.dtype), placement, least, 1.0)
            draw(ones, ones, total, 0, KEY, STEP, 0)
            assert np.array_equal(keep, expected)
            assert np.array_equal(y, expected)
            assert np.array_equal(total, 1 + expected)
