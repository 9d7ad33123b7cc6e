"""Normal numbers, and arrays with noise of them, as the definition and NumPy's rounding say."""

import numpy as np

from anydrop.backends.common.words import words
from anydrop.core import quantile


def normals_of(recipe, dtype="float64"):
    """Return the standard normal numbers of a recipe, each worked out in Python's integers."""
    if 0 in recipe.keep_shape:
        return np.empty(recipe.keep_shape, dtype)
    drawn = words(np, None, recipe).ravel().tolist()
    numerators = np.array([quantile.numerator(word) for word in drawn], np.float64)
    return (numerators * quantile.UNIT).reshape(recipe.keep_shape).astype(dtype)


def perturbed(x, recipe, std, relative=True):
    """Return ``x * (1 + std * z)`` or ``x + std * z``, each operation rounded by itself."""
    if x.dtype.kind == "c":
        y = np.empty_like(x)
        y.real, y.imag = (perturbed(part, recipe, std, relative) for part in (x.real, x.imag))
        return y
    wide = np.dtype("f8" if x.dtype == "f8" else "f4")
    noise = normals_of(recipe, wide) * wide.type(std)
    y = x.astype(wide) * (1 + noise) if relative else x.astype(wide) + noise
    return y.astype(x.dtype)
