"""Monte Carlo: its statistics, its samples, and that it leaves everything as it was."""

import copy
import itertools
import tracemalloc
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
from numpy.random import SeedSequence

import anydrop
from anydrop import Dropout, monte_carlo
from anydrop.schedules import Linear
from anydrop.testing.reference import keep

TEXT = np.random.default_rng(7).standard_normal((5, 3)).astype("f4")


def child(seed, i):
    """Another way to the seed of layer i."""
    return SeedSequence(seed).spawn(i + 1)[i]


def by_hand(x, ps, samples, seed):
    """What dropout layers one after another make of x, by the reference's masks."""
    for step in range(samples):
        y = x.astype("c16" if x.dtype.kind == "c" else "f8")
        for i, p in enumerate(ps):
            kept = keep(x.shape, p, seed=child(seed, i), step=step)
            y = np.where(kept, y / (1 - p), 0)
        yield y


def double(subject):
    """Without it JAX has no float64."""
    if subject.backend.name != "jax":
        return nullcontext()
    import jax

    return jax.enable_x64(True)


def softmax(logits):
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def entropy(p):
    return -(p * np.log(np.maximum(p, 1e-300))).sum(-1)


# Statistics -------------------------------------------------------------------------------------


def test_closed_form():
    """Of a linear model, within 5 standard errors, of the mean and of the variance.

    Were the stream random, a right one would fail one run in 800,000. The variance's own error is
    that of a sum of many, which is nearly normal: std * sqrt(2 / samples).
    """
    rng = np.random.default_rng(0)
    x, w, p, samples = rng.standard_normal(200), rng.standard_normal(200), 0.3, 4000
    drop = Dropout(p, seed=0)
    result = monte_carlo(lambda x: drop(x) @ w, x, samples=samples, seed=1)
    variance = p / (1 - p) * ((w * x) ** 2).sum()
    assert abs(result.mean - w @ x) < 5 * (variance / samples) ** 0.5
    assert abs(result.std**2 - variance) < 5 * variance * (2 / samples) ** 0.5
    assert result.entropy is result.mutual_information is None
    assert result.samples == samples


def test_values(subject):
    """Two layers: layer i draws from child i, sample t at step t."""
    first, second = Dropout(0.5, seed=3), Dropout(0.2, seed=3)
    x = subject.array(TEXT)
    result = monte_carlo(lambda x: second(first(x)), x, samples=8, seed=42)
    expected = np.stack(list(by_hand(TEXT, (0.5, 0.2), 8, 42)))
    for got, wanted in ((result.mean, expected.mean(0)), (result.std, expected.std(0))):
        assert type(got) is type(x)
        got = subject.numpy(got)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("logits", [True, False])
def test_classes(subject, logits):
    if logits and subject.name == "dask-uneven":
        pytest.skip("Dask takes no maximum of empty chunks, and a softmax needs one")
    drop = Dropout(0.5, seed=3)
    scores = np.stack(list(by_hand(TEXT * 3, (0.5,), 8, 42)))
    probabilities = softmax(scores)
    if logits:
        result = monte_carlo(drop, subject.array(TEXT * 3), samples=8, seed=42, outputs="logits")
    else:
        given = iter([subject.array(p.astype("f4")) for p in probabilities])

        def predict(x):
            drop(x)
            return next(given)

        x = subject.array(TEXT)
        result = monte_carlo(predict, x, samples=8, seed=42, outputs="probabilities")
    mean = probabilities.mean(0)
    expected = {
        "mean": mean,
        "std": probabilities.std(0),
        "entropy": entropy(mean),
        "mutual_information": entropy(mean) - entropy(probabilities).mean(0),
    }
    assert (expected["mutual_information"] > 0.01).all()
    for name, wanted in expected.items():
        got = subject.numpy(getattr(result, name))
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6, err_msg=name)


