"""What all variants have in common: the function, the layer, its state, its errors."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
from catalogue import VARIANTS, at_a_rate, from_any_source, numbers, variants_where

import anydrop
from anydrop import schedules


def same(a, b):
    """Tell whether two results, arrays or tuples of them, have the same bits."""
    a, b = (r if isinstance(r, tuple) else (r,) for r in (a, b))
    pairs = zip(a, b, strict=True)
    return all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in pairs)


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request):
    return request.param


def test_every_public_function_and_layer_is_here():
    shown = {f"{v.function.__name__}" for v in VARIANTS} | {v.layer.__name__ for v in VARIANTS}
    others = {"Layer", "DropLayer", "DropoutLayer", "DropPath", "drop_path", "register", "resolve"}
    others |= {
        "Mask",
        "StoredMask",
        "BlockMask",
        "DropConnectMask",
        "DropoutAddMask",
        "Noise",
        "ZoneoutMask",
        "Window",
    }
    others |= {"schedules", "depth_rates", "monte_carlo", "MonteCarlo", "__version__"}
    others |= {"get_num_threads", "set_num_threads", "seed_layers"}
    assert shown == set(anydrop.__all__) - others


def test_aliases():
    assert anydrop.DropPath is anydrop.StochasticDepth
    assert anydrop.drop_path is anydrop.stochastic_depth
    assert anydrop.DropoutLayer is anydrop.Dropout


def test_the_layer_is_the_function_step_by_step(variant):
    layer, x = variant.make(), variant.input()
    for step in range(3):
        y, mask = variant(x, seed=0, step=step, return_mask=True)
        assert same(variant.run(layer, x), y)
        assert same(layer.mask, mask.keep(like=np.empty(0)))
        assert layer.step == step + 1
        assert layer.recipe.keep(like=x).tolist() == mask.keep(like=x).tolist()


def test_steps_and_seeds_differ(variant):
    variant = variant._replace(shape=(60, *variant.shape[1:]))
    x = variant.input()
    draws = {variant(x, seed=s, step=t).tobytes() for s in range(4) for t in range(4)}
    assert len(draws) == (2 if variant.options.get("mode") == "batch" else 16)


def gradients_by_hand(variant, mask, gradient, p=0.4):
    """Return what the gradient of a result is for each of the arrays that it was made of."""
    if variant.layer is anydrop.Zoneout:
        return np.where(mask, gradient, 0), np.where(mask, 0, gradient)
    if variant.layer is anydrop.GaussianNoise:
        return (gradient,)
    if variant.layer is anydrop.GaussianDropout:
        return (gradient * mask,)
    alpha = variant.layer in (anydrop.AlphaDropout, anydrop.FeatureAlphaDropout)
    scale = ((1 - p) * (1 + p * 1.7580993408473766**2)) ** -0.5 if alpha else 1 / (1 - p)
    kept = np.where(mask, gradient * scale, 0)
    if variant.layer is anydrop.DropoutAdd:
        return kept, gradient, *[kept.sum(axis=0)] * ("bias" in variant.inputs(gradient))
    return (kept if kept.ndim == len(variant.shape) else kept.sum(axis=0),)


@variants_where(numbers)
def test_backward_draws_the_mask_again(variant):
    layer, x = variant.make(), variant.input()
    y = variant.run(layer, x)
    gradient = (1 + np.random.default_rng(1).random(y.shape)).astype("f4")
    before = gradient.copy()
    first = layer.backward(gradient)
    parts = first if isinstance(first, tuple) else (first,)
    expected = gradients_by_hand(variant, layer.mask, gradient.astype("f8"))
    for part, wanted in zip(parts, expected, strict=True):
        assert part.dtype == "f4"
        assert part.shape == wanted.shape
        np.testing.assert_allclose(part, wanted, rtol=1e-6, atol=0)
    assert same(layer.backward(gradient), first)
    assert np.array_equal(gradient, before)


@variants_where(numbers, from_any_source)
def test_a_dropped_element_has_no_gradient(variant):
    """Nor has it any say in the output, NaN or not; of copies, where all of them drop it."""
    x = variant.input()
    y, mask = variant(x, 0.8, seed=0, return_mask=True)
    kept = np.broadcast_to(mask.keep(like=x), y.shape)
    alive = kept if y.shape == x.shape else kept.any(axis=0)
    assert not alive.all()
    gradient = mask.apply(np.ones(y.shape, "f4"))
    if variant.layer is anydrop.DropoutAdd:  # nor of the bias, whose sum it enters
        assert np.array_equal(gradient[1], np.ones(y.shape))
        assert np.array_equal(gradient[2:], [gradient[0].sum(axis=0)] * len(gradient[2:]))
        keywords, gradient = variant.inputs(x), gradient[0]
    elif isinstance(gradient, tuple):  # zoneout
        assert np.array_equal(gradient[1] != 0, ~kept)
        previous = np.where(kept, np.nan, -x).astype("f4")
        keywords, gradient = {"previous": previous}, gradient[0]
    else:
        keywords = {}
    assert np.array_equal(gradient != 0, alive)
    poisoned = np.where(alive, x, np.nan).astype("f4")
    assert same(variant(poisoned, 0.8, seed=0, **keywords), y)


def test_inference_changes_nothing(variant):
    layer, x = variant.make(), variant.input()
    y = variant.run(layer, x)
    mask = layer.mask
    other = variant.run(layer, x, training=False)
    layer.eval()
    assert same(variant.run(layer, x), other)
    assert layer.step == 1
    assert same(layer.mask, mask)
    if variant.layer is anydrop.Zoneout:
        assert np.allclose(other, 0.6 * x - 0.4 * x)
    elif variant.inputs(x):
        assert np.array_equal(other, np.broadcast_to(x, y.shape))
    else:
        assert other is x


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_copies_go_on_alike(variant, duplicate):
    layer, x = variant.make(), variant.input()
    y = variant.run(layer, x)
    twin = duplicate(layer)
    assert repr(twin) == repr(layer)
    assert same(twin.mask, layer.mask)
    if not variant.whole:
        assert same(twin.backward(y), layer.backward(y))
    assert same(variant.run(twin, x), variant.run(layer, x))


def test_a_resumed_run_is_the_unbroken_run(variant):
    layer, x = variant.make(), variant.input()
    expected = [variant.run(layer, x) for _ in range(3)]
    first = variant.make()
    variant.run(first, x)
    state = json.loads(json.dumps(first.state_dict()))
    second = variant.make(0.1, seed=99)
    second.load_state_dict(state)
    assert repr(second) == repr(first)
    assert all(same(variant.run(second, x), e) for e in expected[1:])


def test_a_state_of_another_layer_is_refused(variant):
    layer = variant.make()
    before = repr(layer)
    for other in VARIANTS:
        if other.layer is not variant.layer:
            with pytest.raises(ValueError, match="not a state of this layer"):
                layer.load_state_dict(other.make().state_dict())
    state = layer.state_dict()
    del state[variant.rate]
    with pytest.raises(ValueError, match=f"missing keys .*{variant.rate}"):
        layer.load_state_dict(state)
    with pytest.raises(ValueError, match="not a state of this layer"):
        layer.load_state_dict({**layer.state_dict(), variant.rate: 7.0, "step": -1})
    assert repr(layer) == before


def test_repr_shows_what_is_not_the_default(variant):
    shown = repr(variant.make())
    assert shown.startswith(f"{variant.layer.__name__}({variant.rate}=0.4, ")
    assert all(f"{name}={value!r}" in shown for name, value in variant.options.items())
    assert shown.count("=") == 3 + len(variant.options)


def drawn_by_hand(variant, x, p, rng):
    """Return the keep mask that a generator of NumPy's draws."""
    examples = variant.inputs(x).get("examples")
    shape = (examples, *variant.shape) if examples else variant.shape
    lengths = [1 if axis in variant.shared else n for axis, n in enumerate(shape)]
    axes = tuple(range(len(variant.sizes)))
    for axis, size in enumerate(variant.sizes):
        lengths[axis] += size - 1  # blocks that begin before the map
    kept = rng.random(lengths) < (1 - p) ** (1 / math.prod(variant.sizes))
    if variant.sizes:
        windows = np.lib.stride_tricks.sliding_window_view(kept, variant.sizes, axes)
        kept = windows.all(axis=tuple(range(-len(axes), 0)))
    return kept | np.isin(x, variant.options["protected"]) if variant.whole else kept


