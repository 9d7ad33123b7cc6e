"""What works with which array library: one table for the documentation and for the tests' skips.

Nothing else in the package reads it. A backend describes itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Cell(NamedTuple):
    """Whether something works, and a note about it."""

    works: bool
    note: str = ""


def yes(note: str = "") -> Cell:
    """Return the cell of something that works."""
    return Cell(True, note)


def no(because: str) -> Cell:
    """Return the cell of something that does not work, with the reason."""
    return Cell(False, because)


NOTHING: Mapping[str, Cell] = MappingProxyType({})


class Library(NamedTuple):
    """The row of a supported array library.

    Parameters
    ----------
    features : mapping of str to Cell
        One cell for each of `FEATURES`.
    dtypes : mapping of str to Cell
        Notes about single dtypes. A dtype of the contract that has no note works.
    """

    features: Mapping[str, Cell]
    dtypes: Mapping[str, Cell] = NOTHING


# The columns. Masks, outputs, windows and shared axes work with every library.
FEATURES = {
    "out": "`out=`",
    "rng": "`rng=`",
    "gradients": "autograd",
    "traced": "compiled",
    "parts": "parts",
    "eager": "eager",
    "device": "GPU",
}

_NO_GRADIENTS = no("the library has none")
_NO_COMPILER = no("the library has no compiler")
_WINDOW = yes("pass `window=` to say where the part lies")
_FLUSHED = yes("XLA turns subnormal numbers into zeros on the CPU")

LIBRARIES = {
    "numpy": Library(
        {
            "out": yes(),
            "rng": yes("`numpy.random.Generator`, `RandomState` or the module `numpy.random`"),
            "gradients": _NO_GRADIENTS,
            "traced": _NO_COMPILER,
            "parts": _WINDOW,
            "eager": yes(),
            "device": no("NumPy arrays are in the CPU's memory"),
        },
        {"bfloat16": yes("needs `ml_dtypes`")},
    ),
    "cupy": Library(
        {
            "out": yes(),
            "rng": yes("`cupy.random.Generator`, `RandomState` or the module `cupy.random`"),
            "gradients": _NO_GRADIENTS,
            "traced": no("the library has no compiler. A captured CUDA graph repeats its step"),
            "parts": _WINDOW,
            "eager": yes(),
            "device": yes("NVIDIA only. It has run on [an H200](/explanation/gpu.md)"),
        },
        {
            "bfloat16": yes(
                "needs `ml_dtypes`. Arrays of all dtypes must have the machine's own byte order"
            )
        },
    ),
    "torch": Library(
        {
            "out": yes(
                "if `x` requires a gradient, `out` must be `x` itself, and `x` must not be a leaf"
            ),
            "rng": yes("a `torch.Generator` on the tensor's device"),
            "gradients": yes("backward mode, forward mode and `torch.func`. No mask is saved"),
            "traced": yes("`torch.compile(fullgraph=True)`, `torch.export` and `make_fx`"),
            "parts": yes("each shard of a `DTensor` draws its part of the whole mask"),
            "eager": yes(),
            "device": yes(
                "on CUDA by Triton, which has run on [an NVIDIA H200](/explanation/gpu.md). "
                "Other devices use plain PyTorch, which has not been tried on them"
            ),
        },
        {
            "bfloat16": yes(
                "the tests run the Triton kernel in an interpreter, which does not round to it. "
                "A GPU does"
            )
        },
    ),
    "jax": Library(
        {
            "out": no("JAX arrays are immutable"),
            "rng": yes("a key of `jax.random`, new-style or old-style"),
            "gradients": yes("`grad`, `jvp`, `vmap` and `checkpoint`. No mask is saved"),
            "traced": yes(
                "`jit`, `scan` and `shard_map`. The offset of a window may be traced, too"
            ),
            "parts": yes("sharded arrays stay sharded, and the devices don't communicate"),
            "eager": yes(),
            "device": yes(
                "by XLA. It has run on [an NVIDIA H200](/explanation/gpu.md), and on no other "
                "accelerator"
            ),
        },
        {
            "bfloat16": _FLUSHED,
            "float32": _FLUSHED,
            "complex64": _FLUSHED,
            "float64": yes(f"needs x64 mode. {_FLUSHED.note}"),
            "complex128": yes(f"needs x64 mode. {_FLUSHED.note}"),
        },
    ),
    "dask": Library(
        {
            "out": no("a Dask array is a graph, and has no memory to write to"),
            "rng": yes("`dask.array.random.Generator` or `RandomState`"),
            "gradients": _NO_GRADIENTS,
            "traced": no("the step must be known when the graph is built"),
            "parts": yes("any chunks, of NumPy or CuPy arrays, give the same mask"),
            "eager": no("each call adds to a graph. `compute()` runs it"),
            "device": no("chunks of CuPy arrays have not been tried on a GPU yet"),
        },
        {"bfloat16": yes("needs `ml_dtypes`")},
    ),
    "array_api_strict": Library(
        {
            "out": yes(),
            "rng": no("the standard has no generators"),
            "gradients": _NO_GRADIENTS,
            "traced": _NO_COMPILER,
            "parts": _WINDOW,
            "eager": yes(),
            "device": no("its devices are simulated, to find code that mixes devices"),
        },
        {
            "float16": no("the standard has no half types"),
            "bfloat16": no("the standard has no half types"),
            "float64": yes("only on its devices that have it"),
            "complex128": yes("only on its devices that have it"),
        },
    ),
}

# Libraries that implement the standard themselves. They run on the contract's own code. The tests
# cover only cubed. These results were seen once, by hand, in 2026-11.
BY_THE_STANDARD = {
    "cubed": "version 0.27 draws the published masks. It is slow: `anydrop verify` takes a minute "
    "for a million elements. Arrays with their own `spec=` are refused, so set the spec with "
    "`cubed.config`",
    "dpnp": "version 0.20 draws all published masks on OpenCL's CPU device. Its outputs have the "
    "same bits as NumPy's",
    "ndonnx": "version 0.23 draws the published masks, also from an exported model. A kept -0 "
    "becomes +0. The library has no DLPack, so there are no digests",
    "mparray": "version 0.2 draws the right masks. It does not round float32 and complex64 to 32 "
    "bits. The library has no DLPack, so there are no digests",
}
