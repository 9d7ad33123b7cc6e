"""What a backend must pass, bit by bit compared with `anydrop.testing.reference`.

Each function takes a subject, and a NumPy dtype if it runs for each dtype of the subject.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np

import anydrop
from anydrop import Mask, Window
from anydrop.testing.reference import keep, numbers
from anydrop.testing.subject import Subject, refused
from anydrop.verify import PUBLISHED


def published_masks(subject: Subject) -> None:
    """Masks of all kinds have the published digests."""
    like = subject.ones(1)
    for published in PUBLISHED:
        assert published.mask.digest(like) == published.sha256, f"another mask for {published}"


# Shapes, windows and shared axes of all kinds.
PLACES: tuple[dict[str, Any], ...] = (
    {"shape": ()},
    {"shape": (0,)},
    {"shape": (1,)},
    {"shape": (67,), "step": 2**64 - 1},
    {"shape": (5, 0, 3), "shared_axes": (1,)},
    {"shape": (3, 5, 7), "shared_axes": (1,), "seed": (1, 2)},
    {"shape": (4, 3, 6), "shared_axes": (0, 2), "seed": 2**70},
    {"shape": (9, 11), "window": Window((2**30 - 4, 3), (2**33, 16)), "step": 2**32},
    {"shape": (13,), "window": Window((2**34 - 6,), (2**41,))},
    {"shape": (4, 9), "window": Window((2**32 - 4, 2**32 - 9), (2**32, 2**32))},
    {"shape": (2, 5, 3), "window": Window((7, 2**39, 1), (9, 2**40, 4)), "shared_axes": (0,)},
    {"shape": (8, 6), "window": Window((1, 2**50), (9, 2**51)), "shared_axes": (1,)},
    {"shape": (17, 1), "window": Window((2, 3), (19, 5))},  # no axis of stride 1
    {"shape": (33,), "window": Window((2**64 - 40,), (2**64,))},
)
RATES = (0.0, 1e-9, 0.1, 0.5, 0.9, 1 - 2**-32)


def masks_and_outputs_of_any_place(subject: Subject, dtype: Any) -> None:
    """Empty, 0-d and odd shapes, windows past 2**40 elements, shared axes, any step."""
    for i, place in enumerate(PLACES):
        subject.check_recipe(dtype, {"p": 0.5, "seed": i, "step": i} | place, numbers_seed=i)


def rates(subject: Subject, dtype: Any) -> None:
    """A p of 0, tiny ones, and those close to 1."""
    for p in RATES:
        subject.check_recipe(dtype, {"shape": (41,), "p": p, "seed": 8})


def lengths(subject: Subject) -> None:
    """All ways in which an array can begin and end within a block of the stream."""
    whole = keep((79,), 0.5, seed=9)
    for n in (*range(10), 31, 63, 64, 65, 67):
        for lead in range(4 if n < 10 else 1):
            mask = Mask.from_seed((n,), 0.5, seed=9, window=Window((lead,), (79,)))
            expected = 2 * whole[lead : lead + n].astype(np.float32)
            subject.check(mask.apply(subject.ones(n)), expected)


def affine_map_and_fill(subject: Subject, dtype: Any) -> None:
    """An affine map and a fill value, rounded once, as some variants need them."""
    x = numbers((9, 31), dtype, np.random.default_rng(5))
    array = subject.array(x)
    for scale, shift, fill in (
        (1.5, None, 0.0),
        (1.5, -0.0, 0.0),
        (1.5, 0.0, -0.0),
        (1 / 0.9, 0.3, 0.7),
        (1 / 0.9, None, -1.7580993408473766),
        (0.8862, 0.3, -1.7580993408473766),
        (-1.25, 0.0, 0.0),
    ):
        addend = -0.0 if shift is None else shift
        for shared_axes in ((), (1,)):
            mask = Mask.from_seed(x.shape, 0.4, seed=3, shared_axes=shared_axes)
            kept = keep(x.shape, 0.4, seed=3, shared_axes=shared_axes)
            expected = subject.select(x, kept, scale, addend, fill)
            got = subject.backend.select(array, mask, scale, shift, fill)
            subject.check(got, expected, like=array)
        got = subject.backend.select(array, subject.array(kept), scale, shift, fill)
        subject.check(got, expected, like=array)
        got = subject.backend.select(array, None, scale, shift, fill)
        subject.check(got, subject.select(x, True, scale, addend, fill), like=array)


def one_mask_for_all_dtypes(subject: Subject, dtype: Any) -> None:
    """The mask does not depend on the dtype, and the result has the input's dtype."""
    y = subject.numpy(anydrop.dropout(subject.array(np.ones(257, dtype)), 0.5, seed=6))
    assert y.dtype == dtype
    assert np.array_equal(y != 0, keep((257,), 0.5, seed=6))


