"""JAX arrays on several devices: one global mask, drawn where the elements are."""

import copy
import math
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from process import python

import anydrop
from anydrop import Dropout, Mask, Window
from anydrop.testing.reference import keep

jax = pytest.importorskip("jax", reason="jax is not installed here; nox -s tests-jax runs this")
import jax.numpy as jnp  # noqa: E402
import jax_ways  # noqa: E402
from jax.sharding import AxisType, NamedSharding  # noqa: E402
from jax.sharding import PartitionSpec as P  # noqa: E402

pytestmark = pytest.mark.skipif(
    len(jax_ways.DEVICES) < 8, reason="JAX was told of fewer than 8 devices before these tests"
)

SHAPE = (16, 24)
X = np.arange(1.0, 1 + math.prod(SHAPE), dtype="f4").reshape(SHAPE)
KEPT = keep(SHAPE, 0.5, seed=0, step=3)
DROPPED = 2 * X * KEPT
SPECS = [P(), P("a"), P(None, "a"), P("a", "b"), P("b", "a"), P(("a", "b")), P(None, ("b", "a"))]
COLLECTIVE = re.compile("all-gather|all-reduce|all-to-all|reduce-scatter|collective|send|recv")


def drop(x):
    return anydrop.dropout(x, 0.5, seed=0, step=3)


def cube(x):
    return (drop(x) ** 3).sum() / 3


