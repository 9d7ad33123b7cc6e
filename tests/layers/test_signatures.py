"""What `inspect.signature`, `help()` and the reference show of every function and layer."""

import inspect

import pytest
from catalogue import VARIANTS

import anydrop

FUNCTIONS = {v.function.__name__: v.function for v in VARIANTS}
LAYERS = {v.layer.__name__: v.layer for v in VARIANTS}
OF_A_FUNCTION = {
    *("training", "seed", "step", "rng", "shared_axes", "noise_shape", "window", "scaling", "out"),
    "return_mask",
}
OF_A_LAYER = {"seed", "rng", "shared_axes", "noise_shape"}


def sections(thing):
    """Return the sections of a docstring, each as its lines."""
    lines, found = inspect.getdoc(thing).splitlines(), {"": []}
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line and set(below) == {"-"} and len(line) == len(below):
            found[line] = []
        elif set(line) != {"-"}:
            list(found.values())[-1].append(line)
    return found


def documented(thing):
    """Return what a docstring says of each parameter, which it describes once."""
    entries = {}
    for line in sections(thing)["Parameters"]:
        if line and not line.startswith(" "):
            names = line.partition(" : ")[0].split(", ")
            assert not entries.keys() & names, names
            entries |= dict.fromkeys(names, "")
        elif line:
            entries |= {name: entries[name] + line.strip() + " " for name in names}
    assert all(entries.values())
    return entries


@pytest.mark.parametrize("thing", [*FUNCTIONS.values(), *LAYERS.values()], ids=lambda t: t.__name__)
def test_every_keyword_is_shown(thing):
    parameters = inspect.signature(thing).parameters
    assert "keywords" not in parameters
    assert OF_A_LAYER | (OF_A_FUNCTION if inspect.isfunction(thing) else set()) <= set(parameters)
    assert documented(thing).keys() == parameters.keys()


@pytest.mark.parametrize("thing", [*FUNCTIONS.values(), *LAYERS.values()], ids=lambda t: t.__name__)
def test_a_default_is_the_same_everywhere(thing):
    source = anydrop.dropout if inspect.isfunction(thing) else anydrop.Dropout
    given = inspect.signature(source).parameters
    for name, parameter in inspect.signature(thing).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and name in given:
            assert parameter.default == given[name].default


def test_the_docstring_is_still_well_formed():
    parts = sections(anydrop.Dropout2d)
    assert parts[""] == ["Drop whole channels of images; see `dropout2d`.", ""]
    assert parts["Examples"][0] == ">>> import numpy as np, anydrop"
    assert parts["Parameters"][-1] == ""  # before the next heading
    assert documented(anydrop.gaussian_dropout)["rng"].startswith("Refused")
    assert documented(anydrop.dropout2d)["seed"] == documented(anydrop.dropout)["seed"]


def test_a_subclass_has_a_signature_of_its_own():
    class Mine(anydrop.Dropout2d):
        def __init__(self, strength):
            super().__init__(strength)

    assert list(inspect.signature(Mine).parameters) == ["strength"]


def test_a_layer_that_was_made_has_the_signature_of_a_call():
    """And not that of its class: `monte_carlo` asks for it."""
    assert list(inspect.signature(anydrop.Dropout2d(0.5)).parameters) == ["x", "training"]