@variants_where(from_any_source)
def test_generators(variant):
    """A mask that a generator drew is kept, and is that of `uniform(shape) < 1 - p`."""
    x = variant.input()
    layer = variant.make(seed=None, rng=np.random.default_rng(5))
    y = variant.run(layer, x)
    assert same(y, variant(x, rng=np.random.default_rng(5)))
    expected = drawn_by_hand(variant, x, 0.4, np.random.default_rng(5))
    assert layer.mask.shape == expected.shape
    assert np.array_equal(layer.mask, expected)
    if not variant.whole:
        gradients = layer.backward(y)
        parts = gradients if isinstance(gradients, tuple) else (gradients,)
        for part, wanted in zip(parts, gradients_by_hand(variant, expected, y), strict=True):
            np.testing.assert_allclose(part, wanted, rtol=1e-6, atol=0)
        assert same(copy.deepcopy(layer).backward(y), gradients)


@variants_where(lambda variant: not from_any_source(variant))
def test_noise_from_generators(variant):
    with pytest.raises(TypeError, match="normal noise needs seed="):
        variant.make(seed=None, rng=np.random.default_rng(0))


@variants_where(numbers)
def test_writing_to_out(variant):
    x = variant.input()
    y = variant(x, seed=0)
    out = np.full_like(y, np.nan)
    assert variant(x, seed=0, out=out) is out
    assert same(out, y)
    with pytest.raises(ValueError, match="out must have the"):
        variant(x, seed=0, out=np.empty(3, "f4"))
    if y.shape == x.shape:
        assert variant(x, seed=0, out=x) is x
        assert same(x, y)


