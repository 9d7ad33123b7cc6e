"""The promise, for the whole catalogue: one recipe gives the same bits on every library."""

import pytest
from catalogue import BLOCKS, KINDS, NORMAL
from devices import BESIDE_THE_FIRST
from subjects import SUBJECTS, serving

from anydrop import Window
from anydrop.testing.reference import bits

P, STEP = 0.3, 2**33 + 5
# Where each shape is compiled, interpreted or cut to chunks, one of each structure is tried.
SLOW = ("jax", "torch-triton", "torch-cuda", "dask")
FEW = {
    *("alpha_dropout", "dropout2d-channels_first", "feature_alpha_dropout-channels_first"),
    *("locked-time_first", "attention-both", "zoneout", "token", "embedding"),
    *(
        "dropout_add-bias",
        "drop_connect-examples",
        "stochastic_depth-row",
        "stochastic_depth-batch",
    ),
    *(v.name for v in NORMAL),
    *("drop_block1d-4", "drop_block2d-2x5", "drop_block2d-all_channels", "drop_block3d-2x2x2"),
}


def window_of(shape):
    """Return where an array of a shape may lie, past 2**32 elements."""
    offset = (2**33 - 1, *(3,) * (len(shape) - 1))
    return Window(offset, tuple(o + n + 2 for o, n in zip(offset, shape, strict=True)))


def drawn(variant, subject, x, **keywords):
    """Return the output, the mask and the gradient, as NumPy arrays."""
    array = subject.array(x)
    y, mask = variant(array, P, seed=(1, 2), step=STEP, return_mask=True, **keywords)
    results = {"output": y, "mask": mask.keep(like=array)}
    if not variant.whole:
        gradient = mask.apply(array)
        parts = gradient if isinstance(gradient, tuple) else (gradient,)
        results |= {f"gradient {i}": part for i, part in enumerate(parts)}
    return {name: subject.numpy(result) for name, result in results.items()}


def compare(variant, dtype, windowed, subjects, monkeypatch):
    x = variant.example(dtype)
    keywords = {"window": window_of(x.shape)} if windowed else {}
    first = None
    for subject in (SUBJECTS[0], *subjects):
        if x.dtype.name not in subject.dtypes:
            continue
        if subject.name.startswith(SLOW) and variant.name not in FEW:
            continue
        serving(monkeypatch, subject)
        results = drawn(variant, subject, x, **keywords)
        first = first or results
        assert results.keys() == first.keys()
        for name, result in results.items():
            expected = first[name]
            assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
            if bits(result) != bits(expected):
                raise AssertionError(f"{subject.name}: another {name} of {variant}")


@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("variant", [*KINDS, *BLOCKS, *NORMAL], ids=str)
@pytest.mark.parametrize("subjects", BESIDE_THE_FIRST)
def test_one_catalogue(subjects, variant, windowed, monkeypatch):
    """In float32, and in a window in float16."""
    compare(variant, "f2" if windowed else "f4", windowed, subjects, monkeypatch)


@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("variant", NORMAL, ids=str)
@pytest.mark.parametrize("subjects", BESIDE_THE_FIRST)
def test_one_noise(subjects, variant, windowed, monkeypatch):
    """In float64: noise of float32 and of half types is rounded before it is used."""
    compare(variant, "f8", windowed, subjects, monkeypatch)


def test_the_few_are_there():
    assert {v.name for v in (*KINDS, *BLOCKS, *NORMAL)} >= FEW
