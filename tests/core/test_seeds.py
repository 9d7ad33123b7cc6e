"""What is no seed is refused in a line, at once, wherever one is given."""

import copy
import json
import sys

import numpy as np
import pytest
from numpy.random import SeedSequence
from subjects import available

import anydrop
from anydrop.core import seeds

X = np.ones(7)
WHOLE = {"entropy": 7, "spawn_key": [], "pool_size": 4, "n_children_spawned": 0}

ALTERED = [
    ({"pool_size": 10**9}, "pool_size must satisfy 4 <= pool_size <= 1024, got 1000000000"),
    ({"pool_size": 10**30}, "pool_size must satisfy 4 <= pool_size <= 1024"),
    ({"pool_size": 3}, "pool_size must satisfy 4 <= pool_size <= 1024, got 3"),
    ({"pool_size": 4.0}, "pool_size must be an int, got float 4.0"),
    ({"pool_size": 10**5000}, "pool_size must be an int of at most 4300 decimal digits"),
    ({"n_children_spawned": -5}, "n_children_spawned must be >= 0 and < 2**32, got -5"),
    ({"n_children_spawned": 2**32}, "n_children_spawned must be >= 0 and < 2**32"),
    ({"n_children_spawned": 10**30}, "n_children_spawned must be >= 0 and < 2**32"),
    ({"n_children_spawned": "1"}, "n_children_spawned must be an int, got str '1'"),
    ({"entropy": [[1]]}, "entropy must be an int, got list [1]"),
    ({"entropy": ["1"]}, "entropy must be an int, got str '1'"),
    ({"entropy": "1"}, "entropy must be an int, got str '1'"),
    ({"entropy": True}, "entropy must be an int, got bool True"),
    ({"entropy": -1}, "entropy must be an int >= 0, got -1"),
    ({"entropy": []}, "entropy must not be empty"),
    ({"entropy": None}, "entropy must be an int, got NoneType None"),
    ({"entropy": 10**4300}, "entropy must be an int of at most 4300 decimal digits"),
    ({"entropy": [10**4300]}, "entropy must be an int of at most 4300 decimal digits"),
    ({"spawn_key": {}}, "spawn_key must be a sequence of ints, got dict {}"),
    ({"spawn_key": "0"}, "spawn_key must be a sequence of ints, got str '0'"),
    ({"spawn_key": [-1]}, "spawn_key must be an int >= 0, got -1"),
    ({"spawn_key": [[0]]}, "spawn_key must be an int, got list [0]"),
    ({"spawn_key": [10**4300]}, "spawn_key must be an int of at most 4300 decimal digits"),
    ({1: 2}, "a saved SeedSequence has other keys than"),
]


@pytest.mark.parametrize(("change", "message"), ALTERED, ids=[m[:30] for _, m in ALTERED])
def test_a_state_with_an_altered_seed(change, message):
    layer = anydrop.Dropout(0.5, seed=SeedSequence(7))
    layer(X)
    before, y = layer.state_dict(), layer.mask
    with pytest.raises(ValueError, match=r"^not a state of this layer: ") as caught:
        layer.load_state_dict(before | {"seed": WHOLE | change})
    assert message in str(caught.value)
    assert layer.state_dict() == before
    assert np.array_equal(layer.mask, y)


@pytest.mark.parametrize(
    "changed",
    [
        {"entropy": [1, [2]]},
        {"entropy": np.arange(4).reshape(2, 2)},
        {"entropy": []},
        {"entropy": True},
        {"entropy": 10**4300},
        {"entropy": 1, "spawn_key": "0"},
        {"entropy": 1, "spawn_key": ([1],)},
        {"entropy": 1, "pool_size": 1025},
    ],
    ids=lambda changed: ", ".join(changed),
)
def test_a_seed_sequence_that_could_not_be_saved(changed):
    """NumPy takes it, and no layer does."""
    with pytest.raises((TypeError, ValueError), match=r"entropy|spawn_key|pool_size"):
        anydrop.Dropout(0.5, seed=SeedSequence(**changed))


@pytest.mark.parametrize(
    "seed",
    [
        *(0, 2**100, 10**4300 - 1, (7,), (1, 2**40, 3), SeedSequence(7), SeedSequence((1, 2))),
        SeedSequence([4, 5], spawn_key=(2**40, 0), pool_size=1024, n_children_spawned=2**32 - 1),
        SeedSequence(np.array([4, 5]), spawn_key=np.array([1])),
    ],
    ids=lambda seed: type(seed).__name__,
)
def test_every_seed_comes_back(seed):
    layer, other = anydrop.Dropout(0.5, seed=seed), anydrop.Dropout(0.5, seed=1)
    other.load_state_dict(json.loads(json.dumps(layer.state_dict())))
    assert other.state_dict() == layer.state_dict()
    assert np.array_equal(other(X), layer(X))
    assert seeds.to_json(seeds.from_json(seeds.to_json(seed))) == seeds.to_json(seed)


def test_a_seed_may_be_an_array_of_no_dimensions():
    assert anydrop.Dropout(0.5, seed=np.array(7)).state_dict()["seed"] == 7


def generators():
    yield np.random.default_rng(0)
    yield np.random.RandomState(0)
    yield np.random
    if available("torch"):
        import torch

        yield torch.Generator()
    if available("jax"):
        import jax

        yield jax.random.key(0)
        yield jax.random.PRNGKey(0)


@pytest.mark.parametrize("generator", list(generators()), ids=lambda g: type(g).__name__)
def test_a_generator_in_the_place_of_a_seed(generator):
    wanted = "numpy SeedSequence, got .*; a generator goes to rng=$"
    for call in (anydrop.Dropout, lambda **keywords: anydrop.dropout(X, 0.5, **keywords)):
        with pytest.raises(TypeError, match=wanted):
            call(seed=generator)
    with pytest.raises(TypeError, match=wanted):
        anydrop.Mask.from_seed((3,), 0.5, seed=generator)
    with pytest.raises(TypeError, match=wanted):
        anydrop.monte_carlo(anydrop.Dropout(0.5, seed=0), X, samples=2, seed=generator)


@pytest.mark.parametrize(
    "seed", [42, np.int64(42), 0.5, (1, 2), "os", SeedSequence(1)], ids=lambda s: type(s).__name__
)
def test_a_seed_in_the_place_of_a_generator(seed):
    """A layer says so when it is made, and a function when it knows the library."""
    with pytest.raises(TypeError, match=r"rng must be a generator .*; a seed goes to seed=$"):
        anydrop.Dropout(rng=seed)
    with pytest.raises(TypeError, match=r"rng must be a numpy.*; a seed goes to seed=$"):
        anydrop.dropout(X, 0.5, rng=seed)


def test_only_a_generator_that_is_a_module_is_imported():
    """A copy of a layer imports nothing that a string names."""
    layer = anydrop.Dropout(0.5, rng=np.random)
    assert copy.deepcopy(copy.copy(layer))._rng is np.random
    layer._rng = "this"
    assert copy.copy(layer)._rng == "this"
    assert "this" not in sys.modules
