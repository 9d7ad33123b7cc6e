"""Numba's kernels: what LLVM makes of them, and where the numbers of a call become theirs."""

import platform

import numpy as np
import pytest
from process import python
from subjects import available

import anydrop

if not available("numba"):
    pytest.skip(
        "numba is not installed here; nox -s tests-numpy runs this", allow_module_level=True
    )

import llvmlite.binding as llvm

from anydrop.backends.numpy import chunked, compiled
from anydrop.backends.numpy.kernels.philox import VECTORS
from anydrop.core.recipe import Affine
from anydrop.testing.reference import bits

# What LLVM calls processors with SSE4.2, AVX2 and AVX-512, and the least registers that are wanted,
# for Philox and for the rest: LLVM thinks that half of the widest will do there.
REGISTERS = {"x86-64-v2": "xx", "x86-64-v3": "yy", "x86-64-v4": "zy"}
needs_x86 = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="its processors are x86's"
)

ASSEMBLY = """
    import re
    import numpy as np
    from anydrop.backends.numpy import compiled
    from anydrop.backends.numpy.kernels import entries, rules
    for dtype in ("float16", "float32", "float64"):
        _, kernel = compiled._compiled(entries.runs_of_arrays, rules.Select, np.dtype(dtype), True)
        (code,) = kernel.inspect_asm().values()
        for name, product in (("philox", "v?pmuludq"), ("affine", "v?mulp[sd]")):
            print(dtype, name, max(re.findall(rf"\\t{product}\\t.*%([xyz])mm", code)))
"""

FORMS = """
    import hashlib
    import numpy as np, anydrop
    from anydrop.backends.numpy.backend import NumpyBackend
    from anydrop.backends.numpy.kernels import halves, philox
    backend, digest = NumpyBackend(use_numba=True), hashlib.sha256()
    for dtype in ("float16", "float32"):
        x = np.linspace(-2, 2, 6000).astype(dtype).reshape(20, 300)
        for shared in ((), (0,), (1,)):
            mask = anydrop.Mask.from_seed(x.shape, 0.3, seed=0, shared_axes=shared)
            for view in (x, x[:, ::-1], x[::2].T.copy().T):
                part = mask._replace(shape=view.shape)
                digest.update(np.ascontiguousarray(backend.select(view, part, 1.1, 0.1, 2.0)))
        digest.update(backend.select_add(x, x, mask, 1.1, x[0]))
        for relative in (True, False):
            digest.update(backend.perturb(x, mask, 0.3, relative))
        digest.update(backend.choose(x, x + 1, mask))
    digest.update(backend.keep(mask, x))
    every = np.arange(2**16, dtype=np.uint16).view("f2")
    kept = anydrop.Mask.from_seed(every.shape, 2**-34, seed=0)
    for scale in (1.0, 1 / 3, 10.0, 6e-5, 2.0**-24):
        digest.update(backend.select(every, kept, scale))
    print(int(philox.VECTORS), int(halves.HARDWARE), digest.hexdigest())
"""


def features(*without):
    """Return the features of this processor, in numba's words, without those that begin so."""
    here = llvm.get_host_cpu_features()
    return ",".join(
        f"{'-' if name.startswith(without) else '+' * here[name] or '-'}{name}" for name in here
    )


# What a target is told to be, and whether it has AVX2 and the conversion of float16.
TARGETS = {
    "generic": ({"NUMBA_CPU_NAME": "generic"}, False, False),
    "no features": ({"NUMBA_CPU_FEATURES": ""}, False, False),
    "AVX2 alone": ({"NUMBA_CPU_FEATURES": features("avx512", "avx10", "f16c")}, True, False),
}


@needs_x86
@pytest.mark.parametrize("processor", REGISTERS)
def test_what_is_compiled_for_a_processor_is_in_vectors(processor, tmp_path):
    """Of the widest registers that it has: both the stream and the multiplication."""
    lines = python(
        ASSEMBLY, NUMBA_CACHE_DIR=str(tmp_path), NUMBA_CPU_NAME=processor, NUMBA_CPU_FEATURES=""
    ).splitlines()
    widest = {name: [] for name in ("philox", "affine")}
    for line in lines:
        _, name, register = line.split()
        widest[name].append(register)
    philox, affine = REGISTERS[processor]
    assert len(lines) == 6
    assert min(widest["philox"]) >= philox
    assert min(widest["affine"]) >= affine


