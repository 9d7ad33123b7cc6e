"""The worked examples of the documentation."""

import shutil
import subprocess
from pathlib import Path

import autograd
import numpy as np
import pytest

from anydrop.testing.reference import keep

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


def test_autograd_against_finite_differences():
    """Through a layer that is used twice before the backward pass, as in a recurrent network."""
    rng = np.random.default_rng(0)
    start, weights = rng.standard_normal((3, 4)), rng.standard_normal((4, 4))

    def loss(w):
        layer = autograd.Dropout(0.5, seed=2)
        layer.train()
        x, w = autograd.Tensor(start), autograd.Tensor(w)
        y = (layer(layer(x @ w) @ w) @ w).sum()
        return y, w

    y, w = loss(weights)
    y.backward()
    numeric = np.empty_like(weights)
    for at in np.ndindex(weights.shape):
        change = np.zeros_like(weights)
        change[at] = 1e-6
        numeric[at] = (loss(weights + change)[0].data - loss(weights - change)[0].data) / 2e-6
    assert np.allclose(w.grad, numeric, rtol=1e-6, atol=1e-6)


def test_autograd_at_inference():
    layer = autograd.Dropout(0.5, seed=2)
    layer.eval()
    x = autograd.Tensor(np.ones((2, 2)))
    y = layer(x)
    y.sum().backward()
    assert np.array_equal(y.data, np.ones((2, 2)))
    assert np.array_equal(x.grad, np.ones((2, 2)))


COMPILER = shutil.which("cc") or shutil.which("gcc")


@pytest.mark.skipif(COMPILER is None, reason="no C compiler (cc or gcc) on this machine")
@pytest.mark.parametrize("p", [0.25, 0.5, 1 - 2**-53, 0.0])
def test_the_stream_in_c(tmp_path, vectors, p):
    subprocess.run(
        [COMPILER, "-Wall", "-Werror", EXAMPLES / "stream.c", "-o", tmp_path / "stream", "-lm"],
        check=True,
    )
    key = next(case["key"] for case in vectors["keys_of_seeds"] if case["seed"] == 42)
    done = subprocess.run(
        [tmp_path / "stream", *map(str, key), str(2**64 - 1), repr(p)],
        capture_output=True,
        text=True,
        check=True,
    )
    expected = keep((32,), p, seed=42, step=2**64 - 1)
    assert done.stdout.strip() == "".join(map(str, expected.astype(int)))
