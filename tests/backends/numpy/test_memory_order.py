"""A result has the memory order of ``np.empty_like``, whatever was called."""

import numpy as np
import pytest
from memory_orders import CASES, calls, laid_out

import anydrop


@pytest.mark.parametrize("dtype", ["f4", "f2", "c8", ">f8"])
@pytest.mark.parametrize(("variant", "order"), CASES.values(), ids=CASES)
def test_a_result_is_laid_out_as_its_array(variant, order, dtype):
    if variant.whole or "alpha" in variant.name or "noise" in variant.name:
        dtype = "f4"  # they take no complex ones, or no numbers
    x = laid_out(variant.input(dtype), order)
    for keywords in calls(variant, lambda: np.random.default_rng(0)):
        y, mask = variant(x, **keywords, return_mask=True)
        assert y.strides == np.empty_like(x).strides, keywords
        if "rng" not in keywords:
            assert np.array_equal(y, variant(np.ascontiguousarray(x), **keywords))
        if mask is None or variant.whole:
            continue
        gradients = mask.apply(laid_out(np.ones_like(x), order))
        # The third is of a bias, in a shape of its own.
        for dx in gradients[:2] if isinstance(gradients, tuple) else (gradients,):
            assert dx.strides == x.strides, keywords


@pytest.mark.parametrize("training", [True, False])
def test_states_in_two_orders(training):
    """The new one's counts."""
    new, previous = np.ones((3, 4), order="F"), np.zeros((3, 4))
    for a, b in ((new, previous), (previous, new)):
        y = anydrop.zoneout(a, b, 0.5, seed=0, training=training)
        assert y.strides == a.strides
