"""Arrays of random layouts, random masks for them, and what noise must make of them."""

import numpy as np

from anydrop import Mask, Window
from anydrop.backends.common.words import words
from anydrop.core import quantile


def some_axes(rng, ndim):
    return tuple(a for a in range(ndim) if rng.random() < 0.3)


def laid_out(rng, shape, dtype):
    """Return an array of a random layout, and the memory that it is a view of."""
    order = rng.permutation(len(shape))
    steps = [int(rng.choice([1, 1, 1, -1, 2, -3])) for _ in shape]
    wide = [int(n) * abs(steps[a]) for a, n in enumerate(shape)]
    lead = int(rng.integers(0, 5))  # elements before the first: an unaligned start
    buffer = np.full(lead + int(np.prod(wide)), 7, dtype)
    base = buffer[lead:].reshape([wide[a] for a in order]).transpose(np.argsort(order))
    view = base[(..., *(slice(None, None, step) for step in steps))]
    view = view[(..., *(slice(None, n) for n in shape))]
    assert view.shape == tuple(shape)
    return view, buffer


def a_mask(rng, shape):
    """Return a recipe, a keep mask or None."""
    shared = some_axes(rng, len(shape))
    window = None
    if rng.random() < 0.5:
        most = 2 ** (60 // max(1, len(shape)))
        offset = tuple(int(o) for o in rng.integers(0, rng.choice([9, most]), len(shape)))
        extent = tuple(o + n + int(rng.integers(0, 9)) for o, n in zip(offset, shape, strict=True))
        window = Window(offset, extent)
    recipe = Mask.from_seed(
        shape,
        float(rng.choice([0.0, 1e-9, 0.3, 0.5, 0.9, 1 - 2**-32])),
        seed=int(rng.integers(0, 99)),
        step=int(rng.choice([0, 5, 2**32 + 1, 2**63])),
        shared_axes=shared,
        window=window,
    )
    which = rng.random()
    if which < 0.1:
        return None
    if which < 0.3:
        kept, _ = laid_out(rng, recipe.keep_shape, np.dtype(bool))
        kept[...] = rng.random(recipe.keep_shape) < 0.5
        return kept
    return recipe


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
