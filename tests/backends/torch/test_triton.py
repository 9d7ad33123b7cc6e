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
from anydrop.core.recipe import Affine
from anydrop.testing.reference import bits, keep, numbers, select

if not (available("torch") and available("triton")):
    pytest.skip(
        "Triton is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch

from anydrop.backends.torch import triton

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
    y = triton.select(torch.tensor(x, device=device), mask, Affine(1 / 0.6, 0.3, -0.2))
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
    y = triton.select_add(x, residual, *more, mask=mask, scale=1 / 0.6)
    x, residual, *more = given
    expected = anydrop.resolve(x).select_add(x, residual, mask, 1 / 0.6, *more)
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
    y = triton.select(torch.ones(11, 5, device=device), mask, Affine(2.0, -0.0, 0.0))
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
    from anydrop.backends.torch.triton import BLOCK, FLOATS, _kernel

    def ptx(capability, dtype, axes, plain, added=False):
        kind = {None: "u8", torch.float16: "fp16", torch.bfloat16: "bf16",
                torch.float32: "fp32", torch.float64: "fp64"}[dtype]
        constants = {"compute": FLOATS.get(dtype), "parts": 1, "shifts": not plain, "draws": True,
                     "narrow": plain, "reads": not plain, "lead": not plain, "width": BLOCK}
        if not added:
            constants |= {"residual": None, "bias": None}
        types = dict.fromkeys(_kernel.arg_names, "i64") | dict.fromkeys(constants, "constexpr")
        types |= {"x": "*" + kind, "y": "*" + kind, "at": "*i64"}
        types |= {"lengths": ("i64",) * axes, "strides": ("i64",) * axes}
        types |= {"bias_lengths": ("i64",) * added, "bias_strides": ("i64",) * added}
        if added:
            types |= {"residual": "*" + kind, "bias": "*" + kind}
        # Pointers and the count of elements; a bias is read at places of its own.
        whole = [_kernel.arg_names.index(name) for name in ("x", "y", "n")]
        whole += [_kernel.arg_names.index("residual")] * added
        aligned = {(i,): [["tt.divisibility", 16]] for i in whole} if plain else {}
        source = ASTSource(_kernel, types, constexprs=constants, attrs=aligned)
        target = GPUTarget("cuda", capability, 32)
        compiled = compile(source, target=target, options={"enable_fp_fusion": False})
        assert compiled.asm["cubin"]
        return compiled.asm["ptx"]

    for capability in (75, 90, 120):
        for dtype, axes, added in product((None, *FLOATS), (0, 2), (False, True)):
            if dtype or not added:
                text = ptx(capability, dtype, axes, False, added)
                assert not re.search(r"[.]ftz|fma[.]", text), (capability, dtype, axes, added)
    for dtype, added in product(FLOATS, (False, True)):
        text = ptx(90, dtype, 0, True, added)
        wide = r"[.]global[.](?:v4[.]b32|v2[.]b64)"
        reads, writes = (len(re.findall(way + wide, text)) for way in ("ld", "st"))
        assert reads == (1 + added) * writes > 0, (dtype, added)
    print("compiled")
"""


def test_it_compiles_for_nvidia_devices():
    """By ptxas, which comes with Triton.

    There is no instruction that flushes subnormals or skips a rounding, and of plain masks x, the
    result and the residual are read and written 16 bytes at a time.
    """
    assert python(COMPILE, TRITON_INTERPRET="0") == "compiled"
