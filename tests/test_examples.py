"""The worked examples of the documentation."""

import shutil
import subprocess
from pathlib import Path

import autograd
import numpy as np
import pre_norm
import pytest

import anydrop
from anydrop.core import stream
from anydrop.core.quantile import numerator
from anydrop.testing.reference import keep

ROOT = Path(__file__).parent.parent
EXAMPLES, TABLE = ROOT / "docs" / "examples", ROOT / "anydrop" / "core" / "normals.bin"


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


def block(kind):
    """Return a pre-norm block with the same weights and masks, whatever its kind."""
    rng = np.random.default_rng(0)
    made = kind([pre_norm.Attention(rng, 8), pre_norm.FeedForward(rng, 8)], p=0.3)
    anydrop.seed_layers(made, 0)
    return made


def test_the_pre_norm_blocks_are_equal():
    """The same outputs and gradients, to the bit; sums of biases' gradients have another order."""
    blocks = block(pre_norm.Before), block(pre_norm.After)
    rng = np.random.default_rng(1)
    for _ in range(3):
        x, g = rng.standard_normal((2, 4, 5, 8))
        before, after = (made.forward(x) for made in blocks)
        assert np.array_equal(before, after)
        before, after = (made.backward(g) for made in blocks)
        assert np.array_equal(before, after)
        for old, new in zip(*(made.sublayers for made in blocks), strict=True):
            for a, b in zip(old.linears, new.linears, strict=True):
                assert np.array_equal(a.dweight, b.dweight)
            assert np.allclose(old.dbias, new.dbias, rtol=1e-13, atol=1e-13)
        for old, new in zip(*(made.drops for made in blocks), strict=True):
            assert np.array_equal(old.mask, new.mask)


def test_the_pre_norm_block_against_finite_differences():
    rng = np.random.default_rng(2)
    x, g = rng.standard_normal((2, 2, 3, 8))
    made = block(pre_norm.After)
    made.forward(x)
    dx = made.backward(g)
    dbias = made.sublayers[1].dbias
    for at in [(0, 0, 0), (1, 2, 7), (0, 1, 3)]:
        change = np.zeros_like(x)
        change[at] = 1e-6
        up, down = (block(pre_norm.After).forward(x + sign * change) for sign in (1, -1))
        assert np.isclose(((up - down) * g).sum() / 2e-6, dx[at], rtol=1e-6, atol=1e-6)
        ends = []
        for sign in (1, -1):
            moved = block(pre_norm.After)
            moved.sublayers[1].bias[at[-1]] += sign * 1e-6
            ends.append((moved.forward(x) * g).sum())
        assert np.isclose((ends[0] - ends[1]) / 2e-6, dbias[at[-1]], rtol=1e-6, atol=1e-6)


COMPILER = shutil.which("cc") or shutil.which("gcc")


@pytest.mark.skipif(COMPILER is None, reason="no C compiler (cc or gcc) on this machine")
@pytest.mark.parametrize("p", [0.25, 0.5, 1 - 2**-53, 0.0])
def test_the_stream_in_c(tmp_path, vectors, p):
    key = next(case["key"] for case in vectors["keys_of_seeds"] if case["seed"] == 42)
    (fates,) = in_c(tmp_path, key, 2**64 - 1, p)
    expected = keep((32,), p, seed=42, step=2**64 - 1)
    assert fates == "".join(map(str, expected.astype(int)))


@pytest.mark.skipif(COMPILER is None, reason="no C compiler (cc or gcc) on this machine")
def test_normal_numbers_in_c(tmp_path, vectors):
    key = next(case["key"] for case in vectors["keys_of_seeds"] if case["seed"] == 42)
    for step in (*range(100), 2**64 - 1):
        _, *normals = in_c(tmp_path, key, step, 0.5, TABLE)
        words = stream.philox((0, 0, step % 2**32, step >> 32), key)
        assert [float(z) * 2**28 for z in normals] == [numerator(word) for word in words]


@pytest.mark.skipif(COMPILER is None, reason="no C compiler (cc or gcc) on this machine")
def test_a_table_that_is_not_whole_in_c(tmp_path):
    (tmp_path / "normals.bin").write_bytes(TABLE.read_bytes()[:-1])
    with pytest.raises(subprocess.CalledProcessError) as failed:
        in_c(tmp_path, (1, 2), 0, 0.5, tmp_path / "normals.bin")
    assert failed.value.stderr == f"no table in {tmp_path / 'normals.bin'}\n"


def in_c(folder, key, *arguments):
    """Return the lines that the example in C prints."""
    program = folder / "stream"
    if not program.exists():
        source = EXAMPLES / "stream.c"
        subprocess.run([COMPILER, "-Wall", "-Werror", source, "-o", program, "-lm"], check=True)
    command = [program, *map(str, (*key, *arguments))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