@variants_where(numbers)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", "c16", ">f4"])
def test_dtypes(variant, dtype):
    x = variant.input(dtype)
    if variant.rate == "std" and x.dtype.kind == "c":
        with pytest.raises(TypeError, match=f"gaussian noise is real, got .*{x.dtype.name}"):
            variant(x, seed=0)
        return
    y, mask = variant(x, seed=0, return_mask=True)
    assert y.dtype == x.dtype
    gradients = mask.apply(y)
    inputs = (x, *(a for a in variant.inputs(x).values() if isinstance(a, np.ndarray)))
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    for gradient, array in zip(gradients, inputs, strict=True):
        assert gradient.shape == array.shape
        summed = array.shape != x.shape  # which is in the machine's byte order
        assert gradient.dtype == (x.dtype.newbyteorder("=") if summed else x.dtype)


UNSCALED = {
    *(anydrop.AlphaDropout, anydrop.FeatureAlphaDropout, anydrop.GaussianDropout),
    *(anydrop.Zoneout, anydrop.TokenDropout),
}


@variants_where(at_a_rate)
def test_scaling_of_2014(variant):
    """Survivors are as they were; at inference all is multiplied by 1 - p."""
    x = variant.input("f8")
    if variant.layer in UNSCALED:
        with pytest.raises(ValueError, match="scaling='inference' makes no sense here, since "):
            variant.make(scaling="inference")
        return
    layer = variant.make(scaling="inference")
    y = variant.run(layer, x)
    kept = np.broadcast_to(layer.mask, y.shape)
    assert np.array_equal(y, np.where(kept, np.broadcast_to(x, y.shape), 0))
    assert np.array_equal(variant.run(layer, x, training=False), np.broadcast_to(x * 0.6, y.shape))


@pytest.mark.parametrize("name", ["alpha_dropout", "gaussian_dropout", "zoneout"])
def test_scaling_that_makes_no_sense(name):
    variant = next(v for v in VARIANTS if v.function.__name__ == name)
    for training in (True, False):
        with pytest.raises(ValueError, match="scaling='inference' makes no sense here, since "):
            variant(variant.input(), seed=0, scaling="inference", training=training)


