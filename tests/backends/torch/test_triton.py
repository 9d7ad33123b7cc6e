"""The Triton kernel: run by Triton's interpreter, and compiled for devices that are not here.

What every subject of the conformance tests must do, `torch-triton` does there, and on a device
`torch-cuda-0-triton`.
"""

import numpy as np
import pytest
from devices import needs_device
from process import python
from subjects import available

import anydrop
from anydrop import Mask, Window
from anydrop.testing.reference import bits, keep, numbers, select

if not (available("torch") and available("triton")):
    pytest.skip(
        "Triton is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
import triton.language as tl
from triton import jit

from anydrop.backends.torch import triton
from anydrop.backends.torch.triton_kernels import normal
from anydrop.core.quantile import numerator

RECIPES = [
    {},
    {"window": Window((3, 1), (70, 9))},
    {"window": Window((3, 0), (30, 5))},
    {"shared_axes": (1,)},
    {"shared_axes": (0, 1)},
]


@pytest.fixture(params=["interpreted", pytest.param("cuda", marks=needs_device("torch-cuda"))])
def device(request):
    """Where the kernel runs; one process either interprets it or compiles it."""
    if (request.param == "interpreted") != triton.INTERPRETED:
        pytest.skip(f"Triton is {'' if triton.INTERPRETED else 'not '}interpreted in this process")
    return torch.device("cpu" if triton.INTERPRETED else "cuda")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64"])
def test_many_programs(monkeypatch, device, recipe, dtype):
    """Each of a few elements, so that runs begin and end within them, or before or after."""
    monkeypatch.setattr(triton, "BLOCK", 16)
    x = numbers((11, 5), np.dtype(dtype), np.random.default_rng(0))
    mask = Mask.from_seed(x.shape, 0.4, seed=5, step=2**64 - 1, **recipe)
    kept = keep(x.shape, 0.4, seed=5, step=2**64 - 1, **recipe)
    assert np.array_equal(triton.keep(mask, device).cpu().numpy(), kept)
    y = triton.select(torch.tensor(x, device=device), mask, 1 / 0.6, 0.3, -0.2)
    assert bits(y.cpu().numpy()) == bits(select(x, kept, 1 / 0.6, 0.3, -0.2))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("recipe", [*RECIPES, None])
@pytest.mark.parametrize("bias", [None, (5,), (11, 1), (1, 1)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64"])
def test_many_programs_that_add(monkeypatch, device, recipe, bias, dtype):
    monkeypatch.setattr(triton, "BLOCK", 16)
    rng = np.random.default_rng(0)
    given = [numbers(shape, np.dtype(dtype), rng) for shape in ((11, 5), (11, 5), bias) if shape]
    mask = None if recipe is None else Mask.from_seed((11, 5), 0.4, seed=5, step=7, **recipe)
    x, residual, *more = (torch.tensor(a, device=device) for a in given)
    y = triton.select_add(x, residual, more[0] if more else None, mask, 1 / 0.6)
    x, residual, *more = given
    expected = anydrop.resolve(x).select_add(x, residual, mask, 1 / 0.6, *more)
    assert bits(y.cpu().numpy()) == bits(expected)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64"])
def test_many_programs_of_noise(monkeypatch, device, recipe, relative, dtype):
    monkeypatch.setattr(triton, "BLOCK", 16)
    x = numbers((11, 5), np.dtype(dtype), np.random.default_rng(0))
    mask = Mask.from_seed(x.shape, 0.4, seed=5, step=7, **recipe)
    if not relative:
        x = x.real
    y = triton.perturb(torch.tensor(x, device=device), mask, 0.7, relative)
    assert bits(y.cpu().numpy()) == bits(anydrop.resolve(x).perturb(x, mask, 0.7, relative))


@jit
def _normals(words, y, table, n, width: tl.constexpr):
    i = tl.arange(0, width)
    word = tl.load(words + i, mask=i < n, other=0).to(tl.uint32, bitcast=True)
    tl.store(y + i, normal(word, table, tl.float64), mask=i < n)


def test_all_kinds_of_normal_numbers(device):
    """Of the words around each power of two, from both ends of their range."""
    near = np.array([0, 1, 2, *(2**b + d for b in range(2, 31) for d in (-1, 0, 1))], np.uint32)
    words = np.concatenate([near, ~near])
    z = np.array([numerator(word) * 2.0**-28 for word in words.tolist()])
    drawn = torch.empty(len(words), dtype=torch.float64, device=device)
    given = torch.from_numpy(words.view("i4")).to(device)
    _normals[(1,)](given, drawn, triton.table_on(device), len(words), width=256)
    assert bits(drawn.cpu().numpy()) == bits(z)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("given", ["both", "new", "previous"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64"])
def test_many_programs_that_choose(monkeypatch, device, recipe, given, dtype):
    monkeypatch.setattr(triton, "BLOCK", 16)
    rng = np.random.default_rng(0)
    new, previous = (numbers((11, 5), np.dtype(dtype), rng) for _ in range(2))
    mask = Mask.from_seed((11, 5), 0.4, seed=5, step=7, **recipe)
    kept = keep((11, 5), 0.4, seed=5, step=7, **recipe)
    arrays = [
        a if given in ("both", name) else None for a, name in ((new, "new"), (previous, "previous"))
    ]
    y = triton.choose(*(a if a is None else torch.tensor(a, device=device) for a in arrays), mask)
    expected = np.where(kept, *(np.zeros_like(new) if a is None else a for a in arrays))
    assert bits(y.cpu().numpy()) == bits(expected)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_step_and_an_offset_that_the_kernel_reads(device, recipe):
    """A captured graph replays with whatever they hold by then."""
    step = torch.tensor(2**40 + 3, device=device)
    given = recipe
    if "window" in recipe:
        offset, shape = recipe["window"]
        given = {"window": Window((torch.tensor(offset[0], device=device), offset[1]), shape)}
    mask = Mask.from_seed((11, 5), 0.4, seed=5, step=step, **given)
    kept = keep((11, 5), 0.4, seed=5, step=2**40 + 3, **recipe)
    assert np.array_equal(triton.keep(mask, device).cpu().numpy(), kept)
    y = triton.select(torch.ones(11, 5, device=device), mask, 2.0, -0.0, 0.0)
    assert np.array_equal(y.cpu().numpy() != 0, np.broadcast_to(kept, (11, 5)))
    words = torch.tensor([3, 2**8], dtype=torch.uint32, device=device)
    assert np.array_equal(triton.keep(mask._replace(step=words), device).cpu().numpy(), kept)


COMPILE = """
    import re, torch
    from itertools import product
    import triton.language as tl
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from anydrop.backends.torch.triton import BLOCK, FLOATS
    from anydrop.backends.torch.triton_kernels import choose_kernel, perturb_kernel, select_kernel

    KINDS = {None: "u8", torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32",
             torch.float64: "fp64"}

    def compiled(kernel, capability, constants, types, whole=()):
        # `whole` are the arguments that 16 divides.
        types = (dict.fromkeys(kernel.arg_names, "i64") | {"at": "*i64"} | types
                 | dict.fromkeys(constants, "constexpr"))
        aligned = {(kernel.arg_names.index(name),): [["tt.divisibility", 16]] for name in whole}
        source = ASTSource(kernel, types, constexprs=constants, attrs=aligned)
        target = GPUTarget("cuda", capability, 32)
        program = compile(source, target=target, options={"enable_fp_fusion": False})
        assert program.asm["cubin"]
        return program.asm["ptx"]

    def placed(axes, plain):
        return ({"reads": not plain, "lead": not plain, "parts": 1, "width": BLOCK},
                {"lengths": ("i64",) * axes, "strides": ("i64",) * axes})

    def ptx(capability, dtype, axes, plain, added=False):
        constants, types = placed(axes, plain)
        constants |= {"compute": FLOATS.get(dtype), "shifts": not plain, "draws": True,
                      "narrow": plain}
        if not added:
            constants |= {"residual": None, "bias": None}
        pointers = ["x", "y"] + ["residual", "bias"] * added
        types |= dict.fromkeys(pointers, "*" + KINDS[dtype])
        types |= {"bias_lengths": ("i64",) * added, "bias_strides": ("i64",) * added}
        # Pointers and the count of elements; a bias is read at places of its own.
        whole = ["x", "y", "n"] + ["residual"] * added if plain else []
        return compiled(select_kernel, capability, constants, types, whole)

    def noise(capability, dtype, axes, plain, relative):
        constants, types = placed(axes, plain)
        constants |= {"compute": FLOATS[dtype], "relative": relative}
        types |= dict.fromkeys(["x", "y"], "*" + KINDS[dtype]) | {"table": "*i32"}
        return compiled(perturb_kernel, capability, constants, types, ["x", "y", "n"] * plain)

    def choice(capability, dtype, axes, plain):
        constants, types = placed(axes, plain)
        types |= dict.fromkeys(["new", "previous", "y"], "*" + KINDS[dtype])
        whole = ["new", "previous", "y", "n"] * plain
        return compiled(choose_kernel, capability, constants, types, whole)

    for capability in (75, 90, 120):
        for dtype, axes, added in product((None, *FLOATS), (0, 2), (False, True)):
            if dtype or not added:
                text = ptx(capability, dtype, axes, False, added)
                assert not re.search(r"[.]ftz|fma[.]", text), (capability, dtype, axes, added)
        for dtype, (axes, relative) in product(FLOATS, ((0, False), (2, True))):
            text = noise(capability, dtype, axes, False, relative)
            assert not re.search(r"[.]ftz|fma[.]", text), (capability, dtype, axes, relative)
            assert text.count("mul.hi.u32") > 0
        choice(capability, torch.float32, 2, False)
    for dtype, added in product(FLOATS, (False, True)):
        text = ptx(90, dtype, 0, True, added)
        wide = r"[.]global[.](?:v4[.]b32|v2[.]b64)"
        reads, writes = (len(re.findall(way + wide, text)) for way in ("ld", "st"))
        assert reads == (1 + added) * writes > 0, (dtype, added)
        text = choice(90, dtype, 0, True) if added else noise(90, dtype, 0, True, True)
        reads, writes = (len(re.findall(way + wide, text)) for way in ("ld", "st"))
        assert reads == (1 + added) * writes > 0, (dtype, added)
    print("compiled")
"""


def test_it_compiles_for_nvidia_devices():
    """By ptxas, which comes with Triton.

    There is no instruction that flushes subnormals or skips a rounding, and of plain masks x, the
    result and the other tensor are read and written 16 bytes at a time.
    """
    assert python(COMPILE, TRITON_INTERPRET="0") == "compiled"
