"""The names of tasks: two calls that differ in anything have two, or Dask would compute one."""

from functools import partial

import numpy as np
import pytest
from subjects import available

import anydrop

if not available("dask"):
    pytest.skip("dask is not installed here; nox -s tests-dask runs this", allow_module_level=True)

import dask.array as da

X = np.linspace(-1.0, 1.0, 48).reshape(6, 8)
IDS = np.arange(48).reshape(6, 8)


def call(function, x=X, chunks=(4, 3), **keywords):
    return function(da.from_array(x, chunks=chunks), **keywords)


def select(x, **constants):
    return anydrop.resolve(x).select(x, **{"keep": None, "scale": 1.0, **constants})


def mask(x, **recipe):
    return anydrop.Mask.from_seed(x.shape, **{"p": 0.5, "seed": 0, **recipe}).keep(x) * 1.0


def normals(x, **recipe):
    recipe = anydrop.Mask.from_seed(x.shape, **{"p": 0.5, "seed": 0, **recipe})
    return anydrop.resolve(x).normals(recipe, x)


def blocks(x, size=2, **recipe):
    return anydrop.drop_block1d(x[None], 0.5, size, seed=0, **recipe)[0]


def block_masks(x, size=2, **recipe):
    _, mask = anydrop.drop_block1d(x[None], 0.5, size, seed=0, **recipe, return_mask=True)
    return mask.keep(x[None])[0] * 1.0


def chosen(x, previous=-2 * X, which=slice(None), **recipe):
    recipe = anydrop.Mask.from_seed(x.shape, **{"p": 0.5, "seed": 0, **recipe})
    states = [x, da.from_array(previous)]
    if which != slice(None):
        states[which] = None
    return anydrop.resolve(x).choose(*states, recipe)


def packed(x, **recipe):
    return anydrop.resolve(x).pack(mask(x, **recipe) > 0) * 1


def stored(x, **recipe):
    rng = da.random.default_rng(recipe.pop("seed", 0))
    return anydrop.dropout(x, 0.5, rng=rng, return_mask=True)[1].apply(x)


def added(x, residual=-2 * X, bias=None, **keywords):
    bias = bias if bias is None else da.from_array(bias)
    return anydrop.dropout_add(x, da.from_array(residual), bias=bias, **keywords)


def summed(x, axis):
    shape = tuple(1 if a == axis else n for a, n in enumerate(x.shape))
    return anydrop.resolve(x).sum_to(x, shape, "float64") + da.zeros((6, 8), chunks=3)


WINDOWS = {"window": ((0, 0), (9, 9))}, {"window": ((1, 0), (9, 9))}, {"window": ((1, 0), (9, 8))}
PLACES = {}, {"seed": 1}, {"step": 1}, {"step": 2**40}, {"shared_axes": 0}, *WINDOWS
RULES = {}, {"p": 0.25}, {"scaling": "inference"}
AT_INFERENCE = {"training": False, "scaling": "inference"}

# Calls of one function, no two of which are the same.
FAMILIES = {
    "select": (
        select,
        [
            *({}, {"scale": 2.0}, {"shift": 0.5}, {"shift": 0.25}),
            *({"keep": X > 0}, {"keep": X > 0.5}, {"keep": X > 0, "fill": 0.5}, {"x": X + 1}),
        ],
    ),
    "dropout": (partial(anydrop.dropout, seed=0), [*PLACES[2:], *RULES, {"x": X + 1}]),
    "seeds": (anydrop.dropout, [{"seed": seed} for seed in (0, 1, (1, 1), 2**33)]),
    "inference": (
        anydrop.dropout,
        [{**AT_INFERENCE, "p": 0.2}, {**AT_INFERENCE, "p": 0.5}, {"x": X + 1, **AT_INFERENCE}],
    ),
    "masks": (mask, [*PLACES, {"p": 0.25}]),
    "normals": (normals, PLACES),
    "packed": (packed, [*PLACES, {"p": 0.25}]),
    "stored": (stored, [{}, {"seed": 1}, {"x": X + 1}]),
    "gaussian": (partial(anydrop.gaussian_dropout, seed=0), [{"step": 1}, {"p": 0.25}, {"p": 0.5}]),
    "noise": (
        partial(anydrop.gaussian_noise, seed=0),
        [*PLACES[2:], {"std": 1.0}, {"std": 2.0}, {"x": X + 1}],
    ),
    "blocks": (blocks, [{}, {"size": 3}, {"step": 1}, {"x": X + 1}]),
    "masks of blocks": (block_masks, [{}, {"size": 3}, {"step": 1}]),
    "choices": (
        chosen,
        [*PLACES, {"p": 0.25}, {"x": X + 1}, {"previous": X}, {"which": 0}, {"which": 1}],
    ),
    "sums": (
        partial(added, seed=0),
        [
            *({}, {"step": 1}, {"p": 0.25}, {"bias": X[0]}, {"bias": X[1]}, {"residual": X}),
            *({"training": False}, {"shared_axes": 0}, {"x": X + 1}),
        ],
    ),
    "sums to a bias": (summed, [{"x": X + n, "axis": axis} for n in (0, 1) for axis in (0, 1)]),
    "tokens": (
        partial(anydrop.token_dropout, seed=0),
        [
            {"x": IDS, "token": 0, **more}
            for more in ({}, {"token": 1}, {"protected": (9,)}, {"p": 0.25}, {"x": IDS + 1})
        ],
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_calls_that_differ_are_computed_together_as_alone(family):
    function, variants = FAMILIES[family]
    calls = [partial(call, function, **keywords) for keywords in variants]
    alone = [one().compute() for one in calls]
    together = da.compute(*[one() for one in calls])
    for a, b in zip(alone, together, strict=True):
        assert np.array_equal(a, b)
    names = [one().name for one in calls]
    assert len(set(names)) == len(names)
    assert names == [one().name for one in calls]  # and one call has one name
    for i, a in enumerate(alone):
        for b in alone[i + 1 :]:
            assert not np.array_equal(a, b)  # else the family would show nothing


@pytest.mark.parametrize(
    "function", [mask, normals, partial(anydrop.dropout, seed=0), blocks, chosen]
)
def test_other_chunks_have_another_name(function):
    names = {call(function, chunks=chunks).name for chunks in ((4, 3), (6, 8), (2, 3))}
    assert len(names) == 3
