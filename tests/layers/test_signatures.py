"""What `inspect.signature`, `help()` and the reference show of every function and layer."""

import inspect
import re

import pytest
from catalogue import VARIANTS

import anydrop

FUNCTIONS = {v.function.__name__: v.function for v in VARIANTS}
LAYERS = {v.layer.__name__: v.layer for v in VARIANTS}
FUNCTION_OF = {v.layer: v.function for v in VARIANTS}
OF_A_FUNCTION = {
    *("training", "seed", "step", "rng", "shared_axes", "noise_shape", "window", "scaling", "out"),
    "return_mask",
}
OF_A_LAYER = {"seed", "rng", "shared_axes", "noise_shape"}

NUMPYDOC = ["", "Parameters", "Returns", "Raises", "See Also", "Notes", "References", "Examples"]
of_each = pytest.mark.parametrize(
    "thing", [*FUNCTIONS.values(), *LAYERS.values()], ids=lambda thing: thing.__name__
)
of_each_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)


def sections(thing):
    """Return the sections of a docstring, each as its lines."""
    lines, found = inspect.getdoc(thing).splitlines(), {"": []}
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line and set(below) == {"-"} and len(line) == len(below):
            assert line not in found, line
            found[line] = []
        elif set(line) != {"-"}:
            list(found.values())[-1].append(line)
    return found


def entries(thing):
    """Return the type and the description of each parameter, which a docstring describes once."""
    found = {}
    for line in sections(thing)["Parameters"]:
        if line and not line.startswith(" "):
            name, _, kind = line.partition(" : ")
            assert name not in found, name
            found[name] = kind, ""
        elif line:
            found[name] = found[name][0], f"{found[name][1]} {line.strip()}".strip()
    assert all(said for _, said in found.values())
    return found


@of_each
def test_every_parameter_is_shown(thing):
    parameters = inspect.signature(thing).parameters
    assert "keywords" not in parameters
    assert OF_A_LAYER | (OF_A_FUNCTION if inspect.isfunction(thing) else set()) <= set(parameters)
    assert list(entries(thing)) == list(parameters)


@of_each
def test_every_section_is_there_and_in_the_order_of_numpydoc(thing):
    found = sections(thing)
    assert list(found) == [title for title in NUMPYDOC if title in found]
    wanted = {"", "Parameters", "Raises", "References", "Examples"}
    if inspect.isfunction(thing):
        wanted |= {"Returns", "See Also"}
    assert wanted <= set(found) <= wanted | {"See Also", "Notes"}
    for lines in found.values():
        assert lines[0]
        assert lines[-2:].count("") == (lines is not found["Examples"])  # before the next heading


@of_each
def test_help_is_whole(thing):
    """It sends nobody elsewhere for what is missing, and speaks of nothing that is not there."""
    text = inspect.getdoc(thing)
    assert not re.search(r"\bAs (for )?`|\*\*keywords", text)
    assert max(map(len, text.splitlines())) <= 100
    known = {*dir(anydrop), *dir(anydrop.Mask), *dir(thing), *inspect.signature(thing).parameters}
    if inspect.isclass(thing):
        known |= {"x"}  # of `forward`
    assert set(re.findall(r"(?<!`)`(\w+)`(?!`)", text)) <= known


@of_each
def test_a_default_is_the_same_everywhere(thing):
    source = anydrop.dropout if inspect.isfunction(thing) else anydrop.Dropout
    given = inspect.signature(source).parameters
    for name, parameter in inspect.signature(thing).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and name in given:
            assert parameter.default == given[name].default
        if documented := re.search(r"default (\S+)$", entries(thing)[name][0]):
            assert float(parameter.default) == float(eval(documented[1]))


