"""Sums and averages of half types are computed in float32, and rounded once."""

import numpy as np
import pytest
from devices import of_each_dtype, parameters
from subjects import serving

import anydrop
from anydrop.testing.reference import keep, select
from anydrop.testing.subject import dtype_of

# Half a unit in the last place, relative to a number.
ROUNDED = {"float16": 2.0**-11, "bfloat16": 2.0**-8}


def of_each_half(subject):
    return [pair for pair in of_each_dtype(subject) if subject.namespace and pair.dtype in ROUNDED]


@pytest.fixture(params=parameters(of_each_half))
def halves(request, monkeypatch):
    """Return a subject that composes functions, one of its half types, and that type's rounding."""
    subject, name = request.param
    return serving(monkeypatch, subject), dtype_of(name), ROUNDED[name]


def rounded_once(got, exact, rounding, wide):
    """Tell whether numbers are exact ones, rounded to a half type after `wide` in float32."""
    return np.all(np.abs(got.astype("f8") - exact) <= np.abs(exact) * (rounding + wide))


def test_half_gradients_of_copies_are_summed_in_float32(halves):
    """300 of them: a sum in a half type loses more than the last rounding does."""
    subject, dtype, rounding = halves
    gradient = (1 + np.random.default_rng(0).random((300, 20))).astype(dtype)
    weights = subject.array(np.ones(20, dtype))
    _, copies = anydrop.drop_connect(weights, 0.3, examples=300, seed=1, step=2, return_mask=True)
    kept = keep((300, 20), 0.3, seed=1, step=2)
    exact = select(gradient, kept, 1 / 0.7).astype("f8").sum(axis=0)
    got = subject.numpy(copies.apply(subject.array(gradient)))
    assert got.dtype == dtype
    assert rounded_once(got, exact, rounding, 300 * 2.0**-24)
    one_by_one = np.zeros(20, dtype)
    for row in select(gradient, kept, 1 / 0.7):
        one_by_one = one_by_one + row
    assert not rounded_once(one_by_one, exact, rounding, 300 * 2.0**-24)


@pytest.mark.parametrize("p", [0.1, 0.3])
def test_half_expectations_of_zoneout_are_rounded_once(halves, p):
    subject, dtype, rounding = halves
    rng = np.random.default_rng(0)
    new, previous = ((1 + rng.random(2000)).astype(dtype) for _ in range(2))
    y = anydrop.zoneout(subject.array(new), subject.array(previous), p, training=False)
    got = subject.numpy(y)
    exact = (1 - p) * new.astype("f8") + p * previous.astype("f8")
    assert got.dtype == dtype
    assert rounded_once(got, exact, rounding, 4 * 2.0**-24)
    each = select(new, True, 1 - p) + select(previous, True, p)
    assert not rounded_once(each, exact, rounding, 4 * 2.0**-24)
