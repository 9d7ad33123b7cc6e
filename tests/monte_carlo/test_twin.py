"""In a run a twin draws in a layer's place, and a layer without one must not draw."""

import copy
import threading

import numpy as np
import pytest
from numpy.random import SeedSequence

import anydrop
from anydrop import Dropout, monte_carlo
from anydrop.core.runs import RUNS
from anydrop.testing.reference import keep

X = np.ones(64)


def by_hand(samples, p=0.5, seed=0, child=0):
    """The mean of what one layer draws."""
    given = SeedSequence(seed).spawn(child + 1)[child]
    return np.mean([keep(X.shape, p, seed=given, step=t) for t in range(samples)], axis=0) / (1 - p)


def test_the_layer_itself_is_not_touched():
    """But for the twin: nothing has to be set back, whatever happens."""
    drop = Dropout(0.5, seed=3)
    drop(X)
    before = {name: value for name, value in vars(drop).items() if name != "_twin"}

    def predict(x):
        y = drop(x)
        assert drop.step > 0
        assert {name: value for name, value in vars(drop).items() if name != "_twin"} == before
        return y

    monte_carlo(predict, X, samples=3, seed=0)
    assert drop.step == 1


class Doubled(anydrop.DropLayer):
    _function = staticmethod(anydrop.dropout)

    def forward(self, x, training=None):
        return 2 * super().forward(x, training)

    __call__ = forward


def test_an_overridden_forward_runs_once():
    result = monte_carlo(Doubled(0.5, seed=3), X, samples=4, seed=0)
    np.testing.assert_allclose(result.mean, 2 * by_hand(4))


def test_what_a_model_asks_its_layer_in_a_run():
    drop, seen = Dropout(0.5, seed=3), []

    def predict(x):
        y = drop(x)
        assert drop.mask is not None
        assert drop.recipe.step == drop.step - 1
        assert drop.training
        assert np.array_equal(drop.backward(x), y)
        seen.append((drop.step, drop.seed.spawn_key))
        return y

    monte_carlo(predict, X, samples=2, seed=0)
    assert seen == [(1, (0,)), (2, (0,))]
    assert (drop.step, drop.seed, drop.mask) == (0, 3, None)


def test_a_run_within_a_run():
    drop = Dropout(0.5, seed=3)

    def predict(x):
        inner = monte_carlo(drop, x, samples=2, seed=1).mean
        np.testing.assert_allclose(inner, by_hand(2, seed=1))
        return drop(x)

    np.testing.assert_allclose(monte_carlo(predict, X, samples=3, seed=0).mean, by_hand(3))
    assert not RUNS


# Layers that were not found ---------------------------------------------------------------------


def missed(predict, **keywords):
    with pytest.raises(RuntimeError) as caught:
        monte_carlo(predict, X, samples=2, **{"seed": 0, **keywords})
    assert not RUNS
    return str(caught.value)


def hide(layer):
    """Where nobody looks: in an array of objects."""
    hidden = np.empty(1, object)
    hidden[0] = layer
    return hidden


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("calls", [1, 3])
def test_a_layer_that_was_not_found(training, calls):
    """Also one that knows the call by heart, and one at inference, which was to draw as well."""
    drop = Dropout(0.5, seed=0)
    layer = Dropout(0.25, seed=7)
    for _ in range(calls):
        layer(X)
    hidden, before = hide(layer.train(training)), repr(layer)
    message = missed(lambda x: hidden[0](drop(x)))
    assert message.startswith(f"monte_carlo did not find {before}, which predict calls: ")
    assert "as layers=[...]" in message
    assert repr(layer) == before
    assert (drop.seed, drop.step) == (0, 0)
    named = monte_carlo(lambda x: hidden[0](drop(x)), X, samples=2, seed=0, layers=[drop, layer])
    assert named.std.any()


