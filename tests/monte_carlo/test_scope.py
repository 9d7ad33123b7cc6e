"""Which layers Monte Carlo finds, and what it says where there are none."""

import collections
import functools
import inspect
import re
import sys
import types
from dataclasses import dataclass, field

import numpy as np
import pytest

import anydrop
from anydrop import Dropout, monte_carlo
from anydrop.monte_carlo.scope import has_mode, reached

GLOBAL = Dropout(0.5, seed=0)
OTHER = Dropout(0.5, seed=1)
LAYERS = {"a": GLOBAL, "b": [OTHER]}
X = np.ones(4)


def layers_of(function):
    return [one for one in reached(function) if isinstance(one, anydrop.Layer)]


def drops(n):
    return [Dropout(0.5, seed=i) for i in range(n)]


# Where they are found --------------------------------------------------------------------------


class Model:
    def __init__(self, *layers):
        self.layers = layers

    def predict(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    def __call__(self, x):
        return self.predict(x)


class Slotted:
    __slots__ = ("__mangled", "first", "never_set")

    def __init__(self, first, second):
        self.first, self.__mangled = first, second

    def predict(self, x):
        return self.__mangled(self.first(x))


class OnTheClass:
    drop = Dropout(0.5, seed=0)

    def predict(self, x):
        return self.drop(x)


class ByGlobal:
    def predict(self, x):
        return self.inner(x)

    def inner(self, x):
        return GLOBAL(x)

    @staticmethod
    def static(x):
        return OTHER(x)


@dataclass
class Data:
    inner: dict = field(default_factory=dict)


def test_a_layer_itself():
    (drop,) = drops(1)
    assert layers_of(drop) == [drop]
    assert layers_of(drop.forward) == [drop]


def test_objects():
    a, b, c = drops(3)
    model = Model(a, b, c, b)
    for function in (model, model.predict, model.__call__, lambda x: model(x)):
        assert layers_of(function) == [a, b, c]
    assert layers_of(Slotted(a, b).predict) in ([a, b], [b, a])
    assert layers_of(OnTheClass().predict) == [OnTheClass.drop]
    assert set(layers_of(ByGlobal().predict)) == {GLOBAL, OTHER}
    assert layers_of(Model(Data({"x": [a, (b,)]}), types.SimpleNamespace(c=c))) == [a, b, c]


def test_containers_cycles_and_order():
    a, b, c = (Dropout(p, seed=0) for p in (0.1, 0.2, 0.3))
    held = {"z": c, "a": [b, (a,)]}
    held["self"] = held
    assert layers_of(lambda x: held) == [c, b, a]
    assert layers_of(lambda x, held=frozenset({c, a, b}): held) == [a, b, c]
    deep = [a]
    for _ in range(10 * sys.getrecursionlimit()):
        deep = [deep]
    assert layers_of(lambda x: deep) == [a]


def test_functions():
    a, b, c = drops(3)

    def inner(x, *, drop=b):
        return drop(a(x))

    @functools.wraps(inner)
    def wrapped(x):
        return c(inner(x))

    assert layers_of(inner) == [a, b]
    assert layers_of(functools.partial(inner, drop=c)) == [a, b, c]
    assert set(layers_of(wrapped)) == {a, b, c}
    assert layers_of(functools.lru_cache(inner)) == [a, b]
    assert layers_of(functools.partial(np.vectorize(inner))) == [a, b]
    if False:
        never = None
    assert layers_of(lambda x: never) == []


def by_global(x):
    return GLOBAL(x)


def by_call(x):
    return by_global(x)


def by_container(x):
    return LAYERS["a"](x)


def by_lambda(x):
    return (lambda y: OTHER(y))(x)


def recursive(x):
    return recursive(x) if x is None else OTHER(x)


def by_nothing(x):
    return inspect.getsource(np.mean(x))


def test_globals():
    assert layers_of(by_global) == [GLOBAL]
    assert layers_of(by_call) == [GLOBAL]
    assert layers_of(by_container) == [GLOBAL, OTHER]
    assert layers_of(recursive) == [OTHER]
    assert layers_of(by_nothing) == []


@pytest.mark.parametrize("mode", [True, False])
def test_what_is_not_looked_for_must_be_named(monkeypatch, mode):
    """What a module has, what is imported in the function, and what a function in it names."""
    mine = module(monkeypatch, "mine", CODE, "/home/me/mine.py")
    monkeypatch.setattr(OTHER, "_training", mode)
    mine.drop.train(mode)

    def by_import(x):
        import mine

        return mine.drop(x)

    for predict, layer in (
        (by_lambda, OTHER),
        (by_import, mine.drop),
        (lambda x: mine.drop(x), mine.drop),
        (lambda x: mine.predict(x), mine.drop),
    ):
        assert layers_of(predict) == []
        assert "pass the layers as layers=[...]" in complaint(ValueError, predict)
        (drop,) = drops(1)
        message = complaint(RuntimeError, lambda x, drop=drop, predict=predict: predict(drop(x)))
        assert "as layers=[...]" in message
        assert monte_carlo(predict, X, samples=9, seed=0, layers=[layer]).std.any()
        assert layer.step == 0


def module(monkeypatch, name, code, file):
    made = types.ModuleType(name)
    made.__file__ = file
    monkeypatch.setitem(sys.modules, name, made)
    exec(code, made.__dict__)
    return made


CODE = """
import anydrop
drop = anydrop.Dropout(0.5, seed=0)
unnamed = anydrop.Dropout(0.5, seed=0)
def predict(x):
    return helper(x)
def helper(x):
    return drop(x)
def other(x):
    return unnamed(x)
"""


def test_a_module_of_the_user(monkeypatch):
    mine = module(monkeypatch, "mine", CODE, "/home/me/mine.py")
    helper, predict = mine.helper, mine.predict
    assert layers_of(lambda x: helper(x)) == [mine.drop]
    assert layers_of(lambda x: predict(x)) == [mine.drop]


def test_an_installed_package(monkeypatch):
    """Its code is not read, unless the function is its own; its objects are."""
    code = CODE + "class Model:\n    def __init__(self):\n        self.own = unnamed\n"
    theirs = module(monkeypatch, "theirs", code, "/usr/lib/python3/site-packages/theirs.py")
    assert layers_of(lambda x: theirs.drop(x)) == []
    assert layers_of(lambda x: theirs.predict(x)) == []
    assert layers_of(theirs.predict) == [theirs.drop]
    model = theirs.Model()
    assert layers_of(lambda x: model) == [theirs.unnamed]


def test_arrays_are_not_looked_into():
    class Tricky:
        """An array, which would have to be copied to be looked into."""

        def __array__(self, *arguments, **keywords):
            raise AssertionError

        def __iter__(self):
            raise AssertionError

    (a,) = drops(1)
    array = np.empty(3, object)
    array[:] = Dropout(0.5, seed=0)
    assert layers_of(Model(Tricky(), array, a)) == [a]


def test_attributes_are_read_and_not_computed():
    class Lazy:
        @property
        def training(self):
            raise AssertionError

        def __getattr__(self, name):
            raise AssertionError

    (a,) = drops(1)
    assert layers_of(Model(Lazy(), a)) == [a]


def test_a_trainer_is_not_called():
    """What trains by train() and evaluates by eval(), and says that it is training."""

    class Trainer:
        training = True

        def __init__(self, model):
            self.model = model

        def train(self, epochs=1):
            raise AssertionError

        def eval(self):
            raise AssertionError

    (a,) = drops(1)
    trainer = Trainer(a)
    assert [one for one in reached(lambda x: trainer.model(x)) if has_mode(one)] == [a]
    monte_carlo(lambda x: trainer.model(x), X, samples=2, seed=0)


# What it says -----------------------------------------------------------------------------------


def complaint(error, predict, **keywords):
    with pytest.raises(error) as caught:
        monte_carlo(predict, X, **{"samples": 3, "seed": 0, **keywords})
    return str(caught.value)


def test_no_layer():
    assert complaint(ValueError, lambda x: x) == (
        "predict leads to no dropout layer of anydrop: pass the layers as layers=[...], or let "
        "predict take step= and pass it to functions such as anydrop.dropout"
    )
    assert "no dropout layer" in complaint(ValueError, np.sqrt, layers=[])
    fixed = functools.partial(lambda x, step: x, step=3)
    assert "no dropout layer" in complaint(ValueError, fixed)


def test_no_mask():
    """And the layers are as they were."""
    a, b = drops(2)
    assert complaint(ValueError, lambda x: b(a(x, training=False), training=False)) == (
        "no dropout layer drew a mask in the first sample, so all samples would be equal: predict "
        "called none of 2 (Dropout, Dropout) in training mode. Call them without "
        "training=, so that their own mode counts; in a compiled function take step= and pass it "
        "to functions such as anydrop.dropout"
    )
    assert (a.seed, a.step, a.training) == (0, 0, True)


def test_outputs():
    (a,) = drops(1)
    text = complaint(TypeError, lambda x: [a(x)])
    assert text.startswith("predict must return one array, got list")
    assert complaint(TypeError, lambda x: a(x) > 0).startswith(
        "predict must return floating-point numbers, got dtype bool"
    )
    text = complaint(TypeError, lambda x: np.argmax(a(x), keepdims=True))
    assert text == (
        "predict must return floating-point numbers, got dtype int64: return logits or "
        "probabilities instead of classes"
    )
    lengths = iter([2, 3, 4])
    assert complaint(ValueError, lambda x: a(x)[: next(lengths)]) == (
        "predict must return arrays of one shape, got (2,) and then (3,)"
    )


def test_classes():
    (a,) = drops(1)
    wrong = (
        "outputs='probabilities' must be >= 0 and sum to 1 along axis -1, and these do not: use "
        "outputs='logits', or another axis="
    )
    assert complaint(ValueError, a, outputs="probabilities") == wrong
    negative = np.array([1.5, -0.5])
    assert complaint(ValueError, lambda x: (a(x), negative)[1], outputs="probabilities") == wrong
    assert complaint(ValueError, a, outputs="logits", axis=1) == (
        "axis 1 of the classes is out of range for outputs of shape (4,)"
    )
    text = complaint(TypeError, lambda x: a(x + 0j), outputs="logits")
    assert text == "classes have real numbers, got dtype complex128"


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"samples": 0}, ValueError, "samples must be an int > 0, got 0"),
        ({"samples": 2.0}, TypeError, "samples must be an int, got float 2.0"),
        ({"seed": None}, TypeError, "seed must be an int >= 0"),
        ({"seed": -1}, ValueError, "seed must be an int >= 0, got -1"),
        ({"outputs": "classes"}, ValueError, "outputs must be 'values' or 'probabilities' or 'log"),
        ({"outputs": "logits", "axis": 0.5}, TypeError, "axis must be an int, got float 0.5"),
        ({"same_masks": 1}, TypeError, "same_masks must be True or False, got int 1"),
        ({"progress": 1}, TypeError, "progress must be True or False, got int 1"),
        ({"layers": GLOBAL}, TypeError, "layers must be a sequence of layers, got anydrop.layers"),
        ({"layers": [np.sqrt]}, TypeError, "layers must contain layers of anydrop, got numpy"),
    ],
)
def test_bad_arguments(keywords, error, message):
    assert message in complaint(error, GLOBAL, **keywords)
    assert GLOBAL.step == 0


