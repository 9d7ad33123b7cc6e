"""The faults of other libraries, one test each, across the catalogue."""

import math

import numpy as np
import pytest
from bounds import SIGMAS, rate_is_off_by, variance_of_a_rate
from catalogue import BERNOULLI, BLOCKS, NORMAL
from subjects import NUMPY_DTYPES

import anydrop
from anydrop.schedules import Constant, Cosine, Linear, WarmUp
from anydrop.testing.reference import bits, keep
from anydrop.testing.subject import dtype_of

FUNCTIONS = [
    v
    for v in (*BERNOULLI, *BLOCKS, *NORMAL)
    if "channels_last" not in v.name and "unbatched" not in v.name
]
REAL = [v for v in FUNCTIONS if not v.whole]
# Which of them drop, so that a number may vanish.
DROPPING = [v for v in REAL if v not in NORMAL and v.name != "zoneout"]

# Layers, as functions of p, and the shapes that they take.
LAYERS = {
    anydrop.Dropout: ((5, 7), {}),
    anydrop.Dropout1d: ((3, 4, 5), {}),
    anydrop.Dropout2d: ((3, 4, 2, 3), {}),
    anydrop.Dropout3d: ((3, 4, 2, 3, 2), {}),
    anydrop.AlphaDropout: ((5, 7), {}),
    anydrop.FeatureAlphaDropout: ((3, 4, 5), {}),
    anydrop.GaussianDropout: ((5, 7), {}),
    anydrop.GaussianNoise: ((5, 7), {}),
    anydrop.LockedDropout: ((3, 4, 5), {"time_axis": 1}),
    anydrop.Zoneout: ((5, 7), {}),
    anydrop.EmbeddingDropout: ((9, 4), {}),
    anydrop.AttentionDropout: ((2, 3, 4, 5), {}),
    anydrop.DropConnect: ((5, 7), {}),
    anydrop.DropoutAdd: ((5, 7), {}),
    anydrop.StochasticDepth: ((9, 4), {}),
    anydrop.DropBlock1d: ((2, 3, 9), {"block_size": 3}),
    anydrop.DropBlock2d: ((2, 3, 6, 7), {"block_size": 3}),
    anydrop.DropBlock3d: ((2, 2, 3, 4, 5), {"block_size": 2}),
    anydrop.TokenDropout: ((5, 7), {"token": 3}),
}
layers = pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
functions = pytest.mark.parametrize("variant", FUNCTIONS, ids=str)
real_functions = pytest.mark.parametrize("variant", REAL, ids=str)


def ones(kind, dtype="f4"):
    """Return what a layer's forward takes."""
    x = np.ones(LAYERS[kind][0], dtype)
    if kind in (anydrop.Zoneout, anydrop.DropoutAdd):
        return x, x * 0
    return (x.astype("i4"),) if kind is anydrop.TokenDropout else (x,)


def made(kind, p=0.4):
    return kind(p, seed=0, **LAYERS[kind][1])


def arrays(result):
    return result if isinstance(result, tuple) else (result,)


# sorix, thinc ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*NUMPY_DTYPES, ">f4", ">f8"])
@real_functions
def test_sorix_turns_float32_into_float64(variant, dtype):
    """And thinc float16 into float32: forward, at inference and backward a dtype stays."""
    dtype = np.dtype(dtype) if dtype[0] == ">" else dtype_of(dtype)
    if dtype.kind == "c" and variant.function is anydrop.gaussian_noise:
        with pytest.raises(TypeError, match="gaussian noise is real"):
            variant(np.ones(variant.shape, dtype), 0.4, seed=0)
        return
    x = variant.example(dtype)
    y, mask = variant(x, 0.4, seed=0, return_mask=True)
    assert y.dtype == dtype
    assert variant(x, 0.4, training=False).dtype == dtype
    for gradient in arrays(mask.apply(x)):
        summed = gradient.shape != x.shape and "bias" in variant.name  # in native byte order
        assert gradient.dtype == (dtype.newbyteorder("=") if summed else dtype)
    if variant not in NORMAL and "alpha" not in variant.name and variant.name != "zoneout":
        inferred = variant(x, 0.4, training=False, scaling="inference")
        assert inferred.dtype == dtype


@pytest.mark.parametrize("dtype", ["i1", "u2", ">i4", "i8"])
def test_sorix_turns_one_dtype_into_another_tokens(dtype):
    ids = np.arange(20, dtype=dtype)
    assert anydrop.token_dropout(ids, 0.5, token=3, seed=0).dtype == dtype
    assert anydrop.token_dropout(ids, 0.5, token=3, protected=[1], seed=0).dtype == dtype


