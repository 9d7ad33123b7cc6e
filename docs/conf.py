"""Configuration of the documentation."""

import sys
from pathlib import Path

from docutils.nodes import Text, literal_block
from sphinx.errors import ExtensionError

import anydrop
import anydrop.torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import pictures  # noqa: E402
from pictures.on_pages import LightAndDark  # noqa: E402
from tables import models, performance, situations, support  # noqa: E402

project = "anydrop"
author = "the anydrop developers"
copyright = f"2026, {author}"
release = version = anydrop.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_tables", "examples"]
templates_path = ["_templates"]
nitpicky = True
# Words of numpydoc's type language, and of annotations, that are no objects to link to.
nitpick_ignore_regex = [
    ("py:class", r"(optional|default .*|sequence of int|array.*|shape .*|tuple of .*|str of .*)"),
    ("py:class", r"(Array|Seed|Any|Self|Sequence|Scaling|check\.Scaling|Backend|generator|Key)"),
    ("py:class", r"(stream\..*|np\..*|numpy\..*|anydrop\.core\.typing\..*|collections\.abc\..*)"),
    ("py:class", r"anydrop\.(backends|core|masks|layers)\..*"),
    ("py:obj", r"typing\..*"),
    ("py:(class|obj)", r"(torch\..*|Tensor|mapping of .*|numpy\.random\.SeedSequence)"),
    # Parts of anydrop that the reference leaves out.
    ("py:obj", r"COMPUTE|Setting|standard_normal"),
]
# Parameters and attributes that docstrings name: each by itself, so that the misspelled name of a
# function fails the build.
PARAMETERS = """
    array backward batched data_format dtype entropy examples fill from_zero gradient ids inplace
    input keep_shape key layers like mask mode name new noise_shape other out outputs p placement
    predict progress recipe residual return_mask return_samples rng same_masks samples scale scaling
    seed shape shared_axes shift size start std step step_words steps stop table threads threshold
    token train training weights window x
"""
nitpick_ignore = [("py:obj", name) for name in PARAMETERS.split()]

myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
# The tutorials are run at each build. A cell that raises fails it.
nb_execution_mode = "force"
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_merge_streams = True
autodoc_typehints = "none"
autosummary_generate = True
# What the page of a class shows, where that is not all of its public methods, and the layers, whose
# pages link to the methods of Dropout.
autosummary_context = {
    "layers": {
        f"anydrop.{name}"
        for name, value in vars(anydrop).items()
        if isinstance(value, type) and issubclass(value, anydrop.Layer)
    }
    - {"anydrop.Dropout", "anydrop.Layer", "anydrop.DropLayer"},
    "shown": {
        "anydrop.Mask": "from_seed, apply, keep, digest, keep_shape, threshold, placement",
        "anydrop.StoredMask": "apply, keep, digest, keep_shape",
        "anydrop.BlockMask": "apply, keep, digest",
        "anydrop.DropConnectMask": "keep, apply",
        "anydrop.DropoutAddMask": "keep, apply",
        "anydrop.Noise": "keep, apply, shape",
        "anydrop.ZoneoutMask": "keep, apply",
        "anydrop.schedules.Schedule": "__call__, to_json",
        "anydrop.torch.Module": "forward, seed, step, place, reseed",
    },
}
# `dropout` and `Dropout` need two files where file names ignore case.
autosummary_filename_map = {
    f"{module.__name__}.{name}": f"{module.__name__}.{name}-class"
    for module in (anydrop, anydrop.torch)
    for name in module.__all__
    if name[0].isupper()
}
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
# So `dropout` is a link, also in docstrings.
default_role = "py:obj"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = "anydrop"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {"navigation_with_keys": True}


def draw_pictures(app):
    """Draw the pages' pictures, so that they show what the code does now."""
    pictures.draw(HERE / "_pictures")


def write_tables(app):
    """Write what the tests and the bench found: in the tests' tables, and in files beside this."""
    situations.write(HERE / "_tables")
    models.write(HERE / "_tables")
    support.write(HERE / "_tables")
    performance.write(HERE / "_tables", HERE / "_pictures")


def check_that_every_public_name_is_documented(app, env):
    """Fail the build if the reference lacks a name that ``import anydrop`` offers."""
    documented = set(env.get_domain("py").objects)
    public = {f"anydrop.{name}" for name in anydrop.__all__ if name != "__version__"}
    missing = (public | {f"anydrop.torch.{name}" for name in anydrop.torch.__all__}) - documented
    if missing:
        raise ExtensionError(f"docs/reference/index.md lacks the public names {sorted(missing)}")


def end_blocks_with_their_last_line(app, doctree):
    """Take the blank line off the end of code blocks, which doctest needs to see where they end."""
    for block in doctree.findall(literal_block):
        if block.astext() != (text := block.astext().rstrip()):
            block.children = [Text(text)]
            block.rawsource = text


def setup(app):
    """Connect the above to Sphinx."""
    app.add_transform(LightAndDark)
    app.connect("doctree-read", end_blocks_with_their_last_line)
    app.connect("builder-inited", draw_pictures)
    app.connect("builder-inited", write_tables)
    app.connect("env-check-consistency", check_that_every_public_name_is_documented)
