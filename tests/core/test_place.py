"""Steps and offsets that are arrays: which stay as they are, and what is kept of the caller's."""

import re

import numpy as np
import pytest
from subjects import needs_strict

import anydrop
from anydrop import Dropout, Mask, Window
from anydrop.core import place

X = np.ones(8, "f4")


class Traced:
    """Stands for an integer array whose value nobody can tell yet."""

    dtype, shape = "int64", ()

    def __mul__(self, one):
        return self


def recipe(step=3, offset=(2, 5)):
    window = Window(offset, (20, 30))
    return Mask.from_seed((4, 6), 0.5, seed=0, step=step, window=window)


def test_a_place_of_ints_is_known():
    known = recipe()
    assert place.parts(known) == (3, 2, 5)
    assert place.is_known(known)
    assert place.known(known) is known
    assert place.parts(Mask.from_seed((4,), 0.5, seed=0, step=7)) == (7,)


def test_what_is_traced_stays_if_its_backend_says_so():
    traced = Traced()
    for given in (recipe(step=traced), recipe(offset=(traced, 5)), recipe(traced, (2, traced))):
        assert not place.is_known(given)
        assert place.known(given, stays=lambda value: value is traced) == given
        with pytest.raises(TypeError, match="must be an int here, or an integer scalar array of"):
            place.known(given)


@needs_strict
def test_arrays_of_known_value_become_ints():
    import array_api_strict as xp

    given = recipe(xp.asarray([5, 1]), (xp.asarray(2), 5))
    assert place.known(given) == recipe(5 + 2**32)
    traced = Traced()
    half = place.known(recipe(xp.asarray(3), (traced, xp.asarray(5))), lambda v: v is traced)
    assert half == recipe(offset=(traced, 5))
    message = "an array of shape (4, 6) at offset (2, 25) does not fit"
    with pytest.raises(ValueError, match=re.escape(message)):
        place.known(recipe(offset=(2, xp.asarray(25))))


@needs_strict
def test_an_owner_may_go_on_counting_in_place():
    import array_api_strict as xp

    step, start = xp.asarray(3), xp.asarray(2)
    layer = Dropout(0.5, seed=0)
    layer.step = step
    window = Window((start,), (20,))
    y, mask = anydrop.dropout(X, 0.5, seed=0, step=step, window=window, return_mask=True)
    step += 1
    start += 1
    assert np.array_equal(mask.apply(X), y)
    assert int(layer.step) == 3


@needs_strict
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bool", "complex64"])
def test_an_array_that_is_no_integer(dtype, training):
    import array_api_strict as xp

    wrong = xp.asarray(1, dtype=getattr(xp, dtype))
    message = r" must be an int, or an integer array, got array_api_strict\..* of dtype .*"
    with pytest.raises(TypeError, match=f"step{message}{dtype}"):
        anydrop.dropout(X, 0.5, seed=0, step=wrong, training=training)
    with pytest.raises(TypeError, match=f"window offset{message}{dtype}"):
        anydrop.dropout(X, 0.5, seed=0, window=((wrong,), (20,)), training=training)