def test_no_function():
    assert complaint(TypeError, 3) == "predict must be a function of x, got int 3"


def test_no_rich(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    message = "progress=True needs rich: python -m pip install 'anydrop[progress]'"
    with pytest.raises(ModuleNotFoundError, match=re.escape(message)):
        monte_carlo(GLOBAL, X, samples=3, seed=0, progress=True)
    assert GLOBAL.step == 0


@pytest.mark.parametrize(
    "holder",
    [
        lambda layer: collections.UserList([layer]),
        lambda layer: collections.UserDict({0: layer}),
        lambda layer: collections.ChainMap({}, {0: layer}),
        lambda layer: {layer: "a layer"},
    ],
    ids=["UserList", "UserDict", "ChainMap", "key"],
)
def test_layers_in_other_containers_are_found(holder):
    first, second = (Dropout(0.5, seed=s).eval() for s in (0, 1))
    held = holder(second)
    x = np.ones(400)

    def predict(x):
        layer = next(iter(held)) if isinstance(held, dict) else held[0]
        return layer(first(x)).sum()

    given = monte_carlo(predict, x, samples=50, seed=0, layers=[second, first])
    found = monte_carlo(predict, x, samples=50, seed=0)
    assert abs(found.std / given.std - 1) < 0.5  # 33 and not 19, of the first alone
    assert found.std > 26