@pytest.mark.parametrize(
    ("layer", "more"),
    [
        (anydrop.Zoneout(0.5, seed=0), {"previous": X}),
        (anydrop.DropoutAdd(0.5, seed=0), {"residual": X, "bias": X}),
        (anydrop.DropConnect(0.5, seed=0), {"examples": 2}),
        (Doubled(0.5, seed=0), {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_with_a_forward_of_their_own(layer, more):
    drop, hidden = Dropout(0.5, seed=0), hide(layer)
    assert "did not find" in missed(lambda x: hidden[0](drop(x), **more))


def test_a_layer_in_another_layer():
    outer = Doubled(0.5, seed=0)
    outer.inner = Dropout(0.5, seed=7)
    assert "did not find" in missed(lambda x: outer.inner(outer(x)))
    call = {"samples": 2, "seed": 0, "layers": [outer, outer.inner]}
    assert monte_carlo(lambda x: outer.inner(outer(x)), X, **call).std.any()


def test_a_layer_that_is_made_anew():
    """Or a copy of one: each would be at its first step in every sample."""
    drop = Dropout(0.5, seed=0)
    message = missed(lambda x: Dropout(0.5, seed=1)(drop(x)))
    assert "instead of a layer that predict creates call the function with step=" in message
    assert "did not find" in missed(lambda x: copy.deepcopy(drop)(x))


def test_a_layer_that_was_not_named():
    """It may be called at inference, as was asked for, and not draw."""
    drop, other = Dropout(0.5, seed=0), Dropout(0.5, seed=7)
    assert "did not find" in missed(lambda x: other(drop(x), training=True), layers=[drop])
    hidden = hide(other)
    assert "did not find" in missed(lambda x: hidden[0](drop(x)), layers=[drop])
    other.eval()
    result = monte_carlo(lambda x: hidden[0](drop(x)), X, samples=4, seed=0, layers=[drop])
    np.testing.assert_allclose(result.mean, by_hand(4))
    assert other.step == 0


def test_a_layer_that_is_told_not_to_draw():
    drop, hidden = Dropout(0.5, seed=0), hide(Dropout(0.5, seed=7))
    for off in (False, np.False_):
        result = monte_carlo(lambda x, off=off: hidden[0](drop(x), off), X, samples=4, seed=0)
        np.testing.assert_allclose(result.mean, by_hand(4))


def test_other_threads():
    """Layers of their own draw there as ever, and those of the run from their twins."""
    drop, own, seen = Dropout(0.5, seed=0), Dropout(0.5, seed=7), []
    expected = [np.where(keep(X.shape, 0.5, seed=7, step=t), 2.0, 0.0) for t in range(6)]
    hidden = hide(own)

    def elsewhere():
        seen.extend([hidden[0](X), hidden[0](X), drop(X)])

    def predict(x):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        return x

    monte_carlo(predict, X, samples=3, seed=0, layers=[drop])
    assert np.array_equal([y for i, y in enumerate(seen) if i % 3 < 2], expected)
    np.testing.assert_allclose(np.mean(seen[2::3], axis=0), by_hand(3))


def test_an_input_that_is_called_as_a_keyword_is():
    drop = Dropout(0.5, seed=0)
    by_another_name = monte_carlo(lambda x: drop(x), np.ones(9), samples=5, seed=0)
    for predict in (lambda seed: drop(seed), lambda step: drop(step)):
        result = monte_carlo(predict, np.ones(9), samples=5, seed=0)
        assert np.array_equal(result.mean, by_another_name.mean)


def test_one_layer_belongs_to_one_thread():
    drop, errors = Dropout(0.5, seed=3), []

    def elsewhere():
        try:
            monte_carlo(drop, np.ones(3), samples=2, seed=0)
        except RuntimeError as error:
            errors.append(str(error))

    def predict(x):
        if not errors:
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
        return drop(x)

    monte_carlo(predict, np.ones(3), samples=3, seed=0, layers=[drop])
    assert "this Dropout is running in another thread" in errors[0]
    assert (drop.seed, drop.step, drop.mask) == (3, 0, None)
