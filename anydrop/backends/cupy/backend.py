"""CuPy: CUDA kernels that draw and apply a mask in one pass over memory.

Nothing here waits for the device, except to read a step or a window's offset that is an array.
Kernels run on the array's device, in its current stream.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cupy
import numpy as np

from anydrop.backends.base import COMPUTE, Backend
from anydrop.backends.common.strides import forbid_broadcast
from anydrop.backends.cupy import launch, sources
from anydrop.core import check
from anydrop.core.recipe import Recipe
from anydrop.core.typing import Array

# CuPy's packbits counts elements in 32 bits, so longer masks are packed in pieces.
PACKED = 2**30

# CUDA's errors if there is no device, or no driver, or one that is too old.
NO_DEVICE = ("cudaErrorNoDevice", "cudaErrorInsufficientDriver")


class CupyBackend(Backend):
    """The backend of CuPy arrays on NVIDIA GPUs."""

    namespace = "array_api_compat.cupy"
    kernel = "CUDA"

    def keep(self, recipe: Recipe, like: Array) -> Array:
        """Return the boolean keep mask of a recipe; see `Backend.keep`."""
        return self._drawn("bool", recipe, like, "bool")

    def normals(self, recipe: Recipe, like: Array) -> Array:
        """Return standard normal numbers, drawn in one pass; see `Backend.normals`."""
        dtype = COMPUTE[self.dtype_name(like)]
        return self._drawn(f"normals_{dtype}", recipe, like, dtype)

    def _drawn(self, name: str, recipe: Recipe, like: Array, dtype: str) -> Array:
        """Draw a recipe with a kernel, on the device of `like`."""
        with like.device:
            drawn = cupy.empty(recipe.keep_shape, dtype)
            if drawn.size:
                self._run(launch.draw(name, recipe, _memory(drawn)))
        return drawn

    def select(
        self,
        x: Array,
        keep: Recipe | Array | None,
        scale: float,
        shift: float | None = None,
        fill: float = 0.0,
        out: Array | None = None,
    ) -> Array:
        """Return ``where(keep, x * scale + shift, fill)``; see `Backend.select`.

        One pass over memory draws and applies the mask. Only an `out` that partly overlaps `x`
        costs a copy.
        """
        return self._selected(x, keep, (scale, shift, fill), out)

    def _selected(
        self,
        x: Array,
        keep: Recipe | Array | None,
        affine: tuple[float, float | None, float],
        out: Array | None,
        inverse: bool = False,
    ) -> Array:
        dtype = self.dtype_name(x)

        def prepared(target: launch.Memory, source: launch.Memory) -> launch.Launch:
            mask = _mask(keep, x.shape)
            return launch.select(dtype, x.shape, source, target, mask, *affine, inverse)

        return self._written(prepared, (x,), x.dtype, out)

    def perturb(
        self, x: Array, recipe: Recipe, std: float, relative: bool, out: Array | None = None
    ) -> Array:
        """Return ``x * (1 + std * z)`` or ``x + std * z``, in one pass; see `Backend.perturb`."""
        dtype = self.dtype_name(x)

        def prepared(target: launch.Memory, source: launch.Memory) -> launch.Launch:
            return launch.perturb(dtype, x.shape, source, target, recipe, std, relative)

        return self._written(prepared, (x,), x.dtype, out)

    def choose(
        self,
        new: Array | None,
        previous: Array | None,
        keep: Recipe | Array,
        out: Array | None = None,
    ) -> Array:
        """Return ``where(keep, new, previous)``, in one pass; see `Backend.choose`."""
        if new is None or previous is None:
            only = previous if new is None else new
            return self._selected(only, keep, (1.0, None, 0.0), out, inverse=new is None)
        shape, dtype = new.shape, self.dtype_name(new)

        def prepared(target: launch.Memory, *sources: launch.Memory) -> launch.Launch:
            return launch.choose(dtype, shape, target, sources, _mask(keep, shape))

        return self._written(prepared, (new, previous), new.dtype, out)

    def select_add(
        self,
        x: Array,
        residual: Array,
        keep: Recipe | Array | None,
        scale: float,
        bias: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """Return ``residual + where(keep, (x + bias) * scale, 0)``; see `Backend.select_add`.

        One pass over memory draws and applies the mask. Only an `out` that partly overlaps another
        array costs a copy of that array.
        """
        inputs = (x, residual) if bias is None else (x, residual, bias)
        dtypes = tuple(map(self.dtype_name, inputs))

        def prepared(target: launch.Memory, *sources: launch.Memory) -> launch.Launch:
            mask = _mask(keep, x.shape)
            return launch.select_add(dtypes, x.shape, target, sources, mask, scale)

        return self._written(prepared, inputs, residual.dtype, out)

    def _written(
        self,
        prepared: Callable[..., launch.Launch],
        inputs: tuple[Array, ...],
        dtype: Any,
        out: Array | None,
    ) -> Array:
        """Apply a kernel to arrays that broadcast to the shape of the first one.

        `prepared` takes the `Memory` of the result and of the arrays. An array that partly overlaps
        the result is copied first.
        """
        x = inputs[0]
        with x.device:
            y = cupy.empty_like(x, dtype=dtype) if out is None else out
            if not x.size:
                return y
            target, sources = _memory(y), []
            for array in inputs:
                source = cupy.broadcast_to(array, x.shape)
                if _memory(source) != target and cupy.may_share_memory(source, y):
                    source = cupy.broadcast_to(array.copy(), x.shape)
                sources.append(source)
            self._run(prepared(target, *map(_memory, sources)))
        return y

    def sum_to(self, x: Array, shape: tuple[int, ...], dtype: str) -> Array:
        """Sum x to a shape; see `Backend.sum_to`."""
        with x.device:
            return super().sum_to(x, shape, dtype)

    def draw(self, rng: Any, shape: tuple[int, ...], p: float, like: Array) -> Array:
        """Return ``uniform(shape) < 1 - p`` from a generator of CuPy's."""
        self.check_generator(rng, like)
        uniform = rng.random if isinstance(rng, cupy.random.Generator) else rng.random_sample
        with like.device:
            return uniform(shape) < 1.0 - p

    def check_generator(self, rng: Any, like: Array) -> None:
        """Raise if `rng` is no generator of CuPy's."""
        kinds = cupy.random.Generator, cupy.random.RandomState
        if rng is not cupy.random and not isinstance(rng, kinds):
            raise TypeError(
                "rng must be a cupy.random.Generator, a cupy.random.RandomState or the module "
                f"cupy.random for a CuPy array, got {check.described(rng)}; a seed goes to seed="
            )

    def owns(self, x: object) -> bool:
        """Tell whether `x` is a plain CuPy array. A subclass may behave differently."""
        return type(x) is cupy.ndarray

    def device(self, x: Array) -> Any:
        """Return the device of an array, a `cupy.cuda.Device`."""
        return x.device

    def empty(self, device: Any) -> Array:
        """Return an array of no elements, which represents CuPy and a device."""
        with device:
            return cupy.empty(0)

    def pack(self, keep: Array) -> Array:
        """Return a boolean mask as bits in uint8, the first of eight in the lowest."""
        with keep.device:
            flat = keep.reshape(-1)
            pieces = [
                cupy.packbits(flat[a : a + PACKED], bitorder="little")
                for a in range(0, max(1, flat.size), PACKED)
            ]
            return pieces[0] if len(pieces) == 1 else cupy.concatenate(pieces)

    def unpack(self, bits: Array, shape: tuple[int, ...], like: Array) -> Array:
        """Return the boolean mask of bits that `pack` made."""
        with like.device:
            flat = cupy.unpackbits(bits, bitorder="little")[: math.prod(shape)]
            return flat.view(cupy.bool_).reshape(shape)

    def from_numpy(self, x: np.ndarray[Any, Any], like: Array) -> Array:
        """Convert a NumPy array to CuPy, on the device of `like`."""
        with like.device:
            return cupy.asarray(x)

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        """Convert an array to NumPy, once the device has finished its work."""
        with x.device:
            array: np.ndarray[Any, Any] = cupy.asnumpy(x)
        return array

    def probes(self) -> list[tuple[Backend, Array]]:
        """Return a backend and an empty array for each device of this machine."""
        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            if str(error).startswith(NO_DEVICE):
                return []
            raise
        return [(self, self.empty(cupy.cuda.Device(device))) for device in range(count)]

    def check_input(self, x: Array) -> None:
        """Raise if dropout does not support the dtype or byte order of an array."""
        super().check_input(x)
        _check_byte_order(x)

    def check_like(
        self,
        other: Array,
        x: Array,
        name: str,
        dtypes: tuple[str, ...] = (),
        broadcasts: bool = False,
    ) -> None:
        """Raise if an array does not match x; see `Backend.check_like`."""
        super().check_like(other, x, name, dtypes, broadcasts)
        _check_byte_order(other)

    def check_out(self, out: Array, x: Array) -> None:
        """Raise if the result for `x` can't be written to `out`."""
        super().check_out(out, x)
        forbid_broadcast(out)

    def _run(self, prepared: launch.Launch) -> None:
        """Start a kernel on the current device and in its current stream."""
        kernel = _kernel(prepared.family, prepared.kernel)
        kernel((prepared.blocks,), (prepared.threads,), (prepared.args,))


def _check_byte_order(x: Array) -> None:
    if not x.dtype.isnative:
        raise TypeError(
            f"CuPy computes only in the machine's byte order, got dtype {x.dtype.str}; convert "
            "the array in NumPy first"
        )


@lru_cache
def _kernel(family: str, name: str) -> Any:
    # It is compiled at its first call on a device. CuPy caches the binary on disk.
    return cupy.RawKernel(sources.source(family), name, sources.OPTIONS)


def _memory(x: Array) -> launch.Memory:
    return launch.Memory(x.data.ptr, x.strides)


def _mask(keep: Recipe | Array | None, shape: tuple[int, ...]) -> Recipe | launch.Memory | None:
    """Return a mask as a launch takes it."""
    given = keep is not None and not isinstance(keep, Recipe)
    return _memory(cupy.broadcast_to(keep, shape)) if given else keep
