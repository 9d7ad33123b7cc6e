"""Which elements are dropped together: those that the function's name says, and no others."""

import itertools
from functools import partial

import numpy as np
import pytest
from bounds import outside
from catalogue import BERNOULLI, BLOCKS, KINDS, NORMAL

import anydrop
from anydrop import Window
from anydrop.testing.reference import bits, keep, numbers, select

BY_NAME = {v.name: v for v in (*BERNOULLI, *BLOCKS, *NORMAL)}


def blocks_by_hand(shape, p, sizes, *, window=None, **recipe):
    """Return the keep mask of a DropBlock, block by block.

    Where blocks begin is drawn on a grid that is longer by a block less one. A block that begins at
    an index of the grid ends at that index of the map.
    """

    def longer(lengths):
        return tuple(n + size - 1 for n, size in zip(lengths, sizes, strict=True))

    gamma = 1 - (1 - p) ** (1 / np.prod(sizes))
    window = window and (window[0], longer(window[1]))
    begins = ~keep(longer(shape), gamma, window=window, **recipe)
    shared = recipe.get("shared_axes", ())
    kept = np.ones([1 if a in shared else n for a, n in enumerate(shape)], bool)
    for at in np.argwhere(begins):
        region = [slice(max(0, a - s + 1), a + 1) for a, s in zip(at, sizes, strict=True)]
        kept[tuple(region)] = False
    return kept


def expected_keep(variant, p, **recipe):
    if variant.sizes:
        shared = variant.options.get("shared_axes", ())
        shared = (shared,) if isinstance(shared, int) else shared
        return blocks_by_hand(variant.shape, p, variant.sizes, shared_axes=shared, **recipe)
    return keep(variant.shape, p, shared_axes=variant.shared, **recipe)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("variant", [*BERNOULLI, *BLOCKS], ids=str)
def test_the_mask_is_that_of_the_name(variant, p):
    x = variant.example()
    for step in (0, 2**40):
        y, mask = variant(x, p, seed=7, step=step, return_mask=True)
        kept = expected_keep(variant, p, seed=7, step=step)
        assert mask.keep(like=x).shape == kept.shape
        assert np.array_equal(mask.keep(like=x), kept)
        scale, shift, fill = variant.affine(p)
        shift = shift or -0.0
        assert bits(y.astype("f4")) == bits(select(x, kept, scale, shift, fill))
        again = variant(x, p, seed=7, step=step, training=False)
        if not variant.name.startswith("zoneout"):
            assert np.array_equal(again, x)


@pytest.mark.parametrize("p", [0.3, 0.9])
@pytest.mark.parametrize("place", [((3, 5), (9, 17)), ((0, 2**33), (5, 2**34))])
def test_a_window_is_that_of_the_name(place, p):
    """Beyond the reach of a whole array, and where blocks make the stream's grid longer."""
    offset, extent = ((1, 2, *place[0]), (4, 6, *place[1]))
    x, window = np.ones((2, 3, 4, 5), "f4"), Window(offset, extent)
    y = anydrop.drop_block2d(x, p, block_size=(2, 3), seed=1, step=3, window=window)
    kept = blocks_by_hand(x.shape, p, (1, 1, 2, 3), seed=1, step=3, window=window)
    assert np.array_equal(y != 0, kept)
    for variant in ("dropout2d-channels_first", "attention-heads", "stochastic_depth-row"):
        function, shared = BY_NAME[variant], {"d": (2, 3), "a": (1,), "s": (1, 2, 3)}[variant[0]]
        y = function(x, p, seed=1, step=3, window=window)
        kept = keep(x.shape, p, seed=1, step=3, shared_axes=shared, window=window)
        assert np.array_equal(y != 0, np.broadcast_to(kept, x.shape))


