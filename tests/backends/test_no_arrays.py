"""What is no array, though something about it looks like one, is told so."""

import sys
import types

import numpy as np
import pytest
from process import python
from subjects import available

import anydrop

MASK = anydrop.Mask.from_seed((3,), 0.5, seed=0)


def with_namespace(namespace):
    class Odd:
        def __array_namespace__(self, api_version=None):
            return namespace

    return Odd()


def things():
    """Yield things by name."""
    unknown = types.SimpleNamespace(__name__="no_such_module")
    yield "a namespace of an unknown module", with_namespace(unknown)
    # A module of Python's that is imported by nobody, and would print.
    yield (
        "a namespace of a module that it is not",
        with_namespace(types.SimpleNamespace(__name__="this")),
    )
    yield "a namespace whose name is no string", with_namespace(types.SimpleNamespace(__name__=5))
    yield "a namespace without a name", with_namespace(object())
    yield "a mask", MASK
    yield "a type", np.float32
    yield "None", None
    stranger = type("Series", (), {})
    stranger.__module__ = "cupy.things"
    yield "a class of a module named cupy", stranger()
    if available("dask"):
        import dask.array
        import dask.bag

        yield "a bag", dask.bag.from_sequence([1.0, 2.0, 3.0])
        yield "a generator", dask.array.random.default_rng(0)
        yield "a task", dask.delayed(1.0)
    if available("array_api_strict"):
        import array_api_strict

        yield "a dtype", array_api_strict.float32


THINGS = dict(things())


@pytest.mark.parametrize("thing", THINGS.values(), ids=THINGS)
@pytest.mark.parametrize(
    "call",
    [
        lambda x: anydrop.dropout(x, 0.5, seed=0),
        lambda x: anydrop.Dropout(0.5, seed=0)(x),
        lambda x: anydrop.zoneout(x, x, 0.5, seed=0),
        lambda x: anydrop.token_dropout(x, 0.5, token=0, seed=0),
        MASK.keep,
        MASK.apply,
        anydrop.resolve,
    ],
    ids=["function", "layer", "zoneout", "tokens", "like", "gradient", "resolve"],
)
def test_it_is_told_that_it_is_no_array(thing, call):
    plain = r"x must be an? (plain )?array of numpy"
    with pytest.raises(TypeError, match=rf"{plain}|anydrop has no backend for cupy arrays"):
        call(thing)
    assert "this" not in sys.modules


def test_a_library_that_is_not_installed():
    """A class of a module of its name is no reason to import it."""
    printed = python("""
        import importlib.util, sys
        find = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *rest: None if name == "cupy" else find(name, *rest)
        import anydrop
        Series = type("Series", (), {"__module__": "cupy.things"})
        try:
            anydrop.dropout(Series(), 0.5, seed=0)
        except TypeError as error:
            print("cupy" not in sys.modules, error)
    """)  # fmt: skip
    assert printed.startswith("True anydrop has no backend for cupy arrays (cupy.things.Series)")
