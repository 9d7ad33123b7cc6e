"""What JAX does not document, or has not had for long: all in one file, and what is relied on."""

import pytest
from private_names import named, used_by_file
from subjects import available

if not available("jax"):
    pytest.skip("jax is not installed here; nox -s tests-jax runs this", allow_module_level=True)
import jax
import jax.numpy as jnp

UNOFFICIAL = ("primal", "jax.sharding.auto_axes", "jax.sharding.AxisType", "jax.typeof")
X = jnp.arange(4.0)


def test_the_array_that_a_derivative_traces_outside_of_jit():
    seen = []

    def function(x):
        seen.append(x)
        return x.sum()

    jax.grad(function)(X)
    assert seen[0].primal is not None, "jax's tracers have no attribute `primal`"
    assert seen[0].primal is X
    jax.jit(function)(X)
    assert not hasattr(seen[1], "primal")


def test_a_mesh_with_explicit_axes():
    typeof, explicit, auto_axes = map(
        named, ("jax.typeof", "jax.sharding.AxisType.Explicit", "jax.sharding.auto_axes")
    )
    mesh = jax.make_mesh((1,), ("row",), axis_types=(explicit,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("row"))
    x = jax.device_put(X, sharding)
    assert explicit in typeof(x).sharding.mesh.axis_types
    assert explicit not in typeof(X).sharding.mesh.axis_types
    seen = []

    def double(x):
        seen.append(typeof(x).sharding.mesh.axis_types)
        return 2 * x

    y = jax.jit(lambda x: auto_axes(double, out_sharding=typeof(x).sharding)(x))(x)
    assert y.sharding == sharding
    assert explicit not in seen[0]


def test_they_are_used_in_one_file():
    names = {*UNOFFICIAL, "jax.sharding.AxisType.Explicit"} - {"jax.sharding.AxisType"}
    assert used_by_file("jax", UNOFFICIAL) == {"backends/jax/private.py": names}
