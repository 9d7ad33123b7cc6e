"""Gradients against central differences, in float64.

With a mask that is fixed every function here is affine, so a central difference has no error but
that of rounding.
"""

import numpy as np
import pytest
from catalogue import BERNOULLI, BLOCKS, NORMAL

import anydrop

STEP = 0.5
FUNCTIONS = [
    v
    for v in (*BERNOULLI, *BLOCKS, *NORMAL)
    if v.name != "token" and v.layer not in (anydrop.Zoneout, anydrop.DropoutAdd)
]


def slope(function, x, direction):
    """Return the derivative of a number by x, along a direction."""
    ahead, behind = function(x + STEP * direction), function(x - STEP * direction)
    return (ahead - behind) / (2 * STEP)


def check(function, gradient, x, rng):
    """Hold a gradient to the slopes along each of some directions, single axes among them."""
    assert gradient.shape == x.shape
    units = np.eye(x.size)[rng.choice(x.size, min(x.size, 5), replace=False)]
    for direction in (*rng.standard_normal((4, *x.shape)), *units.reshape(-1, *x.shape)):
        expected = slope(function, x, direction)
        assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("scaling", ["train", "inference"])
@pytest.mark.parametrize("variant", FUNCTIONS, ids=str)
def test_functions(variant, scaling):
    if scaling == "inference" and (variant in NORMAL or "alpha" in variant.name):
        with pytest.raises((TypeError, ValueError), match="scaling"):
            variant(np.ones(variant.shape), 0.4, seed=3, scaling=scaling)
        return
    keywords = {"seed": 3, "step": 2} | ({} if scaling == "train" else {"scaling": scaling})
    rng = np.random.default_rng(0)
    x, weights = rng.standard_normal((2, *variant.shape))
    if variant.name == "drop_connect-examples":
        x[...] = x[0]
    _, mask = variant(x, 0.4, return_mask=True, **keywords)
    gradient = mask.apply(weights)
    if variant.name == "drop_connect-examples":  # of the weights, which are the first
        x = x[0]

        def value(x):
            y = anydrop.drop_connect(x, 0.4, examples=len(weights), **keywords)
            return np.sum(weights * y)
    else:

        def value(x):
            return np.sum(weights * variant(x, 0.4, **keywords))

    check(value, gradient, x, rng)
    assert np.any(gradient)


def test_that_a_wrong_gradient_is_seen():
    """One that is scaled twice, one of another step, and one of a single element."""
    rng = np.random.default_rng(0)
    x, weights = rng.standard_normal((2, 30))
    _, mask = anydrop.dropout(x, 0.4, seed=0, return_mask=True)

    def value(x):
        return np.sum(weights * anydrop.dropout(x, 0.4, seed=0))

    right = mask.apply(weights)
    check(value, right, x, rng)
    for wrong in (
        *(right / 0.6, anydrop.dropout(weights, 0.4, seed=0, step=1)),
        right + 1e-6 * (np.arange(30) == 7),
    ):
        with pytest.raises(AssertionError):
            check(value, wrong, x, rng)


def states(rng):
    return rng.standard_normal((3, 5, 7))


@pytest.mark.parametrize("shared_axes", [(), (0,)])
def test_zoneout(shared_axes):
    rng = np.random.default_rng(1)
    new, old, weights = states(rng)
    keywords = {"seed": 2, "shared_axes": shared_axes}
    _, zones = anydrop.zoneout(new, old, 0.4, return_mask=True, **keywords)
    by_new, by_old = zones.apply(weights)
    check(lambda x: np.sum(weights * anydrop.zoneout(x, old, 0.4, **keywords)), by_new, new, rng)
    check(lambda x: np.sum(weights * anydrop.zoneout(new, x, 0.4, **keywords)), by_old, old, rng)
    assert np.any(by_new)
    assert np.any(by_old)


@pytest.mark.parametrize("scaling", ["train", "inference"])
@pytest.mark.parametrize("shape", [None, (), (7,), (5, 1), (3, 1, 7), (3, 5, 7)], ids=str)
@pytest.mark.parametrize("function", [anydrop.dropout_add, "layer"], ids=["function", "layer"])
def test_dropout_add(function, shape, scaling):
    """By x, by the residual and by the bias, of a function and of a layer's second forward."""
    rng = np.random.default_rng(2)
    x, residual, weights = rng.standard_normal((3, 3, 5, 7))
    arrays = [x, residual] if shape is None else [x, residual, rng.standard_normal(shape)]
    add = anydrop.DropoutAdd(0.4, seed=2, scaling=scaling)

    def run(*arrays):
        if function == "layer":
            add.step = 1
            return add(*arrays), add.recipe
        names = dict(zip(("x", "residual", "bias"), arrays, strict=False))
        keywords = {"seed": 2, "step": 1, "scaling": scaling, "return_mask": True}
        return function(**names, p=0.4, **keywords)

    gradients = run(*arrays)[1].apply(weights)
    for n, (array, gradient) in enumerate(zip(arrays, gradients, strict=True)):

        def value(x, n=n):
            return np.sum(weights * run(*arrays[:n], x, *arrays[n + 1 :])[0])

        check(value, gradient, array, rng)
        assert np.any(gradient)