@variants_where(at_a_rate, lambda v: not v.options.keys() & {"noise_shape", "shared_axes"})
def test_noise_shape_is_another_spelling(variant):
    x = variant.input()
    extra = 4 if "examples" in variant.inputs(x) else None
    shape = (extra, *variant.shape) if extra else variant.shape
    noise_shape = (1, *(None for _ in shape[1:]))
    expected = variant(x, seed=0, shared_axes=0)
    assert same(variant(x, seed=0, noise_shape=noise_shape), expected)
    assert same(variant(x, seed=0, noise_shape=(1, *shape[1:])), expected)
    for wrong in ((1,), (1, *shape[1:], 2), (77, *shape[1:])):
        with pytest.raises(ValueError, match="noise_shape"):
            variant(x, seed=0, noise_shape=wrong)
    with pytest.raises(ValueError, match="either shared_axes= or noise_shape="):
        variant(x, seed=0, noise_shape=noise_shape, shared_axes=0)
    for wrong in (1, "11"):
        with pytest.raises(TypeError, match="noise_shape must be a sequence of ints and None"):
            variant(x, seed=0, noise_shape=wrong)


@variants_where(at_a_rate)
@pytest.mark.parametrize(
    "schedule",
    [
        schedules.Constant(0.3),
        schedules.Linear(0.0, 0.5, steps=3),
        schedules.Cosine(0.5, 0.1, steps=4),
        schedules.WarmUp(2, then=schedules.Linear(0.6, 0.2, steps=2)),
    ],
    ids=lambda s: type(s).__name__,
)
def test_a_schedule_sets_p_at_each_step(variant, schedule):
    layer, x = variant.make(schedule), variant.input()
    assert layer.p == schedule
    expected = [variant(x, schedule(step), seed=0, step=step) for step in range(6)]
    assert all(same(variant.run(layer, x), e) for e in expected[:3])
    state = json.loads(json.dumps(layer.state_dict()))
    other = variant.make(seed=1)
    other.load_state_dict(state)
    assert other.p == schedule
    assert all(same(variant.run(other, x), e) for e in expected[3:])
    assert eval(repr(schedule), vars(schedules)) == schedule


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_empty_inputs(shape):
    for function in (anydrop.dropout, anydrop.alpha_dropout, anydrop.gaussian_dropout):
        assert function(np.empty(shape), 0.5, seed=0).shape == shape
    assert anydrop.gaussian_noise(np.empty(shape), seed=0).shape == shape
    assert anydrop.zoneout(np.empty(shape), np.empty(shape), seed=0).shape == shape
    x = np.empty(shape)
    assert anydrop.dropout_add(x, x, bias=x[:1], seed=0).shape == shape
    tokens = np.empty(shape, int)
    assert anydrop.token_dropout(tokens, token=1, protected=(2,), seed=0).shape == shape
    for tail in ((0, 4), (4, 0), (0, 0)):
        x = np.empty((*shape[:1], 2, *tail))
        assert anydrop.drop_block2d(x, 0.5, 3, seed=0).shape == x.shape
        assert anydrop.dropout2d(x, 0.5, seed=0).shape == x.shape


def test_scalars():
    x = np.asarray(2.0)
    assert anydrop.alpha_dropout(x, 0.5, seed=0).shape == ()
    assert anydrop.gaussian_dropout(x, 0.5, seed=0).shape == ()
    assert anydrop.stochastic_depth(x, 0.5, mode="batch", seed=0).shape == ()
    with pytest.raises(ValueError, match="mode='row' needs an axis of the batch"):
        anydrop.stochastic_depth(x, 0.5, seed=0)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_the_mask_of_noise_is_the_noise(dtype):
    x = np.linspace(1, 2, 50).astype(dtype)
    wide = np.float64 if dtype == "f8" else np.float32
    times, plus = anydrop.GaussianDropout(0.3, seed=0), anydrop.GaussianNoise(0.3, seed=0)
    assert same(times(x), (x.astype(wide) * times.mask).astype(dtype))
    assert same(plus(x), (x.astype(wide) + plus.mask).astype(dtype))
    assert times.mask.dtype == wide


def test_scalars_come_out_as_arrays():
    x = np.asarray(2.0)
    y = anydrop.zoneout(x, x, 0.5, training=False)
    _, copies = anydrop.drop_connect(x, 0.5, examples=3, seed=0, return_mask=True)
    assert [type(a) for a in (y, copies.apply(np.ones(3)))] == [np.ndarray, np.ndarray]
