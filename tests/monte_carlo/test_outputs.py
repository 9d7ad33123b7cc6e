"""The outputs of all passes, beside what they tell together."""

import copy
import pickle
from collections import namedtuple

import numpy as np
import pytest

import anydrop
from anydrop import Dropout, MonteCarlo, monte_carlo

X = np.random.default_rng(7).standard_normal((5, 3)).astype("f4")


def drawn(samples):
    """What one layer makes of X, by the function."""
    child = np.random.SeedSequence(3).spawn(1)[0]
    return np.stack([anydrop.dropout(X, 0.5, seed=child, step=t) for t in range(samples)])


@pytest.mark.parametrize("outputs", ["values", "logits"])
def test_the_outputs_of_all_passes(subject, outputs):
    """As predict returned them: logits too."""
    if outputs == "logits" and subject.name == "dask-uneven":
        pytest.skip("Dask takes no maximum of empty chunks, and a softmax needs one")
    call = {"samples": 4, "seed": 3, "outputs": outputs}
    x = subject.array(X)
    result = monte_carlo(Dropout(0.5, seed=0), x, return_samples=True, **call)
    assert subject.backend.owns(result.outputs)
    got = subject.numpy(result.outputs)
    assert got.dtype == np.float32
    assert np.array_equal(got, drawn(4))
    without = monte_carlo(Dropout(0.5, seed=0), x, **call)
    assert without.outputs is None
    for one, other in zip(result[:4], without[:4], strict=True):
        assert (one is None) is (other is None)
        if one is not None:
            assert np.array_equal(subject.numpy(one), subject.numpy(other))


def test_half_types_stay():
    x = X.astype("f2")
    result = monte_carlo(Dropout(0.5, seed=0), x, samples=4, seed=3, return_samples=True)
    assert (result.outputs.dtype, result.mean.dtype) == (np.float16, np.float32)


def test_outputs_in_one_buffer():
    drop, buffer = Dropout(0.5, seed=0), np.empty_like(X)

    def predict(x):
        buffer[:] = drop(x)
        return buffer

    result = monte_carlo(predict, X, samples=4, seed=3, return_samples=True)
    assert np.array_equal(result.outputs, drawn(4))


def test_the_tuple_has_five():
    result = monte_carlo(Dropout(0.5, seed=0), X, samples=4, seed=3, return_samples=True)
    mean, std, entropy, mi, samples = result
    assert mean is result.mean
    assert std is result.std
    assert entropy is mi is None
    assert samples == result.samples == 4
    assert result._fields == ("mean", "std", "entropy", "mutual_information", "samples")
    assert result == tuple(result)
    like = namedtuple("MonteCarlo", result._fields)(*result)
    assert repr(result) == repr(like)


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, *(lambda r, n=n: pickle.loads(pickle.dumps(r, n)) for n in (2, 5))],
    ids=["copy", "deepcopy", "pickle 2", "pickle 5"],
)
def test_copies_keep_the_outputs(duplicate):
    result = monte_carlo(Dropout(0.5, seed=0), X, samples=4, seed=3, return_samples=True)
    twin = duplicate(result)
    assert type(twin) is MonteCarlo
    assert np.array_equal(twin.outputs, result.outputs)
    assert np.array_equal(twin.mean, result.mean)
    assert duplicate(MonteCarlo(*result)).outputs is None


def test_return_samples_is_a_switch():
    message = "return_samples must be True or False, got int 4"
    with pytest.raises(TypeError, match=message):
        monte_carlo(Dropout(0.5, seed=0), X, samples=4, seed=3, return_samples=4)


def test_certainty_is_zero_and_not_minus_zero():
    sure = np.asarray([[1.0, 0.0], [0.0, 1.0]])
    drop = Dropout(0.5, seed=0)
    result = monte_carlo(
        lambda x: sure + 0 * drop(x), sure, samples=3, seed=0, outputs="probabilities"
    )
    assert not np.signbit(result.entropy).any()
    assert not result.entropy.any()
