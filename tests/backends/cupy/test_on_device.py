"""CuPy on a device: memory, streams, graphs, generators. Skipped, by name, where there is none.

What CuPy's subjects pass in the tests of all backends is not repeated here, nor is what
test_on_host.py shows without a device.
"""

import doctest
from pathlib import Path

import numpy as np
import pytest
from devices import ON_DEVICES, needs_device
from random_layouts import normals_of, perturbed
from subjects import NUMPY_DTYPES, available

import anydrop
from anydrop import Dropout, Mask, Window, verify
from anydrop.backends import load
from anydrop.testing.reference import bits, keep, numbers, select
from anydrop.testing.subject import dtype_of

if not available("cupy"):
    pytest.skip("CuPy is not installed here; nox -s tests-cupy runs this", allow_module_level=True)
import cupy

from anydrop.backends.cupy.backend import _kernel

pytestmark = needs_device("cupy")
DEVICES = [s.array(np.empty(0)).device for s in ON_DEVICES if s.backend.name == "cupy"]
needs_two = pytest.mark.skipif(
    len(DEVICES) < 2, reason=f"two CUDA devices are needed, and {len(DEVICES)} are here"
)
quiet = pytest.mark.filterwarnings("ignore::RuntimeWarning")

SHAPE = (6, 8, 10)
RECIPES = [{}, {"shared_axes": (0, 2)}, {"window": Window((2, 3, 4), (9, 20, 31))}]


@pytest.fixture(params=DEVICES or [None], ids=lambda d: f"device-{getattr(d, 'id', 'none')}")
def device(request):
    """Each device in turn. It is not made the current one: the backend has to see to that."""
    return request.param


def on(device, x):
    with device:
        return cupy.asarray(x)


@quiet
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_layouts(device, recipe):
    base = numbers((8, 8, 20), np.dtype("f4"), np.random.default_rng(0))
    kept = keep(SHAPE, 0.5, seed=8, step=2, **recipe)
    for view in (
        lambda x: x[:6, :, :10],
        lambda x: x[6:0:-1, :, ::2],
        lambda x: x[:, :6, 5:15].transpose(1, 0, 2),
        lambda x: x[:8, :6, 3:13].transpose(1, 0, 2),
    ):
        x, array = view(base), view(on(device, base))
        y = anydrop.dropout(array, 0.5, seed=8, step=2, **recipe)
        assert y.device == device
        assert bits(cupy.asnumpy(y)) == bits(select(x, kept, 2.0))
        assert anydrop.dropout(array, 0.5, seed=8, step=2, out=array, **recipe) is array
        assert bits(cupy.asnumpy(array)) == bits(select(x, kept, 2.0))
    row = on(device, base[0, :1, :10])
    y = anydrop.dropout(cupy.broadcast_to(row, SHAPE), 0.5, seed=8, step=2, **recipe)
    assert bits(cupy.asnumpy(y)) == bits(
        select(np.broadcast_to(base[0, :1, :10], SHAPE), kept, 2.0)
    )


@pytest.mark.parametrize("shift", [1, -1, 3])
def test_out_that_overlaps(device, shift):
    buffer = on(device, np.arange(20_010, dtype="f4"))
    x, out = buffer[3:20_003], buffer[3 + shift : 20_003 + shift]
    expected = cupy.asnumpy(anydrop.dropout(x.copy(), 0.5, seed=0))
    anydrop.dropout(x, 0.5, seed=0, out=out)
    assert np.array_equal(cupy.asnumpy(out), expected)


@quiet
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize("scale", [1.0, 1 / 0.9, 1.5, 1 / 3, 6e-5, 3e4, 2.0**-24])
def test_every_number_of_the_half_types(device, name, scale):
    if name not in NUMPY_DTYPES:
        pytest.skip("bfloat16 is from the package ml_dtypes, which is not installed here")
    x = np.arange(2**16, dtype=np.uint16).view(dtype_of(name))
    mask = Mask.from_seed(x.shape, 2**-34, seed=0)
    y = load("cupy").select(on(device, x), mask, scale)
    assert bits(cupy.asnumpy(y)) == bits(select(x, np.array(True), scale))


