"""What a library with a namespace must pass in `dropout_add`: a bias, a mask and a residual.

Each function takes a subject, and a NumPy dtype if it runs for each dtype of the subject.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import anydrop
from anydrop import Mask
from anydrop.backends.base import COMPUTE, dtype_name
from anydrop.testing.checks import PLACES
from anydrop.testing.reference import Array as Host
from anydrop.testing.reference import keep, numbers, sum_to
from anydrop.testing.subject import Subject, refused

SHAPE = (7, 3, 5)
BIASES: tuple[tuple[int, ...] | None, ...] = (None, (), (5,), (3, 1), (7, 1, 5), SHAPE)
P = 0.3
# A few units in the last place, relative to a number, and one unit of half types.
ULPS = {"float32": 2.0**-21, "float64": 2.0**-50}
ROUNDED = {"float16": 2.0**-10, "bfloat16": 2.0**-7}


def _numbers(shape: tuple[int, ...], dtype: Any, seed: int) -> Host:
    return numbers(shape, dtype, np.random.default_rng(seed))


def sums_with_a_mask_of_any_place(subject: Subject, dtype: Any) -> None:
    """Add, scale, select and add. Each operation is rounded, half types once."""
    for i, changes in enumerate(PLACES):
        place = {"seed": i, "step": i} | changes
        shape = place["shape"]
        x, residual = (_numbers(shape, dtype, seed) for seed in (i, i + 100))
        array, kept = subject.array(x), keep(p=P, **place)
        mask = Mask.from_seed(p=P, **place)
        y = subject.backend.select_add(array, subject.array(residual), mask, mask.scale)
        subject.check(y, subject.select_add(x, residual, kept, mask.scale), like=array)


def sums_with_a_bias(subject: Subject, dtype: Any) -> None:
    """A bias of any shape that broadcasts, with a recipe, a boolean mask and no mask."""
    x, residual = (_numbers(SHAPE, dtype, seed) for seed in (1, 2))
    array, other = subject.array(x), subject.array(residual)
    for shared in ((), (1,)):
        mask = Mask.from_seed(SHAPE, P, seed=3, shared_axes=shared)
        kept = keep(SHAPE, P, seed=3, shared_axes=shared)
        for shape in BIASES:
            bias = None if shape is None else _numbers(shape, dtype, 4)
            added = None if bias is None else subject.array(bias)
            for given, its in ((mask, kept), (subject.array(kept), kept), (None, True)):
                y = subject.backend.select_add(array, other, given, 1 / 0.7, added)
                subject.check(y, subject.select_add(x, residual, its, 1 / 0.7, bias), like=array)


def sums_of_two_dtypes(subject: Subject, dtype: Any) -> None:
    """With a half type, a residual or bias may be float32. The result has the residual's dtype."""
    if dtype_name(dtype) not in ROUNDED:
        return
    for dtypes in ((np.float32, np.float32), (np.float32, dtype), (dtype, np.float32)):
        x = _numbers(SHAPE, dtype, 5)
        residual, bias = (_numbers(s, d, 6) for s, d in zip((SHAPE, (5,)), dtypes, strict=True))
        array, other, added = (subject.array(a) for a in (x, residual, bias))
        y, mask = anydrop.dropout_add(array, other, P, bias=added, seed=1, return_mask=True)
        kept = keep(SHAPE, P, seed=1)
        subject.check(y, subject.select_add(x, residual, kept, 1 / (1 - P), bias))
        gradients = mask.apply(y)
        wanted = (dtype, residual.dtype, bias.dtype)
        for gradient, its in zip(gradients, wanted, strict=True):
            assert subject.numpy(gradient).dtype == its, f"got {gradient.dtype}, not {its}"


def gradients_of_sums(subject: Subject, dtype: Any) -> None:
    """The gradients of x (selected), of the residual (unchanged) and of the bias (a sum)."""
    name, rng = dtype_name(dtype), np.random.default_rng(0)
    x, gradient = (rng.standard_normal((2, *SHAPE)) + 3).astype(dtype)
    arrays, kept = (subject.array(x), subject.array(x)), keep(SHAPE, P, seed=2, step=1)
    for shape in BIASES:
        bias = None if shape is None else subject.array(np.ones(shape, dtype))
        _, mask = anydrop.dropout_add(*arrays, P, bias=bias, seed=2, step=1, return_mask=True)
        subject.check(mask.keep(like=arrays[0]), kept)
        given = subject.array(gradient)
        dx, dresidual, *dbias = mask.apply(given)
        selected = subject.select(gradient, kept, 1 / (1 - P))
        subject.check(dx, selected, like=given)
        assert dresidual is given, "the gradient of the residual is that of the result itself"
        if shape is not None:
            wide = selected.astype(np.float32) if name in ROUNDED else selected
            expected = np.asarray(sum_to(wide, shape)).astype(dtype)
            if subject.backend.lazy:  # adds chunk by chunk
                allowed = ULPS[COMPUTE[name]] + ROUNDED.get(name, 0.0)
                subject.check_close(dbias[0], expected, allowed * np.abs(expected), dtype)
            else:
                subject.check(dbias[0], expected)


def sums_at_inference(subject: Subject, dtype: Any) -> None:
    """The sum alone, as at ``p = 0``; with ``scaling="inference"`` it is scaled."""
    x, residual, bias = (_numbers(shape, dtype, 7) for shape in (SHAPE, SHAPE, (5,)))
    array, other, added = (subject.array(a) for a in (x, residual, bias))
    calls: tuple[tuple[float, Any, float], ...] = (
        (P, {"training": False}, 1.0),
        (0.0, {"seed": 0}, 1.0),
        (P, {"training": False, "scaling": "inference"}, 1 - P),
    )
    for p, keywords, scale in calls:
        y = anydrop.dropout_add(array, other, p, bias=added, **keywords)
        subject.check(y, subject.select_add(x, residual, True, scale, bias), like=array)


def sums_into_out(subject: Subject) -> None:
    """``out=`` may be the residual or x itself, and is refused if it does not match."""
    x, residual = (_numbers((24,), np.float32, seed) for seed in (8, 9))
    expected = subject.select_add(x, residual, keep((24,), P, seed=2), 1 / (1 - P))

    def written(arrays: list[Any], out: Any) -> Any:
        return anydrop.dropout_add(arrays[0], arrays[1], P, seed=2, out=out)

    for number in (0, 1):
        arrays = [subject.array(a.copy()) for a in (x, residual)]
        out = arrays[number]
        refused(ValueError, partial(written, arrays, subject.ones(23)), "out")
        if subject.out:
            assert written(arrays, out) is out
            subject.check(out, expected)
        else:
            refused(ValueError, partial(written, arrays, out), "out")


def sums_that_are_refused(subject: Subject) -> None:
    """A residual of another shape, and a bias that would make x larger."""
    x = subject.ones(4, 3)

    def added(residual: Any, bias: Any = None) -> Any:
        return anydrop.dropout_add(x, residual, seed=0, bias=bias)

    refused(ValueError, partial(added, subject.ones(3)), "residual must have the shape of x")
    refused(ValueError, partial(added, None), "residual must be of the library of x")
    for shape in ((2, 4, 3), (4,), (1, 4, 3)):
        refused(ValueError, partial(added, x, subject.ones(*shape)), "bias must broadcast")