@of_each_layer
def test_a_layer_describes_what_its_function_does(layer):
    """In the same words, but for where the function's are those of a call."""
    of_the_function = entries(FUNCTION_OF[layer])
    of_a_layer = entries(anydrop.Dropout)
    for name, (kind, said) in entries(layer).items():
        if name == "p":
            assert kind.startswith("float or Schedule, default ")
            kind = kind.replace("float or Schedule", "float")
        assert (kind, said) in (of_the_function[name], of_a_layer.get(name))
    assert entries(layer)["seed"] == of_a_layer["seed"]
    for name in ("scaling", "rng"):  # what is refused is refused here, too
        if name in entries(layer) and "efused" in of_the_function[name][1]:
            assert entries(layer)[name] == of_the_function[name]


@of_each_layer
def test_a_layer_says_nothing_of_a_call(layer):
    assert not {"Returns", "step", "out", "window"} & {*sections(layer), *entries(layer)}
    assert "A training call needs" not in inspect.getdoc(layer)
    assert sections(layer)["Raises"] == sections(anydrop.DropLayer)["Raises"] + [""]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_the_mask_that_is_returned_is_named(variant):
    _, mask = variant(variant.input(), seed=0, return_mask=True)
    named = sections(variant.function)["Returns"][0]
    assert type(mask).__name__ in named.removeprefix("array, or tuple of array and ").split(" or ")


def test_what_some_say_by_themselves():
    assert entries(anydrop.gaussian_dropout)["rng"][1].startswith("Refused")
    assert entries(anydrop.dropout2d)["seed"] == entries(anydrop.dropout)["seed"]
    assert "``shared_axes=1``" in entries(anydrop.DropBlock3d)["shared_axes"][1]
    assert entries(anydrop.AlphaDropout)["scaling"][0] == '"train"'
    assert "a channel" in entries(anydrop.FeatureAlphaDropout)["p"][1]
    assert "`weights` lies" in entries(anydrop.attention_dropout)["window"][1]
    assert "where(keep, table * scale, 0)" in sections(anydrop.embedding_dropout)["Returns"][1]
    assert "a * x + b" in sections(anydrop.feature_alpha_dropout)["Returns"][1]
    assert "Klambauer" in sections(anydrop.feature_alpha_dropout)["References"][0]
    assert "dropout2d : the function." in sections(anydrop.Dropout2d)["See Also"]


@pytest.mark.parametrize("layer", [anydrop.Zoneout, anydrop.DropConnect, anydrop.DropoutAdd])
def test_a_forward_of_more_inputs(layer):
    """It says of the others what every forward does."""
    parameters = list(inspect.signature(layer.forward).parameters)
    assert ["self", *entries(layer.forward)] == parameters
    assert list(sections(layer.forward)) == ["", "Parameters", "Returns", "Raises"]
    assert entries(layer.forward)["training"] == entries(anydrop.Layer.forward)["training"]
    raised = sections(anydrop.Layer.forward)["Raises"]
    assert sections(layer.forward)["Raises"] == raised


def test_a_subclass_has_a_signature_of_its_own():
    class Mine(anydrop.Dropout2d):
        def __init__(self, strength):
            super().__init__(strength)

    assert list(inspect.signature(Mine).parameters) == ["strength"]


def test_a_layer_that_was_made_has_the_signature_of_a_call():
    """And not that of its class: `monte_carlo` asks for it."""
    assert list(inspect.signature(anydrop.Dropout2d(0.5)).parameters) == ["x", "training"]


def test_a_base_class_keeps_its_own():
    """Where subclasses add settings."""
    assert list(inspect.signature(anydrop.DropLayer).parameters)[-1] == "options"
    assert list(entries(anydrop.DropLayer))[-1] == "**options"


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_the_example_of_a_function_says_which_step_it_draws(function):
    """Without one, a loop that was copied from it would draw the same mask for ever."""
    calls = [
        line for line in sections(function)["Examples"] if f"anydrop.{function.__name__}(" in line
    ]
    assert calls
    assert all("step=" in line or "training=False" in line for line in calls)
