"""What a library with a namespace must pass: noise, choices, and variants composed in it.

Each function takes a subject, and a NumPy dtype if it runs for each dtype of the subject.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

import anydrop
from anydrop import Mask
from anydrop.backends.base import COMPUTE, dtype_name
from anydrop.testing.checks import PLACES
from anydrop.testing.reference import keep, normals, numbers
from anydrop.testing.subject import Subject, refused
from anydrop.verify import PRECISIONS, PUBLISHED_NOISE, digest_of_noise


def normal_numbers(subject: Subject, dtype: Any) -> None:
    """Draw the normal numbers of any place, in the dtype of the computation."""
    like, wide = subject.array(np.ones(3, dtype)), COMPUTE[dtype_name(dtype)]
    for i, changes in enumerate((*PLACES, {"shape": (3000,)})):
        place = {"seed": i, "step": i} | changes
        drawn = subject.backend.normals(Mask.from_seed(p=0.5, **place), like)
        subject.check(drawn, normals(**place).astype(wide))


def noise_of_any_place(subject: Subject, dtype: Any) -> None:
    """Multiply by noise or add it. Each operation is rounded, half types once."""
    for i, changes in enumerate(PLACES):
        place = {"seed": i, "step": i} | changes
        x, z = numbers(place["shape"], dtype, np.random.default_rng(i)), normals(**place)
        array, recipe = subject.array(x), Mask.from_seed(p=0.5, **place)
        for relative, std in ((True, 0.1), (True, 3.0), (False, 0.1), (False, 3.0)):
            if relative or x.dtype.kind != "c":  # noise is not added to complex numbers
                y = subject.backend.perturb(array, recipe, std, relative)
                subject.check(y, subject.perturb(x, z, std, relative), like=array)


def published_noise(subject: Subject, dtype: Any) -> None:
    """The results of noise have the published digests."""
    name = dtype_name(dtype)
    for published in PUBLISHED_NOISE if name in PRECISIONS else ():
        x = subject.array(published.numbers(name))
        y = subject.backend.perturb(x, published.recipe, published.std, published.relative)
        assert digest_of_noise(subject.numpy(y)) == getattr(published, name), (
            f"not that of {published}"
        )


def gaussian_dropout(subject: Subject, dtype: Any) -> None:
    """Multiply by the noise, forward and backward."""
    x, wide = numbers((9, 11), dtype, np.random.default_rng(3)), COMPUTE[dtype_name(dtype)]
    array = subject.array(x)
    place: dict[str, Any] = {"seed": 1, "step": 3, "shared_axes": (0,)}
    y, noise = anydrop.gaussian_dropout(array, 0.1, **place, return_mask=True)
    z, std = normals(x.shape, **place), math.sqrt(0.1 / (1 - 0.1))
    factor = subject.perturb(np.ones(z.shape, wide), z, std, True)
    subject.check(noise.keep(like=array), factor)
    for got in (y, noise.apply(array)):
        subject.check(got, subject.perturb(x, z, std, True), like=array)


def gaussian_noise(subject: Subject, dtype: Any) -> None:
    """Add the noise; the gradient is that of the result."""
    x, wide = numbers((9, 11), dtype, np.random.default_rng(4)), COMPUTE[dtype_name(dtype)]
    array = subject.array(x)
    place: dict[str, Any] = {"seed": 2, "step": 5, "shared_axes": (1,)}
    if x.dtype.kind == "c":
        refused(TypeError, partial(anydrop.gaussian_noise, array, 0.1, seed=0), "noise is real")
        return
    y, noise = anydrop.gaussian_noise(array, 0.1, **place, return_mask=True)
    z = normals(x.shape, **place)
    subject.check(noise.keep(like=array), subject.perturb(np.zeros(z.shape, wide), z, 0.1, False))
    subject.check(y, subject.perturb(x, z, 0.1, False), like=array)
    assert noise.apply(array) is array, "noise that was added changes no gradient"


def noise_into_out(subject: Subject) -> None:
    """``out=`` may be x itself, and is refused if arrays can't be written to."""
    x, z = np.linspace(-1, 1, 24, dtype=np.float32), normals((24,), seed=2)
    calls: tuple[tuple[Any, float, bool], ...] = (
        (anydrop.gaussian_dropout, 1.0, True),
        (anydrop.gaussian_noise, 0.5, False),
    )
    for function, std, relative in calls:
        array, expected = subject.array(x.copy()), subject.perturb(x, z, std, relative)
        if not subject.out:
            refused(ValueError, partial(function, array, 0.5, seed=2, out=array), "out")
            continue
        for out in (subject.ones(24), array):
            assert function(array, 0.5, seed=2, out=out) is out
            subject.check(out, expected)


