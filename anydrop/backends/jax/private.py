"""Undocumented or new names of JAX. Each has a test that fails if a release changes it."""

from __future__ import annotations

from typing import Any

import jax
from jax.core import Tracer

from anydrop.core.typing import Array


def untraced(x: Array) -> Array | None:
    """Return the array behind the tracers of derivatives, or None if a compiler traces it."""
    while isinstance(x, Tracer):
        x = getattr(x, "primal", None)
    return x


def within_explicit_axes(program: Any, x: Array, *, whole: bool = False) -> Any:
    """Let the compiler shard a program's parts as it shards x.

    On a mesh with explicit axes it would not: all that does not come from x, the whole mask, would
    be drawn on each device. The result is sharded as x, or `whole` on each device.
    """
    sharding = jax.typeof(x).sharding
    if jax.sharding.AxisType.Explicit not in sharding.mesh.axis_types:
        return program
    if whole:
        sharding = jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
    return jax.sharding.auto_axes(program, out_sharding=sharding)