def test_dtypes(subject_and_dtype):
    """Half types are summed in float32, and the std of complex numbers is real."""
    subject, dtype = subject_and_dtype
    kind = dtype.kind if dtype.name != "bfloat16" else "f"
    x = (TEXT + (1j * TEXT[::-1] if kind == "c" else 0)).astype(dtype)
    with double(subject):
        result = monte_carlo(Dropout(0.5, seed=0), subject.array(x), samples=4, seed=42)
    expected = np.stack(list(by_hand(x, (0.5,), 4, 42)))
    mean, std = subject.numpy(result.mean), subject.numpy(result.std)
    wide = np.float32 if dtype.itemsize == 2 else dtype
    assert mean.dtype == wide
    assert std.dtype == np.empty(0, wide).real.dtype
    np.testing.assert_allclose(mean, expected.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(std, expected.std(0), rtol=1e-5, atol=1e-6)


def test_classes_on_another_axis():
    drop, x = Dropout(0.5, seed=0), TEXT.astype("f8")
    ours = monte_carlo(drop, x, samples=5, seed=0, outputs="logits", axis=0)
    p = np.stack([softmax(y.T) for y in by_hand(x, (0.5,), 5, 0)])
    np.testing.assert_allclose(ours.mean, p.mean(0).T)
    np.testing.assert_allclose(ours.entropy, entropy(p.mean(0)))


def test_sure_classes():
    """Probabilities of 0, logits that are huge or forbid a class, and no noise but rounding."""
    drop = Dropout(0.5, seed=0)

    def predict(y, x):
        drop(x)
        return y

    sure = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    given = {"samples": 3, "seed": 0}
    result = monte_carlo(partial(predict, sure), TEXT, outputs="probabilities", **given)
    assert not result.entropy.any()
    assert not result.mutual_information.any()
    logits = np.array([[1000.0, -1000.0, 0.0], [2.0, -np.inf, 2.0]])
    result = monte_carlo(partial(predict, logits), TEXT, outputs="logits", **given)
    np.testing.assert_allclose(result.mean, [[1, 0, 0], [0.5, 0, 0.5]])
    np.testing.assert_allclose(result.entropy, [0, np.log(2)])


def test_information_is_never_negative():
    """Of samples that differ by a millionth it is some 1e-12; its rounding in float32 is more."""
    drop, rng = Dropout(0.5, seed=0), np.random.default_rng(0)
    many = 1e-3 * (1 + 1e-6 * rng.standard_normal((7, 200, 1000)))
    given = iter(many.astype("f4"))

    def predict(x):
        drop(x)
        return next(given)

    result = monte_carlo(predict, TEXT, samples=7, seed=0, outputs="probabilities")
    information = result.mutual_information
    exact = entropy(many.mean(0)) - entropy(many).mean(0)
    assert exact.max() < 1e-11
    assert information.dtype == np.float32
    assert 1e-8 < information.max() < 1e-5  # rounding upwards stays
    assert information.min() == 0
    assert (information == 0).sum() > 20


def test_a_small_spread_beside_a_large_mean():
    """Where the mean of squares less the square of the mean would be nothing but rounding."""
    drop = Dropout(0.5, seed=0)
    x = np.ones(4, "f4")
    result = monte_carlo(lambda x: drop(x) + np.float32(1e5), x, samples=16, seed=0)
    expected = np.stack(list(by_hand(x, (0.5,), 16, 0)))
    np.testing.assert_allclose(result.std, expected.std(0), rtol=1e-3)


def test_one_sample():
    x = np.ones(50)
    result = monte_carlo(Dropout(0.5, seed=0), x, samples=1, seed=0)
    assert np.array_equal(result.mean, next(by_hand(x, (0.5,), 1, 0)))
    assert not result.std.any()


def test_outputs_in_one_buffer():
    drop, buffer = Dropout(0.5, seed=0), np.empty(50)

    def predict(x):
        buffer[:] = drop(x)
        return buffer

    x = np.ones(50)
    result = monte_carlo(predict, x, samples=4, seed=0)
    np.testing.assert_allclose(result.mean, np.mean(list(by_hand(x, (0.5,), 4, 0)), axis=0))


def test_memory_does_not_grow():
    drop, x = Dropout(0.5, seed=0), np.ones(100_000)

    def peak(samples):
        tracemalloc.start()
        monte_carlo(drop, x, samples=samples, seed=0)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(60)  # within which numba is imported, once so much has been drawn that it pays
    assert peak(60) < 1.05 * peak(4)
    assert peak(4) < 10 * x.nbytes


# Samples ----------------------------------------------------------------------------------------


def test_same_seed_same_result():
    drop = Dropout(0.5, seed=0)
    results = [monte_carlo(drop, TEXT, samples=3, seed=s).mean for s in (0, 0, 1)]
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])
    drop(TEXT)  # what the layer did before plays no part
    assert np.array_equal(results[0], monte_carlo(drop, TEXT, samples=3, seed=0).mean)


@pytest.mark.parametrize(
    "seed",
    [
        *(5, (1, 2), SeedSequence(5), SeedSequence(5, spawn_key=(3,))),
        SeedSequence(5, pool_size=8),
    ],
)
def test_seeds(seed):
    parent = seed if isinstance(seed, SeedSequence) else SeedSequence(seed)
    given = copy.deepcopy(parent).spawn(1)[0]
    kept = keep((50,), 0.5, seed=given, step=0)
    before = parent.n_children_spawned
    result = monte_carlo(Dropout(0.5, seed=0), np.ones(50), samples=1, seed=seed)
    assert np.array_equal(result.mean != 0, kept)
    assert parent.n_children_spawned == before


def test_a_layer_that_is_called_twice_repeats_no_mask():
    """As in a recurrent network; over samples too."""
    drop, seen = Dropout(0.5, seed=0), []

    def predict(x):
        seen.extend((drop(x) != 0).tobytes() for _ in range(3))
        return x

    monte_carlo(predict, np.ones(64), samples=4, seed=9)
    steps = [keep((64,), 0.5, seed=child(9, 0), step=t).tobytes() for t in range(12)]
    assert seen == steps
    assert len(set(seen)) == 12