def drop_block(subject: Subject, dtype: Any) -> None:
    """Keep an element if no block that covers it starts."""
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
    """Take one of two states, and its part of the gradient."""
    new, previous = numbers((2, 9, 8), dtype, np.random.default_rng(4))
    array, kept = subject.array(new), keep(new.shape, 0.3, seed=6, step=1)
    states = array, subject.array(previous)
    y, zones = anydrop.zoneout(*states, 0.3, seed=6, step=1, return_mask=True)
    subject.check(y, np.where(kept, new, previous), like=array)
    for got, its in zip(zones.apply(array), (kept, ~kept), strict=True):
        subject.check(got, np.where(its, new, new.dtype.type(0)), like=array)


def choices_of_any_place(subject: Subject, dtype: Any) -> None:
    """Take one of two arrays by a recipe or a mask, and either one's part of a gradient."""
    for i, changes in enumerate(PLACES):
        place = {"p": 0.3, "seed": i, "step": i} | changes
        shape = place["shape"]
        new, previous = (numbers(shape, dtype, np.random.default_rng((i, n))) for n in (0, 1))
        array, other, kept = subject.array(new), subject.array(previous), keep(**place)
        for given in (Mask.from_seed(**place), subject.array(kept)):
            y = subject.backend.choose(array, other, given)
            subject.check(y, np.where(kept, new, previous), like=array)
            of_new = subject.backend.choose(array, None, given)
            subject.check(of_new, np.where(kept, new, new.dtype.type(0)), like=array)
            of_previous = subject.backend.choose(None, other, given)
            subject.check(of_previous, np.where(kept, new.dtype.type(0), previous), like=array)


def zoneout_into_out(subject: Subject) -> None:
    """``out=`` may be either state, and is refused if arrays can't be written to."""
    new, previous = (numbers((24,), np.float32, np.random.default_rng(n)) for n in (5, 6))
    expected = np.where(keep((24,), 0.3, seed=2), new, previous)
    for number in (0, 1, 2):
        states = [subject.array(a.copy()) for a in (new, previous, new)]
        first, second, out = states[0], states[1], states[number]
        zoned = partial(anydrop.zoneout, first, second, 0.3, seed=2, out=out)
        if subject.out:
            assert zoned() is out
            subject.check(out, expected)
        else:
            refused(ValueError, zoned, "out")


def token_dropout(subject: Subject) -> None:
    """Replace integers, except for protected ones."""
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
    gradient = (np.arange(60).reshape(5, 3, 4) % 7).astype(dtype)  # their sums are exact
    array, kept = subject.array(weights), keep((5, 3, 4), 0.5, seed=8)
    copies, mask = anydrop.drop_connect(array, 0.5, examples=5, seed=8, return_mask=True)
    whole = np.broadcast_to(weights, (5, 3, 4))
    subject.check(copies, subject.select(whole, kept, 2.0))
    summed = subject.select(gradient, kept, 2.0).astype(np.complex128).sum(0)
    expected = (summed if weights.dtype.kind == "c" else summed.real).astype(dtype)
    subject.check(mask.apply(subject.array(gradient)), expected)
