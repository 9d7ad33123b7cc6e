"""The promise itself: one recipe, drawn in every way there is, gives the same bits everywhere."""

import numpy as np
import pytest
from devices import BESIDE_THE_FIRST, MISSING, ON_DEVICES
from subjects import SUBJECTS, available, serving

import anydrop
from anydrop import Mask, Window
from anydrop.testing.reference import bits, numbers
from anydrop.testing.subject import dtype_of
from anydrop.verify import PUBLISHED_NOISE, digest_of_noise

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


# Noise ------------------------------------------------------------------------------------------


LAYOUTS = {
    "C order": lambda s, x: s.array(x),
    "Fortran order": lambda s, x: s.backend.xp.permute_dims(
        s.array(x.transpose().copy()), tuple(range(x.ndim))[::-1]
    ),
    "every second": lambda s, x: s.array(np.repeat(x, 2, axis=-1))[..., ::2],
    "backwards": lambda s, x: s.backend.xp.flip(s.array(np.flip(x).copy())),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("subjects", BESIDE_THE_FIRST)
def test_one_noise(subjects, layout, dtype):
    """Outputs of gaussian dropout and gaussian noise have one digest each, and it is published."""
    for subject in (SUBJECTS[0], *subjects):
        if dtype not in subject.dtypes:
            continue
        if layout != "C order" and subject.name.startswith(("jax", "dask", "strict")):
            continue  # whose arrays have one memory order, or don't tell
        for published in PUBLISHED_NOISE:
            x = LAYOUTS[layout](subject, published.numbers(dtype))
            noise = published.std, published.relative
            y = subject.numpy(subject.backend.perturb(x, published.recipe, *noise))
            assert digest_of_noise(y) == getattr(published, dtype), f"{subject.name}: {published}"


def by_pytorch(function):
    import torch

    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True), "torch-cpu"


def by_jax(function):
    import jax

    return jax.jit(function), "jax"


COMPILERS = [
    pytest.param(
        compiler,
        id=module,
        marks=pytest.mark.skipif(
            not available(module), reason=f"{module} is not here; nox -s tests-all runs this"
        ),
    )
    for module, compiler in (("torch", by_pytorch), ("jax", by_jax))
]


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own calls
@pytest.mark.filterwarnings("ignore:.torch._prims_common.check:FutureWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_one_noise_compiled(compiler, dtype):
    """A compiler may fuse a product and a sum; they are rounded one by one all the same."""
    calls = (
        (PUBLISHED_NOISE[1], lambda x: anydrop.gaussian_noise(x, 0.1, seed=42, step=3)),
        (PUBLISHED_NOISE[2], lambda x: anydrop.gaussian_dropout(x, 0.2, seed=0, step=1)),
    )
    for published, function in calls:
        program, name = compiler(function)
        subject = next(s for s in SUBJECTS if s.name == name)
        y = program(subject.array(published.numbers(dtype)))
        assert digest_of_noise(subject.numpy(y)) == getattr(published, dtype)


def test_another_digest_is_seen():
    published = PUBLISHED_NOISE[1]
    x = published.numbers("float32")
    for fused in (False, True):
        z = SUBJECTS[0].backend.normals(published.recipe, x)
        wide = np.float64 if fused else np.float32
        y = (x.astype(wide) + z.astype(wide) * wide(np.float32(0.1))).astype(np.float32)
        assert (digest_of_noise(y) == published.float32) is not fused
