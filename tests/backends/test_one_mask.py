"""The promise itself: one recipe, drawn in every way there is, gives the same bits everywhere."""

import numpy as np
import pytest
from devices import BESIDE_THE_FIRST, MISSING, ON_DEVICES
from subjects import SUBJECTS, serving

from anydrop import Mask, Window
from anydrop.testing.reference import bits, numbers
from anydrop.testing.subject import dtype_of

# Where a CUDA device is, Triton compiles for it, and its interpreter can't be had.
TRITON = "torch-triton" if "torch-cuda" in MISSING else "torch-cuda-"
# Ways to draw a mask, by what their subjects' names begin with. `nox -s tests-all` has them all.
WAYS = {
    *("numpy-", "numba-", "strict-cpu_device", "strict-device1", "strict-no_x64", "cuda-on-host"),
    *("torch-cpu", "torch-int64", TRITON, "jax", "jax-jit", "jax-sharded"),
    *("dask-whole", "dask-small", "dask-uneven", "dask-rows", "dask-columns"),
}

RECIPES = [
    {"shape": (37, 53), "p": 0.5, "seed": 0},
    {"shape": (4, 16, 24), "p": 0.1, "seed": 42, "step": 3},
    {"shape": (4, 16, 24), "p": 0.9, "seed": (1, 2), "step": 2**40 + 1, "shared_axes": (1,)},
    {"shape": (8, 3, 5, 5), "p": 0.25, "seed": 7, "step": 1, "shared_axes": (2, 3)},
    {"shape": (64, 33), "p": 0.5, "seed": 1, "window": Window((2**33 - 5, 7), (2**34, 2**7))},
    {
        "shape": (6, 8, 5),
        "p": 0.3,
        "seed": 2**70,
        "step": 2**64 - 1,
        "shared_axes": (0,),
        "window": Window((3, 2**40 - 2, 1), (10, 2**41, 6)),
    },
    {"shape": (1001,), "p": 0.0, "seed": 5},
    {"shape": (1001,), "p": 1e-9, "seed": 5},
    {"shape": (1001,), "p": 1 - 2**-32, "seed": 5},
    {"shape": (0, 3), "p": 0.5, "seed": 5},
    {"shape": (), "p": 0.5, "seed": 5},
    {"shape": (1,), "p": 0.5, "seed": 6},
]


def test_every_way_is_here(request):
    missing = {
        way
        for way in WAYS
        if not any(
            s.name == way or (way[-1] == "-" and s.name.startswith(way))
            for s in (*SUBJECTS, *ON_DEVICES)
        )
    }
    if missing and not request.config.getoption("--complete"):
        pytest.skip(f"not here: {', '.join(sorted(missing))}; nox -s tests-all runs them all")
    assert not missing


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the largest numbers overflow
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
@pytest.mark.parametrize("subjects", BESIDE_THE_FIRST)
def test_one_mask(subjects, recipe, dtype, monkeypatch):
    x = numbers(recipe["shape"], dtype_of(dtype), np.random.default_rng(1))
    # Subnormals are the one exception among outputs, which some libraries turn to zeros: they
    # have a test of their own, in the conformance suite.
    x[np.abs(x) < 10 * float(np.finfo(dtype).tiny)] = 0
    mask = Mask.from_seed(**recipe)
    masks, outputs = {}, {}
    for subject in (SUBJECTS[0], *subjects):
        if dtype not in subject.dtypes:
            continue
        serving(monkeypatch, subject)
        array = subject.array(x)
        masks[subject.name] = mask.digest(array)
        outputs[subject.name] = bits(subject.numpy(mask.apply(array)))
    first = SUBJECTS[0].name
    assert {name: digest for name, digest in masks.items() if digest != masks[first]} == {}
    assert {name for name, output in outputs.items() if output != outputs[first]} == set()
