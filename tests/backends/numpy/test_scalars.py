"""Arrays of no dimensions in the other byte order, of which operators make scalars in their own."""

import numpy as np
import pytest

import anydrop

CALLS = {
    "dropout": lambda x: anydrop.dropout(x, 0.5, seed=1),
    "a generator's": lambda x: anydrop.dropout(x, 0.5, rng=np.random.default_rng(0)),
    "inference": lambda x: anydrop.dropout(x, 0.5, training=False, scaling="inference"),
    "gaussian": lambda x: anydrop.gaussian_dropout(x, 0.5, seed=1),
    "noise": lambda x: anydrop.gaussian_noise(x, 0.5, seed=1),
    "zoneout": lambda x: anydrop.zoneout(x, -x.reshape(()), 0.5, seed=1),
    "dropout_add": lambda x: anydrop.dropout_add(x, x.reshape(()), 0.5, bias=-x, seed=1),
    "zoneout at inference": lambda x: anydrop.zoneout(x, x, 0.5, training=False),
    "copies": lambda x: anydrop.drop_connect(x, 0.5, examples=3, seed=1),
    "weights of copies": lambda x: anydrop.drop_connect(
        x, 0.5, examples=3, seed=1, return_mask=True
    )[1].apply(np.full(3, x)),
    "gradient": lambda x: anydrop.gaussian_dropout(x, 0.5, seed=1, return_mask=True)[1].apply(x),
    "tokens": lambda x: anydrop.token_dropout(np.asarray(7, ">i4"), 0.5, token=1, seed=1),
}


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8", ">c8", ">c16"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_result_has_the_byte_order_of_its_array(call, dtype):
    if dtype[1] == "c" and call is CALLS["noise"]:
        dtype = ">f8"
    x = np.asarray(3, dtype)
    y = call(x)
    assert type(y) is np.ndarray
    assert y.dtype == (np.dtype(">i4") if call is CALLS["tokens"] else x.dtype)
    assert y.dtype.byteorder == ">"
    assert np.array_equal(y, call(x.astype(dtype[1:])))