@needs_x86
@pytest.mark.parametrize("target", TARGETS)
def test_any_target_draws_the_same(target, tmp_path, here):
    """By whichever form of the kernel the features of the target choose."""
    environment, vectors, hardware = TARGETS[target]
    if vectors and not VECTORS:
        pytest.skip("this processor has no AVX2")
    *form, digest = python(FORMS, NUMBA_CACHE_DIR=str(tmp_path), **environment).split()
    assert form == [str(int(vectors)), str(int(hardware))]
    assert digest == here


@pytest.fixture(scope="module")
def here():
    """Return the digest of this machine's own form, and of plain NumPy."""
    *_, digest = python(FORMS).split()
    *_, plain = python(FORMS.replace("use_numba=True", "use_numba=False")).split()
    assert digest == plain
    return digest


@needs_x86
@pytest.mark.skipif(not VECTORS, reason="this processor has no AVX2")
def test_the_form_for_avx2_holds_its_words_in_lanes_of_32_bits(tmp_path):
    """One multiplication of sixteen lanes for the low halves, and conversions of float16."""
    code = """
        import numpy as np
        from anydrop.backends.numpy import compiled
        from anydrop.backends.numpy.kernels import entries, rules
        make, dtype = entries.runs_of_arrays, np.dtype("float16")
        _, kernel = compiled._compiled(make, rules.Select, dtype, True)
        (code,) = kernel.inspect_asm().values()
        print(*(name in code for name in ("vpmulld", "vcvtph2ps", "vcvtps2ph", "prefetch")))
    """
    asked = python(
        code, NUMBA_CACHE_DIR=str(tmp_path), NUMBA_CPU_FEATURES=features("avx512", "avx10")
    )
    assert asked == "True True True True"
    plain = python(code, NUMBA_CACHE_DIR=str(tmp_path / "plain"), NUMBA_CPU_NAME="generic")
    assert plain == "False False False True"


def test_no_index_leaves_its_array(tmp_path):
    """Where numba checks every index: runs that begin and end anywhere, rows, and tiles."""
    code = """
        import numpy as np, anydrop
        from anydrop.backends.numpy.backend import NumpyBackend
        backend = NumpyBackend(use_numba=True)
        lengths = *range(1, 9), *range(123, 134), 260
        for first in range(4):
            for n in lengths:
                x = np.ones(n, "f4")
                window = anydrop.Window((first,), (2**40,))
                backend.select(x, anydrop.Mask.from_seed((n,), 0.5, seed=0, window=window), 2.0)
        for shape, shared in (((3, 130), 0), ((2100, 3), 1), ((5, 7), ())):
            x = np.ones(shape, "f4")
            for first in range(2):
                window = anydrop.Window((first, 0), (2**40, shape[1]))
                where = {"seed": 0, "shared_axes": shared, "window": window}
                mask = anydrop.Mask.from_seed(shape, 0.5, **where)
                for view in (x, np.asfortranarray(x), x[:, ::-1]):
                    backend.select(view, mask, 2.0)
                    backend.select_add(view, view, mask, 2.0, x[0])
    """
    python(code, NUMBA_CACHE_DIR=str(tmp_path), NUMBA_BOUNDSCHECK="1")


