"""Backends with a fault each, which the conformance suite must name."""

import numpy as np

from anydrop import Mask
from anydrop.backends.base import Backend
from anydrop.backends.common import pairwise
from anydrop.backends.numpy.backend import NumpyBackend
from anydrop.core.recipe import Recipe


class Compiler:
    """What runs a function once for each value of its arguments, as if it had no state."""

    def __init__(self):
        self.runs = False

    def __call__(self, function):
        results = {}

        def program(*arrays):
            key = tuple(array.tobytes() for array in arrays)
            if key not in results:
                self.runs = True
                try:
                    results[key] = function(*arrays)
                finally:
                    self.runs = False
            return results[key]

        return program


COMPILER = Compiler()


class Sound(NumpyBackend):
    """A backend of two plain steps, in which faults are easily planted."""

    def __init__(self):
        super().__init__(use_numba=False)
        self.plans = None  # they would go around what is planted here, and around the compiler

    def check_stateful(self, *, counts):
        if COMPILER.runs:
            raise TypeError("a layer counts in Python: use the function and pass step=")

    def kept(self, recipe):
        return super().keep(recipe, None)

    def keep(self, recipe, like):
        return self.kept(recipe)

    def put(self, kept, y, fill):
        return np.where(kept, y, fill)

    def select(self, x, keep, scale, shift=None, fill=0.0, out=None):
        y = super().select(x, None, scale, shift)
        if keep is not None:
            kept = self.kept(keep) if isinstance(keep, Recipe) else keep
            y = self.put(kept, y, y.dtype.type(fill))
        if out is None:
            return y.astype(x.dtype)
        out[...] = y
        return out

    # What others compose, and in no kernel of NumPy's.
    select_add, sum_to, normals = Backend.select_add, Backend.sum_to, Backend.normals
    perturb, choose = Backend.perturb, Backend.choose
    keep_blocks, select_blocks = Backend.keep_blocks, Backend.select_blocks


class AnotherLane(Sound):
    def kept(self, recipe):
        kept = super().kept(recipe)
        return np.roll(kept.ravel(), 1).reshape(kept.shape)


class OneWrongBit(Sound):
    def kept(self, recipe):
        kept = super().kept(recipe)
        kept.reshape(-1)[-1:] ^= kept.size > 60
        return kept


class ShortIndex(Sound):
    def kept(self, recipe):
        if recipe.window:
            offset = tuple(o % 2**32 for o in recipe.window.offset)
            recipe = recipe._replace(window=recipe.window._replace(offset=offset))
        return super().kept(recipe)


class ShortStep(Sound):
    def kept(self, recipe):
        return super().kept(recipe._replace(step=recipe.step % 2**32))


class NoSharedAxes(Sound):
    def kept(self, recipe):
        return super().kept(recipe._replace(shared_axes=()))


class Multiplies(Sound):
    def put(self, kept, y, fill):
        return y * kept + ~kept * fill


class LosesSigns(Sound):
    def select(self, x, keep, scale, shift=None, fill=0.0, out=None):
        return super().select(x, keep, scale, shift + 0.0, fill, out)


class RoundsTheScale(Sound):
    def select(self, x, keep, scale, shift=None, fill=0.0, out=None):
        return super().select(x, keep, float(x.dtype.type(scale).real), shift, fill, out)


class IgnoresOut(Sound):
    def select(self, x, keep, scale, shift=None, fill=0.0, out=None):
        return super().select(x, keep, scale, shift, fill)


class IgnoresFill(Sound):
    def put(self, kept, y, fill):
        return np.where(kept, y, 0)


class WidensHalf(Sound):
    def select(self, x, keep, scale, shift=None, fill=0.0, out=None):
        y = super().select(x, keep, scale, shift, fill, out)
        return y.astype("f4") if x.dtype == "f2" and out is None else y


class OtherBits(Sound):
    def pack(self, keep):
        return np.packbits(keep)


class TakesIntegers(Sound):
    def check_input(self, x):
        pass


class NormalsOfAnotherOrder(Sound):
    def normals(self, recipe, like):
        z = super().normals(recipe, like)
        return np.roll(z.ravel(), 1).reshape(z.shape)


class AWrongCoefficient(Sound):
    """Of the tails alone, in the fifth place."""

    def normals(self, recipe, like):
        z = super().normals(recipe, like)
        return np.where(np.abs(z) < 1.5, z, z * z.dtype.type(1.00001))


class NormalsOfTheDtype(Sound):
    def normals(self, recipe, like):
        z = super().normals(recipe, like)
        return z.astype("f2") if like.dtype == "f2" else z


class NormalsOfNoWindow(Sound):
    def normals(self, recipe, like):
        return super().normals(recipe._replace(window=None), like)


class ALogarithmsRounding(Sound):
    """One unit in the last place, at few numbers."""

    def normals(self, recipe, like):
        z = super().normals(recipe, like)
        return np.where(np.abs(z) < 2.5, z, np.nextafter(z, z.dtype.type(0)))


class OneRoundingOfNoise(Sound):
    """Whose products are not rounded, as those of fused multiply-adds."""

    def perturb(self, x, recipe, std, relative, out=None):
        wide = np.complex128 if x.dtype.kind == "c" else np.float64
        z = Backend.normals(self, recipe, x).astype(np.float64)
        std = float(z.dtype.type(std)) if x.dtype == np.float64 else float(np.float32(std))
        y = x.astype(wide) * (1 + std * z) if relative else x.astype(wide) + std * z
        return self.written(y.astype(x.dtype), out)

    def written(self, y, out):
        if out is None:
            return y
        out[...] = y
        return out