@pytest.mark.parametrize("variant", [*BERNOULLI, *BLOCKS, *NORMAL], ids=str)
def test_windows_tile_the_whole(variant):
    """Parts, drawn each by itself, are those of the whole."""
    x = variant.example()
    whole = variant(x, 0.4, seed=6, step=1)
    assert np.unique(whole).size > 1
    cuts = [sorted({0, n // 3 or 1, n}) for n in x.shape]
    tiles = np.full(x.shape, np.nan)
    for corner in itertools.product(*map(itertools.pairwise, cuts)):
        region = tuple(slice(*ends) for ends in corner)
        window = Window(tuple(start for start, _ in corner), x.shape)
        tiles[region] = variant(x[region], 0.4, seed=6, step=1, window=window)
    assert np.array_equal(tiles, whole)


def draws(variant, p, steps):
    """Return what survives of ones at each step: one row for each, one column for each fate."""
    x = np.ones(variant.shape, "f4")
    y = np.asarray([variant(x, p, seed=11, step=step) for step in range(steps)])
    return y[variant.fates].reshape(steps, -1) == y.max()


def pairs_that_agree_too_often(fates):
    """Return how often two fates of p = 1/2 agree, where it is not as often as it should be.

    Independent ones agree in binomially many of the draws, with probability 1/2.
    """
    signs = 2.0 * fates - 1
    agree = (len(fates) + signs.T @ signs) / 2
    pairs = agree[np.triu_indices(fates.shape[1], 1)]
    return outside(pairs.round(), len(fates), 0.5, 1e-9) if pairs.size else pairs


@pytest.mark.parametrize("variant", KINDS, ids=str)
def test_no_two_fates_are_related(variant):
    """Samples, channels, words, links, and the same ones of neighbouring steps.

    False alarms: 2e-9 a function, 1e-7 in all.
    """
    fates = draws(variant, 0.5, 300)
    assert not pairs_that_agree_too_often(fates).size
    agree = (fates[1:] == fates[:-1]).sum(axis=0)
    assert not outside(agree, len(fates) - 1, 0.5, 1e-9).size


def test_that_related_fates_are_seen():
    fates = draws(BY_NAME["attention-heads"]._replace(shared=()), 0.5, 300)
    assert pairs_that_agree_too_often(fates).size == 2 * 3 * 20  # pairs of heads, of each link
    fates[150:] = np.random.default_rng(0).random(fates[150:].shape) < 0.5  # half of the time
    assert pairs_that_agree_too_often(fates).size >= 110


@pytest.mark.parametrize("variant", BLOCKS, ids=str)
def test_blocks_of_two_maps_are_not_related(variant):
    """The same position in two channels or examples.

    False alarms: 1e-9 a function, 1e-8 in all.
    """
    x = np.ones(variant.shape, "f4")
    kept = np.asarray([variant(x, 0.5, seed=11, step=step) != 0 for step in range(300)])
    positions = [a for a, size in enumerate(variant.sizes) if size > 1]
    corner = tuple(0 if a in positions else slice(None) for a in range(x.ndim))
    fates = kept[(slice(None), *corner)]
    if "all_channels" in variant.name:
        assert (fates == fates[:, :, :1]).all()
        fates = fates[:, :, :1]
    assert not pairs_that_agree_too_often(fates.reshape(300, -1)).size


@pytest.mark.parametrize("lengths", [(3, 3), (2, 5), (1, 4)])
def test_blocks_have_their_size(lengths):
    """Where one block alone begins, what is dropped is that rectangle, cut off by the edges."""
    x, cut = np.ones((1, 1, 9, 11), "f4"), 0
    alone = 0
    for step in range(400):
        y, mask = anydrop.drop_block2d(x, 0.1, lengths, seed=0, step=step, return_mask=True)
        begins = np.argwhere(~mask.seeds.keep(like=x))
        if len(begins) != 1:
            continue
        alone += 1
        dropped = np.argwhere(y[0, 0] == 0)
        low, high = dropped.min(axis=0), dropped.max(axis=0)
        sides = high - low + 1
        assert len(dropped) == np.prod(sides)  # a full rectangle
        for axis in range(2):
            at_an_edge = low[axis] == 0 or high[axis] == x.shape[2 + axis] - 1
            assert sides[axis] == lengths[axis] or (at_an_edge and sides[axis] < lengths[axis])
        cut += tuple(sides) != lengths
    assert alone > 20
    assert 0 < cut < alone


def test_blocks_of_one_element_are_plain_dropout():
    x = np.ones((2, 3, 5, 7), "f4")
    assert np.array_equal(anydrop.drop_block2d(x, 0.3, 1, seed=4), anydrop.dropout(x, 0.3, seed=4))


def test_a_seed_an_example_never_repeats_in_its_batch():
    """Each example of a batch of 64 has a mask that no other one has."""
    for name, shape in (
        *(("dropout", (64, 100)), ("locked-batch_first", (64, 5, 100))),
        *(("attention-heads", (64, 3, 10, 10)), ("drop_connect-examples", (64, 10, 10))),
        *(("dropout1d-channels_first", (64, 100, 3)), ("drop_block2d-3x3", (64, 2, 12, 12))),
    ):
        kept = BY_NAME[name](np.ones(shape, "f4"), 0.5, seed=0) != 0
        assert len({mask.tobytes() for mask in kept}) == 64, name


def test_protected_tokens_change_nobody_elses_fate():
    ids = np.random.default_rng(0).integers(0, 5, (40, 9))
    fates = keep(ids.shape, 0.5, seed=3)
    y, mask = anydrop.token_dropout(
        ids, 0.5, token=9, protected=(0, 4), seed=3, shared_axes=(), return_mask=True
    )
    stays = fates | (ids == 0) | (ids == 4)
    assert np.array_equal(y, np.where(stays, ids, 9))
    assert np.array_equal(mask.keep(like=y), stays)
    y = anydrop.token_dropout(ids, 0.5, token=9, protected=(0,), seed=3, shared_axes=1)
    assert np.array_equal(
        y, np.where(keep(ids.shape, 0.5, seed=3, shared_axes=(1,)) | (ids == 0), ids, 9)
    )


def test_copies_of_weights_are_of_one_table():
    """At inference all copies are the weights; in training each has a mask of its own."""
    weights = np.arange(1, 7, dtype="f4").reshape(2, 3)
    call = partial(anydrop.drop_connect, weights, 0.5, examples=4)
    assert np.array_equal(call(training=False), np.stack([weights] * 4))
    kept = keep((4, 2, 3), 0.5, seed=2)
    assert np.array_equal(call(seed=2), np.where(kept, 2 * weights, 0))
    one = keep((4, 2, 3), 0.5, seed=2, shared_axes=(0,))
    assert np.array_equal(
        call(seed=2, shared_axes=0), np.where(one, 2 * weights, 0) * np.ones((4, 1, 1))
    )


@pytest.mark.parametrize("variant", NORMAL, ids=str)
def test_noise_that_is_shared_is_one_number(variant):
    """One normal number for each fate, and a different one for each."""
    x = np.ones(variant.shape)
    y, noise = variant(x, 0.4, seed=5, return_mask=True)
    lengths = [
        1 if a in (variant.options.get("shared_axes"),) else n for a, n in enumerate(x.shape)
    ]
    assert list(noise.keep(like=x).shape) == lengths
    assert np.unique(y).size == np.prod(lengths)
    assert np.array_equal(y, np.broadcast_to(noise.keep(like=x), x.shape) + (not noise.relative))


def test_rngs_masks_share_alike():
    """A generator's mask has the structure of the name too."""
    x = np.random.default_rng(1).integers(1, 9, (2, 3, 4, 5)).astype("f4")
    for name in ("dropout2d-channels_first", "attention-heads", "stochastic_depth-row", "dropout"):
        variant = BY_NAME[name]
        shared = {"attention-heads": (1,), "dropout": ()}.get(name, variant.shared)
        shared = (1, 2, 3) if name.startswith("stoch") else shared
        y, mask = variant(x, 0.4, rng=np.random.default_rng(0), return_mask=True)
        lengths = tuple(1 if a in shared else n for a, n in enumerate(x.shape))
        kept = np.random.default_rng(0).random(lengths) < 0.6
        assert np.array_equal(mask.keep(like=x), kept)
        assert bits(y) == bits(select(x, kept, 1 / 0.6))
    y, mask = anydrop.drop_block2d(x, 0.4, 2, rng=np.random.default_rng(0), return_mask=True)
    begins = np.random.default_rng(0).random((2, 3, 5, 6)) < 0.6**0.25
    kept = begins[..., 1:, 1:] & begins[..., :-1, 1:] & begins[..., 1:, :-1] & begins[..., :-1, :-1]
    assert np.array_equal(y != 0, kept)


def test_numbers_of_every_kind_are_selected_and_never_multiplied():
    """NaN, Inf, subnormals: dropped ones leave no trace, with every kind of structure."""
    for variant in (*BERNOULLI, *BLOCKS):
        if variant.name in ("token", "zoneout", "drop_connect-examples"):
            continue
        x = numbers(variant.shape, "f4", np.random.default_rng(3))
        kept = expected_keep(variant, 0.6, seed=1)
        with np.errstate(all="ignore"):
            y = variant(x, 0.6, seed=1)
        assert bits(y) == bits(select(x, kept, *variant.affine(0.6))), variant


@pytest.mark.parametrize(
    ("function", "keywords", "axes"),
    [
        (anydrop.dropout1d, {}, "batch, channels, length"),
        (anydrop.dropout2d, {}, "batch, channels, height, width"),
        (anydrop.dropout3d, {"batched": False}, "channels, length, height, width"),
        (anydrop.drop_block1d, {"data_format": "channels_last"}, "batch, length, channels"),
        (anydrop.drop_block2d, {"batched": False}, "channels, height, width"),
    ],
)
def test_a_batch_is_never_guessed(function, keywords, axes):
    ndim = len(axes.split(", "))
    for wrong in (ndim - 1, ndim + 1):
        with pytest.raises(ValueError, match=rf"array of {ndim} dimensions, \({axes}\), got"):
            function(np.ones((2,) * wrong), 0.5, seed=0, **keywords)