def layers():
    yield anydrop.Dropout(0.4, seed=1), (5, 7)
    yield anydrop.Dropout2d(0.4, seed=1, data_format="channels_last"), (2, 3, 4, 5)
    yield anydrop.AlphaDropout(0.4, seed=1), (5, 7)
    yield anydrop.FeatureAlphaDropout(0.4, seed=1), (3, 4, 5)
    yield anydrop.GaussianDropout(0.4, seed=1), (5, 7)
    yield anydrop.GaussianNoise(0.4, seed=1), (5, 7)
    yield anydrop.LockedDropout(0.4, seed=1, time_axis=1), (3, 4, 5)
    yield anydrop.EmbeddingDropout(0.4, seed=1), (9, 4)
    yield anydrop.AttentionDropout(0.4, seed=1, share_heads=True), (2, 3, 4, 5)
    yield anydrop.StochasticDepth(0.4, seed=1), (9, 4)
    yield anydrop.DropBlock1d(0.4, 3, seed=1), (2, 3, 9)
    yield anydrop.DropBlock2d(0.4, (2, 3), seed=1), (2, 2, 5, 6)
    yield anydrop.DropBlock3d(0.4, 2, seed=1), (1, 2, 3, 4, 5)
    yield anydrop.DropConnect(0.4, seed=1), (5, 7)


@pytest.mark.parametrize(("layer", "shape"), list(layers()), ids=lambda value: str(value)[:24])
def test_layers(layer, shape):
    """Of the last forward, of three."""
    rng = np.random.default_rng(2)
    x, weights = rng.standard_normal((2, *shape))
    for _ in range(3):
        layer(x)
    gradient = layer.backward(weights)

    def value(x):
        layer.step = 2
        return np.sum(weights * layer(x))

    check(value, gradient, x, rng)


def test_a_layer_of_zones():
    rng = np.random.default_rng(3)
    new, old, weights = states(rng)
    zone = anydrop.Zoneout(0.4, seed=1)
    zone(new, old)
    by_new, by_old = zone.backward(weights)

    def value(new, old):
        zone.step = 0
        return np.sum(weights * zone(new, old))

    check(lambda x: value(x, old), by_new, new, rng)
    check(lambda x: value(new, x), by_old, old, rng)


def test_a_layer_of_copies():
    rng = np.random.default_rng(4)
    table, weights = rng.standard_normal((4, 5)), rng.standard_normal((6, 4, 5))
    connect = anydrop.DropConnect(0.4, seed=1)
    connect(table, examples=6)
    gradient = connect.backward(weights)

    def value(x):
        connect.step = 0
        return np.sum(weights * connect(x, examples=6))

    check(value, gradient, table, rng)


def test_through_time():
    """Zoneout over a sequence, back through time by each step's recipe, as its docstring says."""
    rng = np.random.default_rng(5)
    inputs, weights = rng.standard_normal((4, 6)), rng.standard_normal(6)

    def run(inputs, recipes=None):
        zone, state = anydrop.Zoneout(0.4, seed=7), np.zeros(6)
        for x in inputs:
            state = zone(0.5 * state + x, state)
            if recipes is not None:
                recipes.append(zone.recipe)
        return np.sum(weights * state)

    recipes = []
    run(inputs, recipes)
    gradient, by_state = np.empty_like(inputs), weights
    for t in reversed(range(4)):
        by_new, by_old = recipes[t].apply(by_state)
        gradient[t] = by_new
        by_state = by_old + 0.5 * by_new
    check(run, gradient, inputs, rng)


def test_complex_numbers():
    """By the real and the imaginary part: the sum of each with weights of its own."""
    rng = np.random.default_rng(6)
    parts, weights = rng.standard_normal((2, 2, 5, 7))
    for function in (anydrop.dropout, anydrop.alpha_dropout, anydrop.gaussian_dropout):

        def value(parts, function=function):
            y = function(parts[0] + 1j * parts[1], 0.4, seed=5)
            return np.sum(weights[0] * y.real + weights[1] * y.imag)

        _, mask = function(parts[0] + 1j * parts[1], 0.4, seed=5, return_mask=True)
        gradient = mask.apply(weights[0] + 1j * weights[1])
        check(value, np.stack([gradient.real, gradient.imag]), parts, rng)
