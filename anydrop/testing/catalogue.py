"""What the catalogue asks of a backend beyond plain masks: normal numbers, and compositions.

Each function takes a subject, and a NumPy dtype if it is to run for each of the subject's.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import anydrop
from anydrop import Mask
from anydrop.backends.base import COMPUTE, dtype_name
from anydrop.testing.checks import PLACES
from anydrop.testing.reference import NORMAL_TOLERANCE, keep, normals, numbers
from anydrop.testing.subject import Subject, refused

# Half a unit in the last place of dtypes that are computed in a longer one, relative to a number.
ROUNDED = {"float16": 2**-11, "bfloat16": 2**-8}


def normal_numbers(subject: Subject, dtype: Any) -> None:
    """Draw those of the words, wherever they lie, in the dtype that the array is computed in."""
    like, wide = subject.array(np.ones(3, dtype)), COMPUTE[dtype_name(dtype)]
    for i, changes in enumerate((*PLACES, {"shape": (3000,)})):
        place = {"seed": i, "step": i} | changes
        drawn = subject.backend.normals(Mask.from_seed(p=0.5, **place), like)
        assert subject.backend.owns(drawn), f"{type(drawn)} is no array of {subject.backend.name}"
        here, z = subject.numpy(drawn), normals(**place)
        assert here.dtype == wide, f"got {here.dtype}, not {wide}"
        _check_close(here, z, NORMAL_TOLERANCE[wide] * np.abs(z))


def gaussian_dropout(subject: Subject, dtype: Any) -> None:
    """Multiply by the noise, forward and backward, and round once to the dtype of the array."""
    name = dtype_name(dtype)
    x = np.linspace(-2, 2, 99).reshape(9, 11).astype(dtype)
    array = subject.array(x)
    place: dict[str, Any] = {"seed": 1, "step": 3, "shared_axes": (0,)}
    y, noise = anydrop.gaussian_dropout(array, 0.2, **place, return_mask=True)
    z = 0.5 * normals(x.shape, **place)
    tolerance = NORMAL_TOLERANCE[COMPUTE[name]] + ROUNDED.get(name, 0.0)
    wide = x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
    drawn = subject.numpy(noise.keep(like=array))
    assert drawn.dtype == COMPUTE[name], f"got {drawn.dtype}, not {COMPUTE[name]}"
    _check_close(drawn, 1 + z, NORMAL_TOLERANCE[COMPUTE[name]] * (1 + np.abs(z)))
    for got in (y, noise.apply(array)):
        assert type(got) is type(array), f"got a {type(got)}, not a {type(array)}"
        here = subject.numpy(got)
        assert here.dtype == dtype, f"got {here.dtype}, not {dtype}"
        _check_close(here, wide * (1 + z), tolerance * np.abs(wide) * (1 + np.abs(z)))


def drop_block(subject: Subject, dtype: Any) -> None:
    """Keep an element if no place is dropped where a block that covers it may begin."""
    x = numbers((2, 3, 7, 6), dtype, np.random.default_rng(2))
    array, p = subject.array(x), 0.3
    seeds = keep((2, 3, 9, 7), 1 - (1 - p) ** (1 / 6), seed=4, step=2)
    kept = np.empty(x.shape, bool)
    for i, j in np.ndindex(7, 6):
        kept[..., i, j] = seeds[..., i : i + 3, j : j + 2].all((2, 3))
    y, mask = anydrop.drop_block2d(array, p, (3, 2), seed=4, step=2, return_mask=True)
    subject.check(mask.keep(like=array), kept)
    for got in (y, mask.apply(array)):
        subject.check(got, subject.select(x, kept, 1 / (1 - p)), like=array)


def alpha_dropout(subject: Subject, dtype: Any) -> None:
    """Shift and scale what is kept, fill the rest; the gradient is scaled alone."""
    x = numbers((9, 8), dtype, np.random.default_rng(3))
    array, s, p = subject.array(x), -1.7580993408473766, 0.3
    a = ((1 - p) * (1 + p * s**2)) ** -0.5
    b = -a * p * s
    kept = keep(x.shape, p, seed=5, step=1)
    y, mask = anydrop.alpha_dropout(array, p, seed=5, step=1, return_mask=True)
    subject.check(y, subject.select(x, kept, a, b, a * s + b), like=array)
    subject.check(mask.apply(array), subject.select(x, kept, a), like=array)


def zoneout(subject: Subject, dtype: Any) -> None:
    """Take one of two states, and its share of the gradient."""
    new, previous = numbers((2, 9, 8), dtype, np.random.default_rng(4))
    array, kept = subject.array(new), keep(new.shape, 0.3, seed=6, step=1)
    states = array, subject.array(previous)
    y, zones = anydrop.zoneout(*states, 0.3, seed=6, step=1, return_mask=True)
    subject.check(y, np.where(kept, new, previous), like=array)
    for got, its in zip(zones.apply(array), (kept, ~kept), strict=True):
        subject.check(got, subject.select(new, its, 1.0), like=array)


def token_dropout(subject: Subject) -> None:
    """Replace integers, but for the protected ones."""
    ids = np.arange(60, dtype=np.int32).reshape(5, 12) % 7
    array = subject.array(ids)
    place: dict[str, Any] = {"seed": 7, "step": 2}
    y, mask = anydrop.token_dropout(
        array, 0.5, token=9, protected=(1, 2), return_mask=True, **place
    )
    stays = keep(ids.shape, 0.5, **place) | (ids == 1) | (ids == 2)
    subject.check(y, np.where(stays, ids, np.int32(9)), like=array)
    subject.check(mask.keep(like=array), stays)


def drop_connect(subject: Subject, dtype: Any) -> None:
    """Copy the weights for each example, and sum their gradients."""
    weights = (np.arange(12).reshape(3, 4) - 5).astype(dtype)
    gradient = (np.arange(60).reshape(5, 3, 4) % 7).astype(dtype)  # whose sums are exact
    array, kept = subject.array(weights), keep((5, 3, 4), 0.5, seed=8)
    copies, mask = anydrop.drop_connect(array, 0.5, examples=5, seed=8, return_mask=True)
    whole = np.broadcast_to(weights, (5, 3, 4))
    subject.check(copies, subject.select(whole, kept, 2.0))
    summed = subject.select(gradient, kept, 2.0).astype(np.complex128).sum(0)
    expected = (summed if weights.dtype.kind == "c" else summed.real).astype(dtype)
    subject.check(mask.apply(subject.array(gradient)), expected)


def without_a_namespace(subject: Subject) -> None:
    """Refuse what is composed in one, in a message that says so."""
    if subject.namespace:
        return
    x, ids = subject.ones(2, 3, 4), subject.array(np.arange(5))
    refused(TypeError, partial(anydrop.gaussian_dropout, x, seed=0), "no array API namespace")
    refused(TypeError, partial(anydrop.drop_block1d, x, seed=0), "no array API namespace")
    refused(TypeError, partial(anydrop.zoneout, x, x, seed=0), "no array API namespace")
    refused(TypeError, partial(anydrop.drop_connect, x, examples=2, seed=0), "no array API")
    refused(TypeError, partial(anydrop.token_dropout, ids, token=1, seed=0), "no array API")


def _check_close(got: Any, expected: Any, allowed: Any) -> None:
    """Raise AssertionError unless numbers differ by what is allowed, and no more."""
    assert got.shape == expected.shape, f"got the shape {got.shape}, not {expected.shape}"
    wide = got.astype(expected.dtype)
    # Written such that a NaN is wrong.
    wrong = ~(np.abs(wide - expected) <= np.broadcast_to(allowed, expected.shape))
    if wrong.any():
        at = tuple(map(int, np.argwhere(wrong)[0]))
        raise AssertionError(
            f"{wrong.sum()} of {got.size} numbers differ by more than the tolerance, the first at "
            f"{at}: got {wide[at]!r}, expected {expected[at]!r}"
        )