def windows_tile_the_global_mask(subject: Subject) -> None:
    """Parts that are drawn separately equal those of the whole."""
    shape = (5, 12, 7)
    x = np.arange(1, 421, dtype=np.float32).reshape(shape)
    for shared in ((), (1,), (0, 2)):
        whole = anydrop.dropout(subject.array(x), 0.5, seed=4, shared_axes=shared)
        tiles = np.full(shape, np.nan, np.float32)
        for a, b in ((0, 2), (2, 5)):
            for c, d in ((0, 1), (1, 7), (7, 12)):
                part = subject.array(x[a:b, c:d].copy())
                window = Window((a, c, 0), shape)
                y = anydrop.dropout(part, 0.5, seed=4, shared_axes=shared, window=window)
                tiles[a:b, c:d] = subject.numpy(y)
        subject.check(whole, tiles)


def empty_axes_that_are_shared(subject: Subject) -> None:
    """The mask of an empty array is not empty if the empty axis is shared."""
    for shape in ((0, 40), (40, 0), (0, 0), (0,), (3, 0, 5)):
        for shared in ((), (0,), tuple(range(len(shape)))):
            mask = Mask.from_seed(shape, 0.5, seed=1, shared_axes=shared)
            kept = keep(shape, 0.5, seed=1, shared_axes=shared)
            subject.check(mask.keep(subject.ones(1)), kept)
            assert tuple(mask.apply(subject.ones(*shape)).shape) == shape


def packed_bits(subject: Subject) -> None:
    """A mask from a generator is stored as bits, the first of eight in the lowest."""
    for shape in ((), (0,), (1,), (8,), (3, 11), (2, 0, 3)):
        kept = np.random.default_rng(0).random(shape) < 0.5
        bits = subject.backend.pack(subject.array(kept))
        subject.check(bits, np.packbits(kept, bitorder="little"))
        subject.check(subject.backend.unpack(bits, shape, subject.ones(1)), kept)


def nan_and_infinity(subject: Subject) -> None:
    """Dropped NaN and infinities become +0, and kept ones stay, forward and backward."""
    x = np.array([np.nan, np.inf, -np.inf, 1.0] * 25, np.float32)
    kept = keep(x.shape, 0.5, seed=0)
    drop = anydrop.Dropout(0.5, seed=0)
    for y in (drop(subject.array(x)), drop.backward(subject.array(x))):
        here = subject.numpy(y)
        assert np.all(here[~kept] == 0)
        assert not np.signbit(here[~kept]).any()
        assert np.array_equal(here[kept], x[kept] * 2, equal_nan=True)


def inference(subject: Subject, dtype: Any) -> None:
    """It returns the input itself; with ``scaling="inference"`` it scales."""
    x = numbers((50,), dtype, np.random.default_rng(0))
    array = subject.array(x)
    assert anydrop.dropout(array, 0.3, training=False) is array
    y = anydrop.dropout(array, 0.3, training=False, scaling="inference")
    subject.check(y, subject.select(x, True, 1 - 0.3), like=array)
    y = anydrop.dropout(array, 0.3, seed=0, scaling="inference")
    subject.check(y, subject.select(x, keep((50,), 0.3, seed=0), 1.0), like=array)


