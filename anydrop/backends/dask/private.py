"""Undocumented names of Dask. Each has a test that fails if a release changes it."""

# Dask's functions have no types.
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import Any

from dask.array.core import normalize_chunks
from dask.array.utils import meta_from_array
from dask.layers import ArraySliceDep

from anydrop.core.typing import Array

Chunks = tuple[tuple[int, ...], ...]


def meta(x: Array) -> Array:
    """Return an empty array of the library and on the device of an array's chunks."""
    return x._meta


def meta_like(x: Array, ndim: int, dtype: Any) -> Array:
    """Return such an array of other dimensions and another dtype."""
    # Through bool, since NumPy would warn if complex numbers became real.
    return meta_from_array(meta_from_array(x._meta, ndim, bool), dtype=dtype)


def chunk_slices(chunks: Chunks) -> Any:
    """Return an argument that tells each task of `dask.array.blockwise` where its chunk lies."""
    return ArraySliceDep(chunks)


def chunks_for(wanted: tuple[Any, ...], shape: tuple[int, ...], dtype: str) -> Chunks:
    """Return the chunks of a shape: along each axis their sizes, or "auto"."""
    return normalize_chunks(wanted, shape, dtype=dtype)
