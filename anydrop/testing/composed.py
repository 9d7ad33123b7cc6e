"""What a library with a namespace must pass: normal numbers, and what is composed in it.

Each function takes a subject, and a NumPy dtype if it is to run for each of the subject's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import anydrop
from anydrop import Mask
from anydrop.backends.base import COMPUTE, dtype_name
from anydrop.testing.checks import PLACES
from anydrop.testing.reference import NORMAL_TOLERANCE, keep, normals, numbers
from anydrop.testing.subject import Subject

# Half a unit in the last place of dtypes that are computed in a longer one, relative to a number.
ROUNDED = {"float16": 2**-11, "bfloat16": 2**-8}


def normal_numbers(subject: Subject, dtype: Any) -> None:
    """Draw those of the words, wherever they lie, in the dtype that the array is computed in."""
    like, wide = subject.array(np.ones(3, dtype)), COMPUTE[dtype_name(dtype)]
    for i, changes in enumerate((*PLACES, {"shape": (3000,)})):
        place = {"seed": i, "step": i} | changes
        drawn, z = subject.backend.normals(Mask.from_seed(p=0.5, **place), like), normals(**place)
        subject.check_close(drawn, z, NORMAL_TOLERANCE[wide] * np.abs(z), wide)


def gaussian_dropout(subject: Subject, dtype: Any) -> None:
    """Multiply by the noise, forward and backward, and round once to the dtype of the array."""
    name, wide = dtype_name(dtype), COMPUTE[dtype_name(dtype)]
    x = np.linspace(-2, 2, 99).reshape(9, 11).astype(dtype)
    array = subject.array(x)
    place: dict[str, Any] = {"seed": 1, "step": 3, "shared_axes": (0,)}
    y, noise = anydrop.gaussian_dropout(array, 0.2, **place, return_mask=True)
    z = 0.5 * normals(x.shape, **place)
    allowed = 1 + np.abs(z)
    subject.check_close(noise.keep(like=array), 1 + z, NORMAL_TOLERANCE[wide] * allowed, wide)
    exact = x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
    allowed = (NORMAL_TOLERANCE[wide] + ROUNDED.get(name, 0.0)) * np.abs(exact) * allowed
    for got in (y, noise.apply(array)):
        subject.check_close(got, exact * (1 + z), allowed, dtype, like=array)


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
