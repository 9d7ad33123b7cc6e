"""The stream against the published vectors, on every implementation in the tree."""

import hashlib

import numpy as np
import pytest

from anydrop import Mask, Window
from anydrop.core import seeds, stream


def test_philox_known_answers(vectors):
    for case in vectors["philox4x32_10_known_answers"]:
        words = stream.philox(tuple(case["counter"]), tuple(case["key"]))
        assert list(words) == case["words"]


def test_words(vectors):
    for case in vectors["words"]:
        first, key = case["first_index"], tuple(case["key"])
        words = [stream.word(first + i, case["step"], key) for i in range(len(case["words"]))]
        assert words == case["words"]


def test_words_of_every_implementation(vectors, subject):
    """At thresholds equal to a word and one above it, the keep mask that a kernel shows flips."""
    for case in vectors["words"]:
        words, first = case["words"], case["first_index"]
        window = Window((first,), (first + len(words),))
        for word in words:
            for least in (word, word + 1):
                p = least / 2**32
                assert stream.threshold(p) == least
                mask = Mask(tuple(case["key"]), case["step"], (len(words),), p, 1.0, (), window)
                kept = subject.numpy(mask.keep(like=subject.array(np.empty(0, "f4"))))
                assert kept.tolist() == [w >= least for w in words]


def test_keys(vectors):
    for case in vectors["keys_of_seeds"]:
        seed = case["seed"]
        assert list(stream.key_of(tuple(seed) if isinstance(seed, list) else seed)) == case["key"]
    for case in vectors["keys_of_spawned_seeds"]:
        (number,) = case["spawn_key"]
        spawned = np.random.SeedSequence(case["seed"]).spawn(number + 1)[number]
        assert list(stream.key_of(spawned)) == case["key"]


def test_masks(vectors, subject):
    for case in vectors["masks"]:
        mask = Mask.from_seed(tuple(case["shape"]), case["p"], seed=case["seed"], step=case["step"])
        assert mask.threshold == case["threshold"]
        kept = subject.numpy(mask.keep(like=subject.array(np.empty(0, "f4"))))
        assert kept.shape == tuple(case["shape"])
        assert int(kept.sum()) == case["kept"]
        assert "".join(map(str, kept.ravel()[:32].astype(int))) == case["first_32"]
        packed = np.packbits(kept, bitorder="little")
        assert hashlib.sha256(packed.tobytes()).hexdigest() == case["sha256"]
        assert mask.digest(like=subject.array(np.empty(0, "f4"))) == case["sha256"]


@pytest.mark.parametrize(
    ("p", "expected"),
    [(0.0, 0), (1e-12, 0), (0.5, 2**31), (1 - 2**-53, 2**32 - 1), (0.1, 429496730)],
)
def test_threshold(p, expected):
    assert stream.threshold(p) == expected


def test_seed_round_trips_through_json():
    for seed in (0, 2**200, (1, 2, 3), np.random.SeedSequence([4, 5], pool_size=8).spawn(2)[1]):
        back = seeds.from_json(seeds.to_json(seed))
        back = tuple(back) if isinstance(back, list) else back
        assert stream.key_of(back) == stream.key_of(seed)