@pytest.mark.parametrize(
    "dtypes",
    [
        ("float32", "float32", "float32"),
        ("float16", "float32", "float16"),
        ("bfloat16", "bfloat16", "bfloat16"),
        ("bfloat16", "float32", "float32"),
        ("complex64", "complex64", "complex64"),
    ],
    ids="-".join,
)
def test_sums_and_their_gradients(device, dtypes):
    """Numbers of few bits, so that no sum is rounded, on a device that need not be the current."""
    if not {*dtypes} <= {*NUMPY_DTYPES}:
        pytest.skip("bfloat16 is from the package ml_dtypes, which is not installed here")
    rng = np.random.default_rng(0)
    x, residual, bias = (
        rng.integers(-4, 4, shape).astype(dtype_of(name))
        for shape, name in zip(((6, 40), (6, 40), (40,)), dtypes, strict=True)
    )
    arrays = [on(device, array) for array in (x, residual, bias)]
    kept = keep((6, 40), 0.5, seed=3)
    y, mask = anydrop.dropout_add(*arrays[:2], 0.5, bias=arrays[2], seed=3, return_mask=True)
    assert (y.device, y.dtype) == (device, residual.dtype)
    wide = x.astype("c8") + bias.astype("c8")
    wanted = residual.astype("c8") + np.where(kept, 2 * wide, 0)
    assert np.array_equal(cupy.asnumpy(y).astype("c8"), wanted)
    dx, dresidual, dbias = mask.apply(y)
    assert dresidual is y
    assert [d.dtype for d in (dx, dbias)] == [x.dtype, bias.dtype]
    assert {d.device for d in (dx, dbias)} == {device}
    selected = np.where(kept, 2 * wanted, 0)
    assert np.array_equal(cupy.asnumpy(dx).astype("c8"), selected)
    assert np.array_equal(cupy.asnumpy(dbias).astype("c8"), selected.sum(axis=0))


def test_on_the_current_stream(device):
    """Work queued before it in the same stream comes first, without anyone waiting."""
    with device:
        stream = cupy.cuda.Stream(non_blocking=True)
        x = cupy.zeros(2**22, "f4")
        large = cupy.ones(2**26, "f4")
        cupy.cuda.Device().synchronize()
        with stream:
            for _ in range(10):
                cupy.sin(large, out=large)
            x += 1
            y = anydrop.dropout(x, 0.5, seed=1)
        stream.synchronize()
    expected = 2.0 * cupy.asnumpy(Mask.from_seed(x.shape, 0.5, seed=1).keep(like=np.empty(0)))
    assert np.array_equal(cupy.asnumpy(y), expected)


@pytest.mark.filterwarnings("ignore:cupyx.allow_synchronize will be removed:UserWarning")
def test_nothing_waits_for_the_device(device):
    import cupyx

    x = on(device, np.ones((64, 65), "f4"))
    out = cupy.empty_like(x)
    drop = Dropout(0.5, seed=0, shared_axes=1)
    with cupyx.allow_synchronize(False):
        anydrop.dropout(x, 0.5, seed=0, out=out)
        drop.backward(drop(x))
        assert drop.mask.dtype == bool


def test_a_captured_graph_repeats_its_step(device):
    """A capture refuses whatever waits or allocates anew, so this shows that nothing does."""
    with device:
        x, out = cupy.ones(1001, "f4"), cupy.zeros(1001, "f4")
        anydrop.dropout(x, 0.5, seed=0, step=4, out=out)  # compiles
        stream = cupy.cuda.Stream(non_blocking=True)
        cupy.cuda.Device().synchronize()
        with stream:
            stream.begin_capture()
            anydrop.dropout(x, 0.5, seed=0, step=5, out=out)
            graph = stream.end_capture()
            x *= 3
            for _ in range(2):
                out[...] = 0
                graph.launch(stream)
                stream.synchronize()
                expected = 6.0 * keep((1001,), 0.5, seed=0, step=5)
                assert np.array_equal(cupy.asnumpy(out), expected)


def test_steps_and_offsets_that_are_arrays(device):
    x = on(device, np.ones((4, 6), "f4"))
    step = on(device, np.array(7))
    assert np.array_equal(
        cupy.asnumpy(anydrop.dropout(x, 0.5, seed=0, step=step)),
        2.0 * keep((4, 6), 0.5, seed=0, step=7),
    )
    words = on(device, np.array([7, 1], np.uint32))
    window = Window((on(device, np.array(3)), 0), (9, 6))
    assert np.array_equal(
        cupy.asnumpy(anydrop.dropout(x, 0.5, seed=0, step=words, window=window)),
        2.0 * keep((4, 6), 0.5, seed=0, step=7 + 2**32, window=Window((3, 0), (9, 6))),
    )


@quiet
@pytest.mark.parametrize("name", NUMPY_DTYPES)
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_noise_and_choices(device, recipe, name):
    rng, backend = np.random.default_rng(0), load("cupy")
    new, previous = (numbers(SHAPE, dtype_of(name), rng) for _ in range(2))
    mask = Mask.from_seed(SHAPE, 0.5, seed=8, step=2, **recipe)
    arrays = [on(device, state) for state in (new, previous)]
    z = backend.normals(mask, arrays[0])
    assert z.device == device
    assert bits(cupy.asnumpy(z)) == bits(normals_of(mask, str(z.dtype)))
    for relative in (True, False)[: 1 + (not name.startswith("complex"))]:
        y = backend.perturb(arrays[0], mask, 0.3, relative)
        assert bits(cupy.asnumpy(y)) == bits(perturbed(new, mask, 0.3, relative))
    kept = keep(SHAPE, 0.5, seed=8, step=2, **recipe)
    y = backend.choose(*arrays, mask)
    assert y.device == device
    assert bits(cupy.asnumpy(y)) == bits(np.where(kept, new, previous))
    y = backend.choose(None, arrays[1], mask)
    assert bits(cupy.asnumpy(y)) == bits(np.where(kept, np.zeros((), new.dtype), previous))