class NoiseOfTheHalf(OneRoundingOfNoise):
    """Whose half types are rounded after each operation."""

    def perturb(self, x, recipe, std, relative, out=None):
        z = Backend.normals(self, recipe, x)
        noise = (z * z.dtype.type(std)).astype(x.dtype)
        y = x * (noise + 1).astype(x.dtype) if relative else x + noise
        return self.written(y.astype(x.dtype), out)


class NewArraysForNoise(Sound):
    def perturb(self, x, recipe, std, relative, out=None):
        return super().perturb(x, recipe, std, relative)


class AddsNoNoise(Sound):
    def perturb(self, x, recipe, std, relative, out=None):
        return super().perturb(x, recipe, std, True, out)


class SwapsShares(Sound):
    def choose(self, new, previous, keep, out=None):
        if new is None or previous is None:
            new, previous = previous, new
        return super().choose(new, previous, keep, out)


class ChoosesByProducts(Sound):
    def choose(self, new, previous, keep, out=None):
        if new is None or previous is None:
            return super().choose(new, previous, keep, out)
        kept = self.kept(keep) if isinstance(keep, Mask) else keep
        y = new * kept + previous * ~kept
        if out is None:
            return y.astype(new.dtype)
        out[...] = y
        return out


class NewArraysForStates(Sound):
    def choose(self, new, previous, keep, out=None):
        return super().choose(new, previous, keep)


class CompilesFusedNoise(OneRoundingOfNoise):
    def perturb(self, x, recipe, std, relative, out=None):
        if COMPILER.runs:
            return super().perturb(x, recipe, std, relative, out)
        return Backend.perturb(self, x, recipe, std, relative, out)


class BlocksOfNoStep(Sound):
    """Whose masks of four dimensions are those of the first step."""

    def kept(self, recipe):
        return super().kept(recipe._replace(step=0) if len(recipe.shape) == 4 else recipe)


class AddsNoShift(Sound):
    def select(self, x, keep, scale, shift=None, fill=0.0, out=None):
        return super().select(x, keep, scale, None, fill, out)


class KeepsAll(Sound):
    """Of copies: masks of three dimensions."""

    def kept(self, recipe):
        return super().kept(recipe) | (len(recipe.shape) == 3)


class NoForward(Sound):
    """Whose own way to run a composition returns the first array."""

    def recompute(self, forward, backward, *arrays):
        return arrays[0]


class AddsTheBiasLast(Sound):
    def select_add(self, x, residual, keep, scale, bias=None, out=None):
        y = super().select_add(x, residual, keep, scale, None, out)
        return y if bias is None else (y + bias).astype(y.dtype)


class RoundsEachHalf(Sound):
    """Whose half types are rounded after each operation."""

    def select_add(self, x, residual, keep, scale, bias=None, out=None):
        moved = x if bias is None else (x + bias).astype(x.dtype)
        y = (residual + self.select(moved, keep, scale)).astype(residual.dtype)
        return self.written(y, out)

    def written(self, y, out):
        if out is None:
            return y
        out[...] = y
        return out


class OneRounding(RoundsEachHalf):
    """Whose product is not rounded, as that of a fused multiply-add."""

    def select_add(self, x, residual, keep, scale, bias=None, out=None):
        wide = {"f": np.float64, "c": np.complex128}[x.dtype.kind]
        moved = x.astype(wide) if bias is None else (x + bias).astype(wide)
        scale = float(np.float32(scale))
        y = residual.astype(wide) + self.select(moved, keep, scale)
        return self.written(y.astype(residual.dtype), out)


class KeepsNegativeZeros(RoundsEachHalf):
    """Of a residual to which nothing is added."""

    def select_add(self, x, residual, keep, scale, bias=None, out=None):
        y = super().select_add(x, residual, keep, scale, bias)
        if isinstance(keep, Mask):
            y = np.where(self.kept(keep), y, residual).astype(y.dtype)
        return self.written(y, out)


class ResultsOfTheDtypeOfX(Sound):
    def select_add(self, x, residual, keep, scale, bias=None, out=None):
        return super().select_add(x, residual.astype(x.dtype), keep, scale, bias, out)


class NewArraysForOut(Sound):
    def select_add(self, x, residual, keep, scale, bias=None, out=None):
        return super().select_add(x, residual, keep, scale, bias)


class SumsInARow(Sound):
    def sum_to(self, x, shape, dtype):
        lengths = (1,) * (x.ndim - len(shape)) + tuple(shape)
        axes = tuple(a for a, n in enumerate(lengths) if n == 1)
        wide = np.float32 if x.dtype == np.float16 else x.dtype
        rows = np.moveaxis(x, axes, range(len(axes))).reshape(-1, *[n for n in lengths if n != 1])
        return np.add.accumulate(rows, dtype=wide)[-1].reshape(shape).astype(dtype)


class SumsInHalf(Sound):
    def sum_to(self, x, shape, dtype):
        return pairwise.sum_to(np, x, shape).astype(dtype)


class CompilesLayers(Sound):
    def check_stateful(self, *, counts):
        pass


class CompilesBackward(Sound):
    def check_stateful(self, *, counts):
        if counts:
            super().check_stateful(counts=counts)


class RefusesWithoutAWayOut(Sound):
    def check_stateful(self, *, counts):
        if COMPILER.runs:
            raise TypeError("not here")


class CompilesTheFirstStep(Sound):
    def kept(self, recipe):
        return super().kept(recipe._replace(step=0) if COMPILER.runs else recipe)