@layers
def test_thinc_writes_into_the_callers_gradient(kind):
    """Neither a forward nor a backward changes what it is given, or hands out memory of it."""
    if kind is anydrop.TokenDropout:
        ids = np.arange(35, dtype="i4")
        made(kind)(ids)
        assert np.array_equal(ids, np.arange(35))
        return
    inputs, layer = ones(kind), made(kind)
    before = [x.copy() for x in inputs]
    y = layer(*inputs)
    gradient = np.random.default_rng(0).standard_normal(y.shape).astype("f4")
    kept = gradient.copy()
    results = arrays(layer.backward(gradient))
    assert np.array_equal(gradient, kept)
    assert all(map(np.array_equal, inputs, before))
    if kind is anydrop.DropoutAdd:  # the gradient of the residual is the caller's itself
        results = results[:1]
    if kind is not anydrop.GaussianNoise:  # and so is that of its input
        assert not any(np.may_share_memory(gradient, result) for result in results)
        assert not any(np.may_share_memory(x, y) for x in inputs)


# torch ----------------------------------------------------------------------------------------

WRONG = {"torch": 1, "keras_alpha": 1.0, "keras": -0.5, "flax": math.nan, "chainer": 7}


def wrong(*those):
    """Give a test each of those with each rate that is none; noise takes what may be a std."""
    noise = [anydrop.GaussianNoise, *(v for v in NORMAL if v.function is anydrop.gaussian_noise)]
    pairs = [(a, p) for a in those for p in WRONG.values() if a not in noise or not p >= 0]
    return pytest.mark.parametrize(
        ("one", "p"), pairs, ids=lambda v: getattr(v, "__name__", str(v))
    )


@wrong(*FUNCTIONS)
def test_rates_that_are_none_in_functions(one, p):
    """torch: NaN of Inf at p = 1; keras: ZeroDivisionError at 1, and -0.5 scales; flax and equinox:
    -0.5 scales and NaN makes zeros; chainer: 7 is accepted at inference.
    """
    noise = one.function is anydrop.gaussian_noise
    message = f"{'std must be finite and >= 0' if noise else 'p must satisfy 0 <= p < 1'}, got {p}"
    for training in (True, False):
        with pytest.raises(ValueError, match=message):
            one(np.ones(one.shape), p, seed=0, training=training)


@wrong(*LAYERS)
def test_rates_that_are_none_in_layers(one, p):
    """Refused when the layer is made, when p is set and when a state is loaded."""
    noise = one is anydrop.GaussianNoise
    message = "std must be finite" if noise else "p must satisfy 0 <= p < 1"
    with pytest.raises(ValueError, match=message):
        made(one, p)
    layer = made(one).eval()
    name, state = "std" if noise else "p", layer.state_dict()
    with pytest.raises(ValueError, match=message):
        setattr(layer, name, p)
    with pytest.raises(ValueError, match=message):
        layer.load_state_dict(state | {name: p})
    assert layer.state_dict() == state


@pytest.mark.parametrize("p", WRONG.values(), ids=WRONG)
def test_rates_that_are_none_in_masks_and_schedules(p):
    for make in (
        *(Constant, lambda p: Linear(0.1, p, 3), lambda p: Cosine(p, 0.1, 3)),
        *(lambda p: WarmUp(3, p), lambda p: anydrop.depth_rates(p, 3)),
        lambda p: anydrop.Mask.from_seed((3,), p, seed=0),
    ):
        with pytest.raises(ValueError, match="p must satisfy 0 <= p < 1"):
            make(p)


@real_functions
def test_equinox_nan_gradient_at_p_1(variant):
    """Nor at the largest p."""
    x = np.ones(variant.shape)
    y, mask = variant(x, 1 - 2**-32, seed=0, return_mask=True)
    for result in (y, *arrays(mask.apply(x))):
        assert np.isfinite(result).all()


@pytest.mark.parametrize("variant", [v for v in REAL if not v.copies], ids=str)
def test_torch_ignores_inplace(variant):
    """Of its alpha dropouts. Here ``out=x`` is x, and holds what a call without it returns."""
    x = np.random.default_rng(0).standard_normal(variant.shape).astype("f4")
    expected = variant(x, 0.4, seed=0)
    out = np.full_like(x, 7)
    assert variant(x, 0.4, seed=0, out=out) is out
    assert np.array_equal(out, expected)
    assert not np.array_equal(expected, x)
    twin = x.copy()
    assert variant(twin, 0.4, seed=0, out=twin) is twin
    assert np.array_equal(twin, expected)
    assert np.array_equal(variant(x, 0.4, training=False, out=out), variant(x, 0.4, training=False))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("p", [0.1, 0.3])
