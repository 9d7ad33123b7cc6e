"""cubed, which the array API's own code serves: its arrays, and those that are refused."""

import numpy as np
import pytest
from subjects import available

import anydrop

if not available("cubed"):
    pytest.skip(
        "cubed is not installed here; nox -s tests-strict runs this", allow_module_level=True
    )
import cubed
import cubed.array_api as xp

SHAPE = (4, 6)
OTHER = cubed.Spec(allowed_mem="500MB")
REFUSAL = r" was made with spec=.*cubed\.config\.set\({'spec\.allowed_mem': 500000000}\)"


def array(spec=None):
    return xp.ones(SHAPE, dtype=xp.float32, chunks=(2, 6), spec=spec)


def test_the_mask_is_numpys():
    y = anydrop.dropout(array(), 0.5, seed=0, step=3)
    expected = anydrop.dropout(np.ones(SHAPE, np.float32), 0.5, seed=0, step=3)
    np.testing.assert_array_equal(y.compute(), expected)


def test_a_digest_is_numpys():
    mask = anydrop.Mask.from_seed((5,), 0.5, seed=0)
    assert mask.digest(like=array()) == mask.digest()


@pytest.mark.parametrize(
    "call",
    [
        anydrop.dropout,
        anydrop.gaussian_dropout,
        anydrop.alpha_dropout,
        lambda x, p, seed: anydrop.token_dropout(xp.astype(x, xp.int32), p, token=0, seed=seed),
        anydrop.stochastic_depth,
        lambda x, p, **draw: anydrop.zoneout(x, x, p, **draw),
        lambda x, p, seed: anydrop.Dropout(p, seed=seed)(x),
    ],
)
def test_a_spec_of_ones_own_is_refused(call):
    with pytest.raises(ValueError, match="x" + REFUSAL):
        call(array(OTHER), 0.5, seed=0)


def test_a_second_array_is_checked_too():
    with pytest.raises(ValueError, match="previous" + REFUSAL):
        anydrop.zoneout(array(), array(OTHER), 0.5, seed=0)

    with pytest.raises(ValueError, match="residual" + REFUSAL):
        anydrop.dropout_add(array(), array(OTHER), 0.5, seed=0)
    with pytest.raises(ValueError, match="bias" + REFUSAL):
        anydrop.dropout_add(array(), array(), 0.5, bias=array(OTHER), seed=0)


def test_a_sum_is_numpys():
    x = np.linspace(-1, 1, 24, dtype="f4").reshape(SHAPE)
    lazy = xp.asarray(x, chunks=(2, 6))
    y, mask = anydrop.dropout_add(lazy, lazy, 0.5, bias=lazy[0, :], seed=0, return_mask=True)
    expected, numpys = anydrop.dropout_add(x, x, 0.5, bias=x[0], seed=0, return_mask=True)
    np.testing.assert_array_equal(y.compute(), expected)
    for ours, theirs in zip(mask.apply(lazy), numpys.apply(x), strict=True):
        np.testing.assert_array_equal(ours.compute(), theirs)


def test_what_the_message_says_works():
    with cubed.config.set({"spec.allowed_mem": OTHER.allowed_mem}):
        y = anydrop.dropout(array(), 0.5, seed=0)
        assert y.spec.allowed_mem == OTHER.allowed_mem
