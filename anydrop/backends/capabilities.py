"""What each array library can do here: one table for the documentation and the tests' skips.

Nothing in the package reads it: a backend says of itself what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Cell(NamedTuple):
    """Whether something works, and what there is to say about it."""

    works: bool
    note: str = ""


def yes(note: str = "") -> Cell:
    """Return the cell of what works."""
    return Cell(True, note)


def no(because: str) -> Cell:
    """Return the cell of what does not work, with the reason."""
    return Cell(False, because)


NOTHING: Mapping[str, Cell] = MappingProxyType({})


class Library(NamedTuple):
    """The row of an array library that is served.

    Parameters
    ----------
    features : mapping of str to Cell
        One cell for each of `FEATURES`.
    dtypes : mapping of str to Cell
        What is to be said of single dtypes. Those of the contract that are not named just work.
    """

    features: Mapping[str, Cell]
    dtypes: Mapping[str, Cell] = NOTHING


# What a library may do or not, beside what all of them do: masks, outputs, windows, shared axes.
FEATURES = {
    "out": "`out=`",
    "rng": "`rng=`",
    "gradients": "gradients by the library itself",
    "traced": "in a compiled function, with a traced `step`",
    "parts": "arrays in parts",
    "eager": "results at once",
    "device": "on a GPU",
}

_NO_GRADIENTS = no("it has none of its own; `Dropout.backward`, or the same call on the gradient")
_NO_COMPILER = no("it has no compiler")
_FLUSHED = yes("XLA turns subnormal numbers to zeros on the CPU")

LIBRARIES = {
    "numpy": Library(
        {
            "out": yes(),
            "rng": yes("`numpy.random.Generator`, `RandomState`, the module `numpy.random`"),
            "gradients": _NO_GRADIENTS,
            "traced": _NO_COMPILER,
            "parts": yes("tell by `window=` where a part lies"),
            "eager": yes(),
            "device": no("NumPy's arrays are the host's"),
        },
        {"bfloat16": yes("with `ml_dtypes` installed")},
    ),
    "cupy": Library(
        {
            "out": yes(),
            "rng": yes("`cupy.random.Generator`, `RandomState`, the module `cupy.random`"),
            "gradients": _NO_GRADIENTS,
            "traced": no("it has no compiler; a stream that is captured keeps its step"),
            "parts": yes("tell by `window=` where a part lies"),
            "eager": yes(),
            "device": yes("NVIDIA's alone; it has run on [an H200](/explanation/gpu.md)"),
        },
        {
            "bfloat16": yes(
                "with `ml_dtypes` installed; in the machine's own byte order, as all dtypes"
            )
        },
    ),
    "torch": Library(
        {
            "out": yes("where a gradient runs through `x`: `x` itself, and no leaf"),
            "rng": yes("`torch.Generator` of the tensor's device"),
            "gradients": yes("autograd, forward mode, `torch.func`; no mask is saved"),
            "traced": yes("`torch.compile(fullgraph=True)`, `export`, `make_fx`"),
            "parts": yes("each shard of a `DTensor` draws its window"),
            "eager": yes(),
            "device": yes(
                "by Triton on CUDA, which has run on [an NVIDIA H200](/explanation/gpu.md); "
                "by plain PyTorch on other devices, which has not been tried there"
            ),
        },
        {"bfloat16": yes("Triton's interpreter, of the tests, does not round it; a GPU does")},
    ),
    "jax": Library(
        {
            "out": no("its arrays are immutable"),
            "rng": yes("a key of `jax.random`, of the new kind or the old"),
            "gradients": yes("`grad`, `jvp`, `vmap`, `checkpoint`; no mask among the residuals"),
            "traced": yes("`jit`, `scan`, `shard_map`; also a window's offset"),
            "parts": yes("sharded arrays stay sharded, and no device talks to another"),
            "eager": yes(),
            "device": yes(
                "by XLA: it has run on [an NVIDIA H200](/explanation/gpu.md), and not on others"
            ),
        },
        {
            "bfloat16": _FLUSHED,
            "float32": _FLUSHED,
            "complex64": _FLUSHED,
            "float64": yes(f"with x64 enabled; {_FLUSHED.note}"),
            "complex128": yes(f"with x64 enabled; {_FLUSHED.note}"),
        },
    ),
    "dask": Library(
        {
            "out": no("a graph has no memory to write to before it is computed"),
            "rng": yes("`dask.array.random.Generator`, `RandomState`"),
            "gradients": _NO_GRADIENTS,
            "traced": no("a graph's step is known when it is built"),
            "parts": yes("any chunking, of NumPy or CuPy chunks, gives the one mask"),
            "eager": no("each operation adds to a graph, which is computed when asked for"),
            "device": no("where its chunks are CuPy's; not run on one yet"),
        },
        {"bfloat16": yes("with `ml_dtypes` installed")},
    ),
    "array_api_strict": Library(
        {
            "out": yes(),
            "rng": no("the standard has no generators"),
            "gradients": _NO_GRADIENTS,
            "traced": _NO_COMPILER,
            "parts": yes("tell by `window=` where a part lies"),
            "eager": yes(),
            "device": no("its devices are imitations, by which a mixing of devices is caught"),
        },
        {
            "float16": no("the standard has no half types"),
            "bfloat16": no("the standard has no half types"),
            "float64": yes("on the devices that have it"),
            "complex128": yes("on the devices that have it"),
        },
    ),
}

# Libraries that implement the standard by themselves. The contract's own code serves them, and no
# test here does: what was seen once, by hand, in 2026-11.
BY_THE_STANDARD = {
    "cubed": "0.27: the published masks, slowly (a minute for the million elements of "
    "`anydrop verify`); arrays with a `spec=` of their own are refused, so set the spec by "
    "`cubed.config`",
    "dpnp": "0.20 on OpenCL's CPU device: every published mask, and NumPy's numbers bit by bit",
    "ndonnx": "0.23: the published masks, also from an exported model; a kept -0 comes out as +0, "
    "and it has no DLPack, which digests need",
    "mparray": "0.2: the right masks; float32 and complex64 are not rounded to 32 bits, and it has "
    "no DLPack, which digests need",
}
