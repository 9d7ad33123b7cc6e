"""philox.cu, compiled for the host by its C++ compiler, on NumPy's memory.

The kernels, their arguments and their launches are those of CuPy's backend; what CUDA brings is in
cuda_host/device.h. Importing this raises ImportError where there is no compiler for it.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.lib.array_utils import byte_bounds

from anydrop.backends.base import COMPUTE, dtype_name
from anydrop.backends.common.composed import Composed
from anydrop.backends.cupy import launch as cuda
from anydrop.backends.cupy import sources
from anydrop.backends.numpy.backend import NumpyBackend

HEADERS = Path(__file__).parent / "cuda_host"
# A product and a sum are not fused; no warnings of pragmas that only CUDA knows.
OPTIONS = ("-std=c++17", "-O2", "-ffp-contract=off", "-fno-strict-aliasing", "-shared", "-fPIC")


def _compiler() -> str:
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise ImportError("no C++ compiler here: g++ 12 or later, or the one that CXX names")
    version = subprocess.run([compiler, "-dumpversion"], capture_output=True, text=True, check=True)
    if int(version.stdout.split(".")[0]) < 12:
        raise ImportError(f"{compiler} {version.stdout.strip()} has no _Float16: g++ has since 12")
    return compiler


COMPILER = _compiler()


class Watch(ctypes.Structure):
    """What a launch may touch, and what it did to memory; as in device.h."""

    _fields_ = [
        ("readable", ctypes.c_uint64 * 8),
        ("writable", ctypes.c_uint64 * 2),
        ("out_of_bounds", ctypes.c_uint64),
        ("misaligned", ctypes.c_uint64),
        ("bytes_read", ctypes.c_uint64),
        ("bytes_written", ctypes.c_uint64),
        ("vectors", ctypes.c_uint64),
    ]


@lru_cache
def library(source: str | None = None) -> ctypes.CDLL:
    """Return the compiled kernels of all dtypes, of philox.cu or of another text in its place."""
    folder = tempfile.mkdtemp(prefix="anydrop-cuda-on-host-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if source is None:
        source = sources.template()
    text = [
        '#include "device.h"',
        source,
        *map(sources.instances, sources.FAMILIES),
        '#include "launch.h"',
    ]
    unit = Path(folder, "kernels.cpp")
    unit.write_text("\n".join(text))
    command = [COMPILER, *OPTIONS, f"-I{HEADERS}", str(unit), "-o", f"{folder}/kernels.so"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(f"{folder}/kernels.so")


def memory(x: np.ndarray) -> cuda.Memory:
    return cuda.Memory(x.ctypes.data, x.strides)


def mask(keep, shape):
    """Return what a launch takes for a mask."""
    return memory(np.broadcast_to(keep, shape)) if isinstance(keep, np.ndarray) else keep


def dtype(x: np.ndarray) -> str:
    return dtype_name(x.dtype)


def run(launch: cuda.Launch, y, read, geometry=None, source=None, only=None) -> Watch:
    """Run a launch, or its blocks `only`, and return what it did to memory.

    It may write to y and read four arrays at most; where those are None, all memory.
    """
    all_memory = (0, 2**64 - 1)
    readable = all_memory
    if read is not None:
        readable = [edge for array in read for edge in byte_bounds(array)]
    writable = all_memory if y is None else byte_bounds(y)
    seen = Watch((ctypes.c_uint64 * 8)(*readable), (ctypes.c_uint64 * 2)(*writable))
    blocks, threads = geometry or (launch.blocks, launch.threads)
    kernels = library(source)
    args = ctypes.c_void_p(launch.args.__array_interface__["data"][0])
    kernel = getattr(kernels, launch.kernel)
    start = (
        kernels.launch_more if launch.args.dtype == cuda.BYTES[cuda.MoreArgs] else kernels.launch
    )
    start(kernel, args, blocks, threads, *(only or (0, blocks)), ctypes.byref(seen))
    return seen


class HostCuda(NumpyBackend):
    """CuPy's kernels, serving NumPy arrays.

    Parameters
    ----------
    geometry : pair of int, optional
        Blocks and threads of every launch, instead of those that a launch asks for.
    source : str, optional
        The text of philox.cu, if another one.
    """

    def __init__(self, geometry=None, source=None):
        super().__init__(use_numba=False)
        self.plans = None  # which would be of NumPy's kernels
        self.geometry = geometry
        self.source = source
        self.seen: Watch | None = None

    @property
    def kernel(self):
        return "CUDA on the host"

    def keep(self, recipe, like):
        keep = np.empty(recipe.keep_shape, np.bool_)
        if keep.size:
            self._launch(cuda.draw("bool", recipe, memory(keep)), keep, [])
        return keep

    def normals(self, recipe, like):
        dtype = COMPUTE[dtype_name(like.dtype)]
        drawn = np.empty(recipe.keep_shape, dtype)
        if drawn.size:
            self._launch(cuda.draw(f"normals_{dtype}", recipe, memory(drawn)), drawn, [])
        return drawn

    def select(self, x, keep, scale, shift=None, fill=0.0, out=None, inverse=False):
        def prepared(y, x):
            where = mask(keep, x.shape)
            arrays = memory(x), memory(y), where
            return cuda.select(dtype(x), x.shape, *arrays, scale, shift, fill, inverse)

        return self._written(prepared, [np.asarray(x)], keep, out)

    def perturb(self, x, recipe, std, relative, out=None):
        def prepared(y, x):
            return cuda.perturb(dtype(x), x.shape, memory(x), memory(y), recipe, std, relative)

        return self._written(prepared, [np.asarray(x)], recipe, out)

    def choose(self, new, previous, keep, out=None):
        if new is None or previous is None:
            only = previous if new is None else new
            return self.select(only, keep, 1.0, out=out, inverse=new is None)

        def prepared(y, *arrays):
            places = tuple(map(memory, arrays))
            return cuda.choose(dtype(y), y.shape, memory(y), places, mask(keep, y.shape))

        return self._written(prepared, [np.asarray(new), np.asarray(previous)], keep, out)

    def select_add(self, x, residual, keep, scale, bias=None, out=None):
        def prepared(y, *arrays):
            places = tuple(map(memory, arrays))
            where = mask(keep, y.shape)
            return cuda.select_add(dtypes, y.shape, memory(y), places, where, scale)

        arrays = [x, residual] if bias is None else [x, residual, bias]
        dtypes = tuple(map(dtype, arrays))
        return self._written(prepared, arrays, keep, out, residual.dtype)

    # CuPy has no kernels for these.
    keep_blocks, select_blocks = Composed.keep_blocks, Composed.select_blocks

    def _written(self, prepared, arrays, keep, out, kind=None):
        """Run the launch that `prepared` returns for the result and the arrays."""
        x = arrays[0]
        y = np.empty_like(x, kind, subok=False) if out is None else out
        if not all(array.dtype.isnative and array.flags.aligned for array in (y, *arrays)):
            # CUDA knows no such arrays.
            native = [array.astype(array.dtype.newbyteorder("=")) for array in arrays]
            y[...] = self._written(prepared, native, keep, None, y.dtype.newbyteorder("="))
            return y
        wide = [np.broadcast_to(array, x.shape) for array in arrays]
        for a, array in enumerate(wide):
            if memory(array) != memory(y) and np.may_share_memory(array, y):
                wide[a] = array.copy()
        if x.size:
            read = [*wide, keep] if isinstance(keep, np.ndarray) else wide
            self._launch(prepared(y, *wide), y, read)
        return y

    def _launch(self, launch: cuda.Launch, y, read) -> None:
        """Run a kernel, and fail if it touched what it may not, or left an element out."""
        seen = self.seen = run(launch, y, read, self.geometry, self.source)
        assert not seen.out_of_bounds, f"{seen.out_of_bounds} accesses out of bounds"
        assert not seen.misaligned, f"{seen.misaligned} misaligned accesses"
        assert seen.bytes_written == y.nbytes, f"{seen.bytes_written} bytes written, not {y.nbytes}"