def generators(device):
    with device:
        cupy.random.seed(7)
        return [
            cupy.random.default_rng(7),
            cupy.random.RandomState(7),
            cupy.random,
        ]


@pytest.mark.parametrize("which", range(3))
def test_the_generators_own_numbers(device, which):
    shape = (70, 100)
    rng = generators(device)[which]
    x = on(device, np.ones(shape, "f4"))
    drop = Dropout(0.3, rng=rng)
    y = drop(x)
    rng = generators(device)[which]
    with device:
        uniform = rng.random_sample(shape) if which else rng.random(shape)
    expected = cupy.asnumpy(uniform) < 0.7
    assert np.array_equal(cupy.asnumpy(y) != 0, expected)
    assert np.array_equal(cupy.asnumpy(drop.mask), expected)
    assert drop.recipe.bits.nbytes == 875
    assert drop.recipe.bits.device == device
    assert np.array_equal(cupy.asnumpy(drop.backward(x)), cupy.asnumpy(y))
    # The mask goes where the gradient is.
    assert np.array_equal(drop.backward(np.ones(shape, "f4")), cupy.asnumpy(y))


def test_shared_axes_of_a_generators_mask(device):
    drop = Dropout(0.4, rng=generators(device)[0], shared_axes=1)
    x = np.random.default_rng(1).standard_normal((30, 20)).astype("f2")
    y = drop(on(device, x))
    assert drop.mask.shape == (30, 1)
    assert bits(cupy.asnumpy(y)) == bits(select(x, cupy.asnumpy(drop.mask), 1 / 0.6))


def test_bits_of_more_elements_than_one_call_packs(device, monkeypatch):
    monkeypatch.setattr("anydrop.backends.cupy.backend.PACKED", 64)
    for n in (0, 63, 64, 65, 200):
        kept = np.random.default_rng(n).random(n) < 0.5
        packed = load("cupy").pack(on(device, kept))
        assert np.array_equal(cupy.asnumpy(packed), np.packbits(kept, bitorder="little"))


def test_more_than_2_32_elements(device):
    n = 2**32 + 137
    with device:
        free, _ = cupy.cuda.runtime.memGetInfo()
        if free < 2.2 * 2 * n:
            pytest.skip(f"{2.2 * 2 * n / 1e9:.0f} GB of free device memory are needed for this")
        x = cupy.ones(n, "f2")
    anydrop.dropout(x, 0.5, seed=3, out=x)
    for start in (0, 2**31 - 50, 2**32 - 50, n - 100):
        kept = keep((100,), 0.5, seed=3, window=Window((start,), (n,)))
        assert np.array_equal(cupy.asnumpy(x[start : start + 100]), 2.0 * kept)
    kept = Mask.from_seed((n,), 0.5, seed=3).keep(like=x)
    assert np.array_equal(cupy.asnumpy(kept[-100:]), cupy.asnumpy(x[-100:] != 0))
    unpacked = load("cupy").unpack(load("cupy").pack(kept), (n,), x)
    assert bool((unpacked == kept).all())
    cupy.get_default_memory_pool().free_all_blocks()


def test_a_new_step_compiles_nothing(device):
    x = on(device, np.ones(100, "f4"))
    anydrop.dropout(x, 0.5, seed=0, step=0)
    before = _kernel.cache_info().misses
    assert before
    anydrop.dropout(x, 0.1, seed=1, step=1)
    assert _kernel.cache_info().misses == before


@needs_two
def test_two_devices():
    first, second = DEVICES[:2]
    x = on(second, np.ones((5, 7), "f4"))
    with first:
        drop = Dropout(0.5, seed=0)
        y = drop(x)
        assert y.device == drop.mask.device == second
        assert drop.backward(on(first, np.ones((5, 7), "f4"))).device == first
        with pytest.raises(ValueError, match="out must have the device of x"):
            anydrop.dropout(x, 0.5, seed=0, out=on(first, np.ones((5, 7), "f4")))
        native = Dropout(0.5, rng=generators(second)[1])
        y = native(x)
        moved = native.backward(on(first, np.ones((5, 7), "f4")))
    assert moved.device == first
    assert np.array_equal(cupy.asnumpy(moved), cupy.asnumpy(y))


def test_the_worked_example_of_the_documentation():
    """Where there is no device the page's CuPy lines are skipped; here they are not."""
    page = Path(__file__).parents[3] / "docs" / "reference" / "cupy.md"
    text = page.read_text().replace("# doctest: +SKIP", "")
    test = doctest.DocTestParser().get_doctest(text, {}, "cupy.md", str(page), 0)
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test)
    assert result.attempted > 10
    assert not result.failed


def test_rows_of_verify(capsys):
    assert verify.run() == 0
    rows = [r for r in capsys.readouterr().out.splitlines() if r.startswith("cupy")]
    assert len(rows) == len(DEVICES)
    assert all("  4e10e0c081350e29  " in row and row.endswith("  ok") for row in rows)
