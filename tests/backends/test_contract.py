"""The table of a backend's methods, against what the package calls for each of its features."""

import copy
import re
from collections import Counter

import numpy as np
import pytest

import anydrop
from anydrop import backends, verify
from anydrop.backends.base import Backend
from anydrop.backends.plan import Plans

X = np.ones((4, 3, 6, 5), np.float32)


def table():
    """Return what the class's docstring says that each method is called for."""
    _, _, rows, _ = re.split(r"\n *=+  =+  =+\n", Backend.__doc__)
    cells = (re.split(r"  +", row.strip(), maxsplit=2) for row in rows.splitlines())
    return {name: set(features.split(", ")) for name, features, _ in cells}


class Random(Backend):
    """In pure array API, with a generator."""

    def draw(self, rng, shape, p, like):
        return rng.random(shape) < 1 - p


def methods():
    """Return the methods and properties of a backend."""
    found = {}
    for cls in reversed(Random.__mro__):
        found |= {name: member for name, member in vars(cls).items() if name[0] != "_"}
    return {
        name: member
        for name, member in found.items()
        if callable(member) or isinstance(member, property)
    }


class Recorder:
    """A backend, and the names of its methods that others than itself have called."""

    def __init__(self):
        self.names = set()
        self.within = 0
        watched = {name: self.watched(name, member) for name, member in methods().items()}
        self.backend = type("Watched", (Random,), watched)("numpy", "array_api_compat.numpy")
        self.backend.plans = Plans()

    def watched(self, name, member):
        function = member.fget if isinstance(member, property) else member
        inside = name != "recompute"  # which calls functions of its caller's

        def method(*arguments, **keywords):
            if not self.within:
                self.names.add(name)
            self.within += inside
            try:
                return function(*arguments, **keywords)
            finally:
                self.within -= inside

        return property(method) if isinstance(member, property) else method


class Elsewhere(np.ndarray):
    """Arrays that stand for those of another library."""


def generator():
    return np.random.default_rng(0)


def passes(drop):
    drop.forward(X)
    drop.backward(X)
    return drop


def stored():
    return anydrop.dropout(X, 0.5, rng=generator(), return_mask=True)[1]


def generators():
    _ = passes(anydrop.Dropout(0.5, rng=generator())).mask
    anydrop.dropout(X, 0.0, rng=generator())


DRAWN = {"seed": 0, "return_mask": True}


def blocks():
    mask = anydrop.drop_block2d(X, 0.3, 2, **DRAWN)[1]
    mask.apply(X)
    mask.keep(X)


# What the table calls composed.
COMPOSED = {
    "blocks": blocks,
    "zoneout": lambda: anydrop.zoneout(X, X, 0.3, **DRAWN)[1].apply(X),
    "tokens": lambda: anydrop.token_dropout(np.arange(9), 0.3, token=0, **DRAWN),
    "copies": lambda: anydrop.drop_connect(X, 0.3, examples=2, **DRAWN)[1].apply(np.stack([X, X])),
    "dropout_add": lambda: anydrop.dropout_add(X, X, 0.3, bias=X[:1], **DRAWN)[1].apply(X),
}


# What runs each feature, and the feature that it stands on, which needs no telling again.
FEATURES = {
    "all": (lambda: [anydrop.dropout(X, 0.5, seed=0) for _ in range(2)], None),
    "layers": (lambda: passes(anydrop.Dropout(0.5, seed=0)), "all"),
    "masks": (lambda: copy.deepcopy(passes(anydrop.Dropout(0.5, seed=0))).mask, "layers"),
    "rng=": (generators, "masks"),
    "noise": (lambda: passes(anydrop.GaussianDropout(0.5, seed=0)).mask, "layers"),
    "composed": (lambda: None, "all"),  # what several of them call
    **{feature: (run, "composed") for feature, run in COMPOSED.items()},
    "moves": (lambda: stored().apply(X.view(Elsewhere)), "rng="),
    "digests": (lambda: anydrop.Mask.from_seed((3,), 0.5, seed=0).digest(X), "masks"),
    "monte_carlo": (
        lambda: anydrop.monte_carlo(anydrop.Dropout(0.5, seed=0), X, samples=2, seed=0),
        "layers",
    ),
    "out=": (lambda: anydrop.dropout(X, 0.5, seed=0, out=np.empty_like(X)), "all"),
    "verify": (verify.run, "all"),
}


@pytest.fixture(scope="module")
def called():
    """Return the methods that each feature calls."""
    names = {}
    for feature, (run, _) in FEATURES.items():
        with pytest.MonkeyPatch.context() as patch:
            recorder = Recorder()
            patch.setattr(backends, "load", lambda name, r=recorder: r.backend)
            patch.setattr(verify, "load", lambda name, r=recorder: r.backend)
            patch.setattr(backends, "_SERVING", {})
            patch.setattr(backends, "_BY_TYPE", {Elsewhere: copy.copy(recorder.backend)})
            run()
        names[feature] = recorder.names
    several = Counter(name for feature in COMPOSED for name in names[feature])
    return names | {"composed": {name for name, times in several.items() if times > 1}}


def test_each_method_has_a_row():
    assert table().keys() == methods().keys()


def behind(feature):
    """Return the features that a feature stands on."""
    while feature := FEATURES[feature][1]:
        yield feature


@pytest.mark.parametrize("method", methods())
def test_a_row_is_true(method, called):
    needed = {
        feature
        for feature in FEATURES
        if method in called[feature] and not any(method in called[b] for b in behind(feature))
    }
    assert table()[method] == needed