def test_step_and_seed_as_keywords():
    given = []

    def predict(x, *, step, seed=0):
        given.append((step, seed))
        return anydrop.dropout(x, 0.5, seed=seed, step=step)

    result = monte_carlo(predict, np.ones(50), samples=3, seed=8)
    assert given == [(0, 8), (1, 8), (2, 8)]
    masks = [keep((50,), 0.5, seed=8, step=t) for t in range(3)]
    np.testing.assert_allclose(result.mean, 2 * np.mean(masks, axis=0))
    given.clear()
    monte_carlo(partial(predict, seed=1), np.ones(50), samples=2, seed=8)  # settled already
    assert given == [(0, 1), (1, 1)]


def test_a_schedule_stays_where_it_is():
    """Of p, from 0 to 0.5: samples begin at step 0, and the layer's training is over."""
    drop = Dropout(Linear(0.0, 0.5, steps=10), seed=0)
    drop.step = 10
    x = np.ones(50)
    result = monte_carlo(drop, x, samples=4, seed=0)
    np.testing.assert_allclose(result.mean, np.mean(list(by_hand(x, (0.5,), 4, 0)), axis=0))
    assert drop.p == Linear(0.0, 0.5, steps=10)


def test_only_the_layers_that_are_named():
    """The others are at inference meanwhile, and keep their place."""
    first, second = Dropout(0.5, seed=0), Dropout(0.2, seed=0)
    x = np.ones(50)
    result = monte_carlo(lambda x: second(first(x)), x, samples=4, seed=0, layers=[second, second])
    np.testing.assert_allclose(result.mean, np.mean(list(by_hand(x, (0.2,), 4, 0)), axis=0))
    assert (first.step, first.training, second.step) == (0, True, 0)


# Afterwards -------------------------------------------------------------------------------------


def layers():
    """In all states that a layer can be in."""
    yield Dropout(0.5, seed=3)
    yield Dropout(0.5, seed=3).eval()
    yield Dropout(0.5, rng=np.random.default_rng(0))
    used = Dropout(Linear(0.1, 0.5, steps=9), seed=SeedSequence(3))
    used(TEXT)
    yield used


class Stop(BaseException):
    """As KeyboardInterrupt, which is no Exception."""


@pytest.mark.parametrize("error", [None, Stop, ValueError])
def test_layers_are_as_they_were(error):
    for drop in layers():
        before, mask = drop.__dict__.copy(), drop.mask
        options, calls = drop._options.copy(), itertools.count()

        def predict(x, drop=drop, calls=calls):
            assert drop.training
            drop.p = 0.25  # whatever the model does meanwhile
            if error and next(calls) == 2:
                raise error
            return drop(x)

        if error:
            with pytest.raises(error):
                monte_carlo(predict, TEXT, samples=5, seed=0)
        else:
            monte_carlo(predict, TEXT, samples=5, seed=0)
        assert drop.__dict__ == before
        assert drop._options == options
        assert drop.mask is mask is None or np.array_equal(drop.mask, mask)


def test_a_generator_is_asked_for_nothing():
    rng = np.random.default_rng(0)
    drop = Dropout(0.5, rng=rng)
    before = rng.bit_generator.state
    monte_carlo(drop, TEXT, samples=3, seed=0)
    assert rng.bit_generator.state == before


class Module:
    """As PyTorch's: setting its mode sets its parts'."""

    def __init__(self, training, *parts):
        self.parts, self.seen = parts, []
        self.training = training

    def train(self, mode=True):
        self.training = mode
        for part in self.parts:
            part.train(mode)
        return self

    def eval(self):
        return self.train(False)

    def __call__(self, x):
        self.seen.append(self.training)
        for part in self.parts:
            x = part(x)
        return x


@pytest.mark.parametrize("modes", list(itertools.product([True, False], repeat=3)))
def test_other_modules_are_at_inference(modes):
    """And then in the modes that they had, in whatever order they are found."""
    drop = Dropout(0.5, seed=0).train(modes[0])
    norm = Module(modes[1])
    model = Module(modes[2], norm, drop)
    norm.training, drop._training = modes[1], modes[0]
    for predict in (model, lambda x, found_first=norm: model(x)):
        result = monte_carlo(predict, TEXT, samples=3, seed=0)
        np.testing.assert_allclose(
            result.mean, np.mean(list(by_hand(TEXT, (0.5,), 3, 0)), axis=0), rtol=1e-5
        )
        assert (drop.training, norm.training, model.training) == modes
    assert not any(norm.seen + model.seen)


def test_a_bar(capsys):
    pytest.importorskip("rich", reason="rich is not installed here; nox -s tests-numpy runs this")
    monte_carlo(Dropout(0.5, seed=0), TEXT, samples=3, seed=0, progress=True)
    printed = capsys.readouterr().out
    assert "Monte Carlo" in printed
    assert "100%" in printed
    monte_carlo(Dropout(0.5, seed=0), TEXT, samples=3, seed=0)
    assert capsys.readouterr().out == ""
