"""States that layers saved before the package got its present folders: they still load.

That of `DropoutAdd`, which came later, is the first one of `Dropout` by another name: to a residual
of zeros it adds just that layer's output.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from catalogue import VARIANTS

import anydrop
from anydrop.masks.mask import digest

STATES = json.loads(
    (Path(__file__).parents[1] / "vectors" / "layer_states_v1.json").read_text(encoding="utf-8")
)


def variant_of(saved):
    """Return the variant whose layer this was."""
    examples = saved["options"].get("__examples__")
    for variant in VARIANTS:
        options = {n: list(v) if isinstance(v, tuple) else v for n, v in variant.options.items()}
        own = {n: v for n, v in saved["options"].items() if n not in ("__examples__", "scaling")}
        same = variant.layer.__name__ == saved["layer"] and options == own
        if same and variant.inputs(variant.input()).get("examples") == examples:
            return variant
    raise AssertionError(saved)


@pytest.mark.parametrize("saved", STATES, ids=lambda saved: saved["layer"])
def test_an_old_state_loads_and_goes_on(saved):
    variant = variant_of(saved)
    source = {"seed": None, "rng": np.random.default_rng(0)} if saved.get("rng") else {"seed": 99}
    layer = variant.make(0.1, **source)
    layer.load_state_dict(saved["state"])
    assert json.loads(json.dumps(layer.state_dict())) == saved["state"]
    y = np.asarray(variant.run(layer, variant.input()))
    assert saved["next"] in (None, hashlib.sha256(y.tobytes()).hexdigest())
    if saved["next_mask"] is not None:  # noise has no mask of truth values
        assert saved["next_mask"] == digest(np.asarray(layer.mask))


def test_that_every_layer_has_a_saved_state():
    layers = {saved["layer"] for saved in STATES}
    assert layers == {v.layer.__name__ for v in VARIANTS}
    assert sum(saved["next"] is not None for saved in STATES) >= len(layers) - 2
    assert anydrop.Dropout.__name__ in layers