@pytest.mark.parametrize("step", [0, 2**32 - 1, 2**32, 2**63, 2**64 - 1])
@pytest.mark.parametrize("first", [0, 5, 2**34 - 6, 2**63 + 1, 2**64 - 300])
@pytest.mark.parametrize("key", [(0, 0), (2**32 - 1, 2**32 - 1), (1, 2**31)])
def test_numbers_of_all_their_bits(step, first, key):
    """Kernels in NumPy and numba, the latter by arrays and by addresses."""
    window = anydrop.Window((first,), (2**64,))
    placement = anydrop.Mask.from_seed((300,), 0.5, seed=0, window=window).placement
    assert placement.first == first
    x = np.linspace(1, 2, 300, dtype="f4")
    constants = x.dtype, placement, 2**32 - 2**29, Affine(1.5, 0.25, -1.0)
    results = np.full((3, 300), np.nan, "f4")
    for module, y in zip((chunked, compiled), results, strict=False):
        module.kernel(*constants)(x, y, 0, key, step, first)
    addresses = x.ctypes.data, results[2].ctypes.data
    compiled.kernel_at(*constants)(*addresses, 300, key, step, first)
    assert len(set(map(bits, results))) == 1
    assert 0 < (results[0] == -1).sum() < 300


@pytest.mark.parametrize("start", [0, 1, 3, 4, 63, 64, 65, 127, 299])
@pytest.mark.parametrize("shared", [(), (0,), (1,), (2,), (0, 2), (1, 2), (0, 1)])
def test_any_piece_of_a_placement(start, shared):
    """From any element to any other, which begins and ends within rows and groups."""
    whole = anydrop.Mask.from_seed((3, 10, 10), 0.5, seed=1, shared_axes=shared)
    x = np.linspace(1, 2, 300, dtype="f4")
    expected = np.where(
        np.broadcast_to(whole.keep(like=x), whole.shape).reshape(-1), 2 * x, np.float32(0)
    )
    for module in (chunked, compiled):
        draw = module.kernel(x.dtype, whole.spread, whole.threshold, Affine(2.0))
        for stop in (start + 1, (start + 300) // 2, 299, 300):
            if stop > start:
                y = np.full(stop - start, np.nan, "f4")
                draw(x[start:stop], y, start, whole.key, 0, 0)
                assert np.array_equal(y, expected[start:stop]), (module.NAME, stop)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("kernels", [compiled, chunked], ids=["numba", "NumPy"])
def test_long_rows_of_indices_that_elements_share(kernels, first):
    """From any word of a block on. And a word that is the threshold survives."""
    window = anydrop.Window((first, 0), (2**40, 3))
    mask = anydrop.Mask.from_seed((5000, 3), 0.5, seed=0, shared_axes=1, window=window)
    drawn = np.empty(5001, "u4")
    whole = anydrop.Mask.from_seed(drawn.shape, 0.5, seed=0)
    chunked.kernel(drawn.dtype, whole.placement)(drawn, drawn, 0, mask.key, 0, 0)
    words, y = drawn[first : first + 5000], np.empty(15000, "f4")
    least = int(words[2])
    draw = kernels.kernel(y.dtype, mask.spread, least)
    draw(np.ones_like(y), y, 0, mask.key, 0, first)
    assert np.array_equal(y.reshape(5000, 3), np.repeat(words >= least, 3).reshape(5000, 3))


def test_every_kernel_is_cached(tmp_path):
    """Also one with a table: numba caches none that looks at an array with gaps."""
    code = """
        import warnings
        warnings.simplefilter("error")
        import numpy as np
        from anydrop import Mask
        from anydrop.backends.numpy.backend import NumpyBackend
        backend, x = NumpyBackend(use_numba=True), np.ones((1, 2, 30), "f4")
        mask = Mask.from_seed(x.shape, 0.5, seed=0)
        backend.perturb(x, mask, 0.5, True)
        turned = np.asfortranarray(np.ones((3, 5), "f4"))
        backend.perturb(turned, Mask.from_seed((3, 5), 0.5, seed=0), 1.0, False)
        backend.choose(x, x, mask)
        backend.select_packed(x, backend.pack(x > 0), x.shape, (1.0, None, 0.0))
        backend.select_blocks(x, Mask.from_seed((1, 2, 32), 0.5, seed=0), (1, 1, 3), 2.0)
    """
    python(code, NUMBA_CACHE_DIR=str(tmp_path))
    first = {path.name for path in tmp_path.rglob("*.nbc")}
    assert len(first) == 5
    python(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert {path.name for path in tmp_path.rglob("*.nbc")} == first