@pytest.fixture(params=[AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
def mesh(request):
    mesh = jax.make_mesh((4, 2), ("a", "b"), (request.param,) * 2, devices=jax_ways.DEVICES)
    if request.param is AxisType.Auto:
        yield mesh
        return
    with jax.set_mesh(mesh):  # without which JAX can't differentiate a sum of such an array
        yield mesh


def on(mesh, spec, x=X):
    return jax.device_put(x, NamedSharding(mesh, spec))


def compiled(f, *args):
    return jax.jit(f).lower(*args).compile().as_text()


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_it_stays_where_it_is(mesh, spec):
    x = on(mesh, spec)
    for f in (drop, jax.jit(drop)):
        y = f(x)
        assert np.array_equal(y, DROPPED)
        assert y.sharding.is_equivalent_to(x.sharding, 2)
    gradient = jax.jit(jax.grad(cube))(x)
    assert np.array_equal(gradient, 2 * KEPT * DROPPED**2)
    assert gradient.sharding.is_equivalent_to(x.sharding, 2)


@pytest.mark.parametrize("spec", SPECS[1:], ids=str)
def test_each_device_draws_its_part_alone(mesh, spec):
    """No collective, and no array of the global shape, is in the compiled program."""
    x = on(mesh, spec)
    for program in (compiled(drop, x), compiled(lambda x: jax.vjp(drop, x)[1](x), x)):
        assert not COLLECTIVE.search(program)
        assert "[16,24]" not in program
        assert f"[{','.join(map(str, x.sharding.shard_shape(SHAPE)))}]" in program


def test_that_a_collective_would_be_seen(mesh):
    x = on(mesh, P("a", "b"))
    assert COLLECTIVE.search(compiled(lambda x: drop(x) / x.sum(), x))
    replicated = NamedSharding(mesh, P())
    gathered = jax.jit(drop, out_shardings=replicated).lower(x).compile().as_text()
    assert COLLECTIVE.search(gathered)
    assert "[16,24]" in gathered


def test_uneven_shards():
    """13 rows on 8 devices, as they may be between two operations: padded to two rows each."""
    mesh = jax.make_mesh((8,), ("a",), (AxisType.Auto,), devices=jax_ways.DEVICES)
    rows = NamedSharding(mesh, P("a"))

    def program(x):
        x = jax.lax.with_sharding_constraint(x + 1, rows)
        return jax.lax.with_sharding_constraint(drop(x), rows).sum(1)

    x = np.arange(65, dtype="f4").reshape(13, 5)
    expected = 2 * (x + 1) * keep((13, 5), 0.5, seed=0, step=3)
    assert np.array_equal(jax.jit(program)(x), expected.sum(1))
    assert re.search(r"u(32|64)\[2,5\]", compiled(program, x))
    assert not re.search(r"u(32|64)\[13,5\]", compiled(program, x))


def test_shard_map_with_a_traced_window(mesh):
    """What each device does by hand: its place in the mesh is its offset."""

    def local(x):
        offset = jax.lax.axis_index("a") * 4, jax.lax.axis_index("b") * 12
        return anydrop.dropout(x, 0.5, seed=0, step=3, window=Window(offset, SHAPE))

    x = on(mesh, P("a", "b"))
    f = jax.shard_map(local, mesh=mesh, in_specs=P("a", "b"), out_specs=P("a", "b"))
    for wrap in (lambda f: f, jax.jit):
        y = wrap(f)(x)
        assert np.array_equal(y, DROPPED)
        assert y.sharding.is_equivalent_to(x.sharding, 2)
        gradient = wrap(jax.grad(lambda x: (f(x) ** 3).sum() / 3))(x)
        assert np.array_equal(gradient, 2 * KEPT * DROPPED**2)
    assert not COLLECTIVE.search(compiled(f, x))


@pytest.mark.parametrize("shared", [(), (0,), (1,), (0, 1)], ids=str)
def test_masks_lie_beside_the_array(mesh, shared):
    x = on(mesh, P("a", "b"))
    mask = Mask.from_seed(SHAPE, 0.5, seed=0, step=3, shared_axes=shared)
    expected = keep(SHAPE, 0.5, seed=0, step=3, shared_axes=shared)
    spec = P(*(None if a in shared else name for a, name in enumerate("ab")))
    kept = mask.keep(like=x)
    assert np.array_equal(kept, expected)
    assert kept.sharding.is_equivalent_to(NamedSharding(mesh, spec), 2)
    y = mask.apply(x)
    assert np.array_equal(y, 2 * X * expected)
    assert y.sharding.is_equivalent_to(x.sharding, 2)
    like = on(mesh, P("a"), np.ones(8, "f4"))
    assert np.array_equal(mask.keep(like=like), expected)


@pytest.mark.parametrize("source", [{"seed": 0}, {"rng": jax.random.key(0)}], ids=["seed", "rng"])
def test_a_layer(mesh, source):
    x = on(mesh, P("a", "b"))
    # JAX 0.8 and 0.9 can't copy an empty array on explicit axes, which a layer's copy holds.
    copied = mesh.axis_types[0] is AxisType.Auto or jax.__version_info__ >= (0, 10)
    layer, alone = Dropout(0.5, **source), Dropout(0.5, **source)
    for twin in (layer, copy.deepcopy(layer)):
        y = twin(x)
        assert np.array_equal(y, 2 * x * twin.mask)
        assert y.sharding.is_equivalent_to(x.sharding, 2)
        assert twin.mask.sharding.is_equivalent_to(x.sharding, 2)
        again = copy.deepcopy(twin) if copied else twin
        assert np.array_equal(again.mask, twin.mask)
        assert again.mask.devices() == x.devices()
        assert np.array_equal(again.backward(x), y)
        assert np.array_equal(twin.backward(X), y)
    assert np.array_equal(alone(jnp.asarray(X)), y)


def test_one_device_of_many():
    device = jax_ways.DEVICES[3]
    x = jax.device_put(X, device)
    mask = Mask.from_seed(SHAPE, 0.5, seed=0, step=3)
    layer = Dropout(0.5, rng=jax.random.key(0))
    y = layer(x)
    for array in (mask.keep(like=x), mask.apply(x), y, layer.mask, layer.backward(x)):
        assert array.devices() == {device}
    assert np.array_equal(mask.apply(x), DROPPED)
    # A stored mask follows the gradient to another device, and to another library.
    other = jax.device_put(X, jax_ways.DEVICES[5])
    assert layer.backward(other).devices() == {jax_ways.DEVICES[5]}
    assert np.array_equal(layer.backward(other), y)
    assert np.array_equal(layer.backward(X), y)


def test_probes_name_one_device_of_each_platform():
    probes = anydrop.backends.load("jax").probes()
    platforms = [like.device.platform for _, like in probes]
    assert len(platforms) == len(set(platforms))
    assert set(platforms) == {device.platform for device in jax.devices()}
    assert all(backend.kernel == "XLA" for backend, _ in probes)


@pytest.mark.parametrize("protected", [(), (7,)])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_tokens_that_are_cut(mesh, spec, protected):
    ids = np.arange(math.prod(SHAPE), dtype="i4").reshape(SHAPE)
    options = {"p": 0.5, "token": 0, "protected": protected, "seed": 0, "step": 3}
    expected = anydrop.token_dropout(ids, **options)
    cut, function = on(mesh, spec, ids), partial(anydrop.token_dropout, **options)
    for y in (function(cut), jax.jit(function)(cut)):
        assert np.array_equal(y, expected)
        assert y.sharding.is_equivalent_to(cut.sharding, 2)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_states_that_are_cut(mesh, spec, training):
    """One of them as it was put, and one as JAX's own operations write its sharding."""
    new, previous = on(mesh, spec), jnp.negative(on(mesh, spec))
    expected = anydrop.zoneout(X, -X, 0.5, seed=0, training=training)
    function = partial(anydrop.zoneout, p=0.5, seed=0, training=training)
    for zone in (function, jax.jit(function)):
        y = zone(new, previous)
        assert np.array_equal(y, expected)
        assert y.sharding.is_equivalent_to(new.sharding, 2)
    shares = jax.grad(lambda new, previous: (function(new, previous) ** 2).sum() / 2, (0, 1))
    if training:
        by_new, by_previous = jax.jit(shares)(new, previous)
        assert np.array_equal(by_new, np.where(expected == X, expected, 0))
        assert np.array_equal(by_previous, np.where(expected == -X, expected, 0))


NOISE = {
    "gaussian_dropout": lambda x: anydrop.gaussian_dropout(x, 0.3, seed=0, step=3),
    "gaussian_noise": lambda x: anydrop.gaussian_noise(x, 0.3, seed=0, step=3),
    "a shared axis": lambda x: anydrop.gaussian_noise(x, 0.3, seed=0, shared_axes=0),
}


@pytest.mark.parametrize("function", NOISE.values(), ids=list(NOISE))
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_noise_that_is_cut(mesh, spec, function):
    x, expected = on(mesh, spec), function(X)
    for noisy in (function, jax.jit(function)):
        y = noisy(x)
        assert np.array_equal(y, expected)
        assert y.sharding.is_equivalent_to(x.sharding, 2)
    assert not COLLECTIVE.search(compiled(function, x))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_blocks_that_are_cut(mesh, spec):
    """Along the batch and the channels no device needs another's part of the mask."""
    maps = np.arange(1.0, 1 + 8 * 8 * 6 * 5, dtype="f4").reshape(8, 8, 6, 5)
    drop_blocks = partial(anydrop.drop_block2d, p=0.3, block_size=3, seed=0)
    expected, mask = drop_blocks(maps, return_mask=True)
    x = on(mesh, spec, maps)
    for function in (drop_blocks, jax.jit(drop_blocks)):
        y = function(x)
        assert np.array_equal(y, expected)
        assert y.sharding.is_equivalent_to(x.sharding, 4)
    assert not COLLECTIVE.search(compiled(drop_blocks, x))
    kept = mask.keep(like=x)
    assert np.array_equal(kept, mask.keep(like=maps))
    assert kept.sharding.is_equivalent_to(x.sharding, 4)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_sums_that_are_cut(mesh, spec, training):
    """At once and under jit, with a bias that is whole on each device; and their gradients."""
    x, residual, bias = on(mesh, spec), jnp.negative(on(mesh, spec)), on(mesh, P(), X[0])
    add = partial(anydrop.dropout_add, p=0.5, seed=0, training=training)
    expected = add(X, -X, bias=X[0])
    for function in (add, jax.jit(add)):
        y = function(x, residual, bias=bias)
        assert np.array_equal(y, expected)
        assert y.sharding.is_equivalent_to(x.sharding, 2)
    if training:
        _, mask = add(x, residual, bias=bias, return_mask=True)
        for ours, theirs in zip(mask.apply(x), mask.apply(X), strict=True):
            assert np.array_equal(ours, theirs)


def test_states_on_other_devices():
    new, previous = (jax.device_put(X, device) for device in jax_ways.DEVICES[:2])
    with pytest.raises(ValueError, match="previous must have the device of x"):
        anydrop.zoneout(new, previous, 0.5, seed=0)


PROCESS = """
    import os
    import jax
    jax.distributed.initialize(os.environ["ADDRESS"], 2, int(os.environ["RANK"]))
    import numpy as np, anydrop
    from jax.sharding import NamedSharding, PartitionSpec
    x = np.arange(16 * 24, dtype="f4").reshape(16, 24)
    whole = NamedSharding(jax.make_mesh((2,), ("a",)), PartitionSpec("a"))
    cut = jax.make_array_from_callback(x.shape, whole, lambda index: x[index])
    mask = anydrop.Mask.from_seed(x.shape, 0.5, seed=0)
    y, expected = anydrop.dropout(cut, 0.5, seed=0), anydrop.dropout(x, 0.5, seed=0)
    parts = [np.array_equal(p.data, expected[p.index]) for p in y.addressable_shards]
    print(cut.is_fully_addressable, mask.digest(like=cut) == mask.digest(), parts)
"""


def test_a_digest_of_an_array_of_two_processes():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"

    def process(rank):
        flags = {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
        return python(PROCESS, RANK=str(rank), ADDRESS=address, **flags).splitlines()[-1]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(process, range(2))) == ["False True [True]"] * 2