@pytest.mark.parametrize("variant", [v for v in DROPPING if "alpha" not in v.name], ids=str)
def test_torch_bfloat16_scale(variant, p, dtype):
    """It multiplies by 1.1094 for 1.1111. Here the product is rounded, once, and the scale not."""
    if dtype not in NUMPY_DTYPES:
        pytest.skip(f"{dtype} is not here: NumPy has it from the package ml_dtypes")
    x = variant.example("f4") / 7
    x = x.astype(dtype_of(dtype))
    y = variant(x, p, seed=4)
    kept = y != 0
    exact = x.astype("f8")[kept] / (1 - p)
    assert kept.any()
    spacing = {"float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]  # half of one place
    off = y.astype("f8")[kept] / exact - 1
    assert np.all(np.abs(off) <= spacing * (1 + 1e-6))
    nearest = exact.astype("f4").astype(x.dtype)
    assert np.array_equal(y[kept], nearest)


def test_that_torchs_bfloat16_scale_is_seen():
    """The test above, of one number: rounding the scale first makes another of it."""
    if "bfloat16" not in NUMPY_DTYPES:
        pytest.skip("bfloat16 is not here: NumPy has it from the package ml_dtypes")
    bfloat16 = dtype_of("bfloat16")
    x = np.linspace(1, 2, 129).astype(bfloat16)
    once = anydrop.dropout(x, 0.1, seed=0)
    twice = np.where(once != 0, x * bfloat16.type(1 / 0.9), bfloat16.type(0))
    assert float(bfloat16.type(1 / 0.9)) == 1.109375
    assert (once != twice).sum() > 20


LAYOUTS = {
    "fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "negative": lambda x: x[::-1, ..., ::-1].copy()[::-1, ..., ::-1],
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder(">")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@functions
def test_torchs_mask_depends_on_strides(variant, layout):
    """One array in another layout gives one result."""
    x = variant.example()
    expected = variant(x, 0.4, seed=0)
    assert np.array_equal(variant(LAYOUTS[layout](x), 0.4, seed=0), expected)


@pytest.mark.parametrize("variant", DROPPING, ids=str)
def test_torch_makes_nan_of_a_dropped_inf(variant):
    """So do chainer, thinc, sorix and timm. Forward and backward it is what is dropped."""
    clean = variant.example()
    y, mask = variant(clean, 0.6, seed=1, return_mask=True)
    kept = np.broadcast_to(mask.keep(like=clean), clean.shape)
    assert (~kept).any()
    if not variant.copies:
        for odd in (np.nan, np.inf, -np.inf):
            assert bits(variant(np.where(kept, clean, odd), 0.6, seed=1)) == bits(y)
    gradients = [mask.apply(np.where(kept, clean, odd)) for odd in (0, np.nan, np.inf)]
    assert len({bits(arrays(gradient)[0]) for gradient in gradients}) == 1


def test_torch_makes_nan_of_a_state_that_is_not_taken():
    new, old = np.full((2, 50), 1.0), np.full((2, 50), 2.0)
    kept = keep((2, 50), 0.4, seed=0)
    expected = np.where(kept, 1.0, 2.0)
    for odd in (np.nan, np.inf):
        y = anydrop.zoneout(np.where(kept, new, odd), np.where(kept, odd, old), 0.4, seed=0)
        assert np.array_equal(y, expected)
    # With p = 0 there is none to take at inference either.
    y = anydrop.zoneout(new, np.full((2, 50), np.inf), 0.0, training=False)
    assert np.array_equal(y, new)


# keras ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["i4", "u1", "?"])
@real_functions
def test_keras_truncates_int32(variant, dtype):
    """1 / (1 - p) of integers is refused, and not cut off to 1."""
    x = np.ones(variant.shape, dtype)
    with pytest.raises(TypeError, match=f"floating-point array.*got dtype {x.dtype.name}"):
        variant(x, 0.4, seed=0)
    _, mask = variant(np.ones(variant.shape), 0.4, seed=0, return_mask=True)
    with pytest.raises(TypeError, match=f"got dtype {x.dtype.name}"):
        mask.apply(x)


@layers
def test_keras_truncates_int32_in_layers(kind):
    layer, x = made(kind), ones(kind, "i4")
    if kind is anydrop.TokenDropout:
        x = ones(kind)[0].astype("f4")
        with pytest.raises(TypeError, match="array of integers, got dtype float32"):
            layer(x)
    else:
        with pytest.raises(TypeError, match="got dtype int32"):
            layer(*x)
    assert layer.step == 0
    assert layer.mask is None


# chainer --------------------------------------------------------------------------------------


@real_functions
def test_chainers_mask_of_another_shape_broadcasts(variant):
    """A mask, drawn from a seed or kept from a generator, takes its own shape alone."""
    sources = [{"seed": 0}]
    if variant not in NORMAL:
        sources.append({"rng": np.random.default_rng(0)})
    for source in sources:
        _, mask = variant(np.ones(variant.shape), 0.4, return_mask=True, **source)
        wrong = [
            *((1, *variant.shape), variant.shape[1:], (1,) * len(variant.shape), ()),
            (*variant.shape[:-1], 1),
        ]
        for shape in wrong:
            message = r"the mask belongs to an array of shape \(.*\), got one of \("
            with pytest.raises(ValueError, match=message):
                mask.apply(np.ones(shape))


@pytest.mark.parametrize("variant", [v for v in DROPPING if not v.copies], ids=str)
def test_chainers_mask_gives_unscaled_output(variant):
    """What a mask makes of another array is scaled like the output that it came with."""
    x = np.ones(variant.shape)
    for source in ({"seed": 0}, {"rng": np.random.default_rng(0)}):
        _, mask = variant(x, 0.4, return_mask=True, **source)
        expected = np.where(mask.keep(like=x), variant.affine(0.4)[0] * x, 0)
        assert np.allclose(arrays(mask.apply(x))[0], expected, rtol=1e-15, atol=0)


def test_chainers_state_of_another_shape_broadcasts():
    with pytest.raises(ValueError, match="previous must have the shape of x"):
        anydrop.zoneout(np.ones((3, 4)), np.ones((1, 4)), 0.4, seed=0)


# timm -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_timm_all_dropped_is_nan_in_float16(dtype):
    x = np.full((1, 2, 5, 5), 3, dtype)
    y = anydrop.drop_block2d(x, 1 - 1e-7, 5, seed=0)
    assert np.array_equal(y, np.zeros_like(x))
    y = anydrop.drop_block2d(x, 1 - 1e-7, 5, seed=0, scaling="inference")
    assert np.array_equal(y, np.zeros_like(x))


@pytest.mark.parametrize(("block", "theirs"), [(3, 0.117), (7, 0.213)])
def test_timm_drops_more_than_it_says(block, theirs):
    """0.1 on 14x14 is 0.1. See test_rates.py for corners, and for what theirs does.

    Theirs lies so far off that it would fail with any luck. False alarms: 6e-7 a case.
    """
    y = anydrop.drop_block2d(np.ones((20, 400, 14, 14), "f4"), 0.1, block, seed=0)
    assert abs(rate_is_off_by((y == 0).reshape(-1, 14, 14), block, 0.1)) < SIGMAS
    spread = math.sqrt(variance_of_a_rate((14, 14), block, 0.1) / 8000)
    assert theirs - 0.1 > 4 * SIGMAS * spread


# TransformerEngine ----------------------------------------------------------------------------


@pytest.mark.parametrize("variant", DROPPING, ids=str)
def test_transformer_engine_scales_for_another_rate(variant):
    """It drops floor(256 p) / 256 and scales by 1 / (1 - p): the mean is off by 0.26 %.

    Here the true rate of a mask is p to 2**-33, of a block's beginnings as well; so the mean of
    what a mask makes of ones is 1 to that share of what is kept.
    """
    for p in (0.1, 0.3, 1 / 3, 0.5, 0.999, 1e-6, 1e-10):
        _, mask = variant(np.ones(variant.shape, "f4"), p, seed=0, return_mask=True)
        mask = getattr(mask, "mask", mask)
        drawn = getattr(mask, "seeds", mask)
        volume = math.prod(variant.sizes)
        kept = (1 - drawn.threshold / 2**32) ** volume
        assert abs(1 - kept - p) <= volume * 2.0**-33 * (1 + 1e-6)
        if "alpha" not in variant.name:
            assert abs(mask.scale * kept - 1) <= volume * 2.0**-32 / (1 - p)


def test_that_transformer_engines_rate_is_seen():
    assert abs((1 - math.floor(256 * 0.1) / 256) / 0.9 - 1) == pytest.approx(0.0026, rel=0.01)


def test_every_layer_is_here():
    """And every function, each in some way."""
    public = {
        kind
        for kind in vars(anydrop).values()
        if isinstance(kind, type) and issubclass(kind, anydrop.Layer)
    }
    assert public - {anydrop.Layer, anydrop.DropLayer} == set(LAYERS)
    covered = {v.function for v in FUNCTIONS}
    names = {kind._function for kind in LAYERS}
    assert names <= covered