def writing_to_out(subject: Subject) -> None:
    """``out=`` is returned, may be x itself, and is refused if it does not match."""
    x, out = subject.array(np.linspace(-1, 1, 24, dtype=np.float32)), subject.ones(24)
    expected = subject.numpy(anydrop.dropout(x, 0.5, seed=2)).copy()
    if not subject.out:
        refused(ValueError, partial(anydrop.dropout, x, seed=2, out=out), "out")
        refused(ValueError, partial(anydrop.dropout, x, training=False, out=out), "out")
        return
    for wrong in (subject.ones(23), subject.ones(24, 1), [0.0] * 24):
        refused(ValueError, partial(anydrop.dropout, x, seed=2, out=wrong), "out must")
    assert anydrop.dropout(x, 0.5, seed=2, out=out) is out
    subject.check(out, expected)
    assert anydrop.dropout(x, 0.5, training=False, out=out) is out
    subject.check(out, subject.numpy(x))
    assert anydrop.dropout(x, 0.5, seed=2, out=x) is x
    subject.check(x, expected)


def a_layer(subject: Subject) -> None:
    """Forward, backward, modes, steps and the mask, on the library and device of the input."""
    drop, x = anydrop.Dropout(0.4, seed=5, shared_axes=-1), subject.ones(6, 5)
    assert drop.mask is None
    for step in range(3):
        assert drop.step == step
        y = subject.numpy(drop(x))
        kept = keep((6, 5), 0.4, seed=5, step=step, shared_axes=(1,))
        subject.check(drop.mask, kept)
        assert np.array_equal(y != 0, np.broadcast_to(kept, (6, 5)))
        subject.check(drop.backward(x), y, like=x)
        assert np.array_equal(drop.backward(np.ones((6, 5), np.float32)), y)
    assert subject.backend.device(drop.mask) == subject.backend.device(x)
    other = subject.ones(3)
    assert drop.forward(other, training=False) is other
    assert drop.eval()(other) is other
    assert drop.step == 3
    twin = copy.deepcopy(drop)
    subject.check(twin.mask, kept)
    assert twin.backward(other) is other  # of the last forward, in inference mode
    subject.check(twin.backward(x, training=True), y, like=x)
    subject.check(twin.train()(x), subject.numpy(drop.train()(x)), like=x)


def what_is_wrong_is_refused(subject: Subject) -> None:
    """Integers, generators of other libraries, gradients of another shape."""
    whole = subject.array(np.ones(3, np.int32))
    refused(TypeError, partial(anydrop.dropout, whole, seed=0), "int32")
    refused(TypeError, partial(anydrop.dropout, subject.ones(3), rng=object()), "rng")
    drop = anydrop.Dropout(0.5, seed=0)
    drop(subject.ones(3))
    refused(ValueError, partial(drop.backward, subject.ones(4)), "(3,), got one of (4,)")


def probes(subject: Subject) -> None:
    """The arrays that ``anydrop verify`` draws with."""
    for backend, like in subject.backend.probes():
        kept = backend.keep(Mask.from_seed((9,), 0.5, seed=0), like)
        assert np.array_equal(backend.to_numpy(kept), keep((9,), 0.5, seed=0))


def alpha_dropout(subject: Subject, dtype: Any) -> None:
    """Shift and scale kept elements, and fill the rest. The gradient is only scaled."""
    x = numbers((9, 8), dtype, np.random.default_rng(3))
    array, s, p = subject.array(x), -1.7580993408473766, 0.3
    a = ((1 - p) * (1 + p * s**2)) ** -0.5
    b = -a * p * s
    kept = keep(x.shape, p, seed=5, step=1)
    y, mask = anydrop.alpha_dropout(array, p, seed=5, step=1, return_mask=True)
    subject.check(y, subject.select(x, kept, a, b, a * s + b), like=array)
    subject.check(mask.apply(array), subject.select(x, kept, a), like=array)


def without_a_namespace(subject: Subject) -> None:
    """Refuse what needs a namespace, in a message that says so."""
    if subject.namespace:
        return
    x, ids = subject.ones(2, 3, 4), subject.array(np.arange(5))
    for call in (
        partial(anydrop.gaussian_dropout, x),
        partial(anydrop.drop_block1d, x),
        partial(anydrop.zoneout, x, x),
        partial(anydrop.drop_connect, x, examples=2),
        partial(anydrop.token_dropout, ids, token=1),
        partial(anydrop.dropout_add, x, x),
    ):
        refused(TypeError, partial(call, seed=0), "no array API namespace")
