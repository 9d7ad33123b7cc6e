"""philox.cu through NVIDIA's own compiler, which needs no GPU: CuPy's options, every dtype."""

import re

import pytest
from subjects import available

from anydrop.backends.cupy import sources as cuda

if not available("nvrtc"):
    pytest.skip(
        "nvidia-cuda-nvrtc is not installed here; nox -s tests-cupy runs this",
        allow_module_level=True,
    )
import nvrtc

# Turing to Blackwell. CUDA 12 knows no 12.0 before 12.8.
ARCHITECTURES = [a for a in (75, 80, 86, 89, 90, 100, 120) if a in nvrtc.architectures()]
NAMES = list(cuda.FAMILIES)
EVERY = cuda.template() + "".join(map(cuda.instances, NAMES))
NOISE = {"NORMALS", "TIMES", "PLUS"}


def loads_and_stores(work, dtypes):
    """Return those of 16 bytes, of the elements that a thread serves and of the table's rows."""
    width = cuda.ELEMENTS[dtypes[0]].width
    quads = [width * cuda.ELEMENTS[dtype].size // 16 for dtype in dtypes]
    loads = 0 if work in ("KEEP", "NORMALS") else sum(quads)
    return loads, quads[1 if len(quads) > 1 else 0], width if work in NOISE else 0


VECTORS = {name: loads_and_stores(*family) for name, family in cuda.FAMILIES.items()}


def kernels(ptx):
    """Return kernel name -> its instructions."""
    bodies = re.split(r"^\.visible \.entry ", ptx, flags=re.MULTILINE)[1:]
    instruction = re.compile(r"^\s*(?:@!?%p\d+ )?([a-z][\w.:]*)\s", re.MULTILINE)
    return {body.partition("(")[0].strip(): instruction.findall(body) for body in bodies}


def names(family):
    """Return the names of the kernels of a family."""
    return [cuda.kernel_name(family, kind) for kind in cuda.FAMILIES[family].kinds]


def faults(dtype, source, architecture):
    """Yield what is wrong with the PTX of the kernels of a family."""
    ptx = nvrtc.compiled(source, cuda.OPTIONS, f"compute_{architecture}").decode()
    found = kernels(ptx)
    if set(found) != set(names(dtype)):
        yield f"the kernels are {sorted(found)}"
    if ".local" in ptx:
        yield "local memory"
    for name, instructions in found.items():
        for wrong in (".ftz", "fma.", "ld.local", "st.local"):
            if any(wrong in one for one in instructions):
                yield f"{name}: {wrong}"
        for one in instructions:
            floats = re.match(r"(add|sub|mul|cvt|div|rcp|sqrt|lg2|ex2)\b.*\bf(16|32|64)", one)
            if floats and one not in EXACT:
                yield f"{name}: {one}"
            if re.match(r"(ld|st)\.(?!global|param)", one):
                yield f"{name}: {one}, of no known memory"
        loads, stores, rows = VECTORS[dtype]
        if rows and not name.endswith("flat"):
            rows += 1  # that of all elements where they share one
        for kind, memory, wanted in (
            ("loads", r"ld\.global", loads),
            ("stores", r"st\.global", stores),
            ("rows of the table", r"ld\.global\.nc", rows),
        ):
            wide = re.compile(rf"{memory}\.(v4\.[a-z]32|v2\.[a-z]64)")
            # The compiler may make two loops of one, with and without a mask to draw.
            if len([one for one in instructions if wide.fullmatch(one)]) not in (
                wanted,
                2 * wanted,
            ):
                yield f"{name}: not {wanted} 16-byte {kind}"


# All the arithmetic in floats that there may be: rounded to nearest, subnormals included.
EXACT = {
    *("mul.rn.f32", "add.rn.f32", "mul.rn.f64", "add.rn.f64"),
    *("cvt.f32.f16", "cvt.rn.f16.f32", "cvt.rn.f32.s32", "cvt.rn.f64.s32"),
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_machine_code_of_every_kernel(architecture):
    """The assembler reads what is written in PTX, and checks it."""
    binary = nvrtc.compiled(EVERY, cuda.OPTIONS, f"sm_{architecture}")
    for family in NAMES:
        for name in names(family):
            assert name.encode() in binary


@pytest.mark.parametrize("architecture", [ARCHITECTURES[0], ARCHITECTURES[-1]])
@pytest.mark.parametrize("dtype", VECTORS)
def test_arithmetic_and_memory(dtype, architecture):
    assert not list(faults(dtype, cuda.source(dtype), architecture))


@pytest.mark.parametrize(
    ("dtype", "right", "wrong", "seen"),
    [
        ("float32", 'float r; asm("mul.rn.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b)); return r;',
         "return __fmul_rn(a, b);", ".ftz"),
        ("float32", "v = add(v, by.shift)", "v = v + by.shift", ".ftz"),
        ("float64", "if (real) v = add(v, by.shift)",
         "if (real) v = Element::decode(group.units[j]) * by.scale + by.shift", "fma"),
        ("float64", "mul.rn.f64 %0", "mul.f64 %0", ": mul.f64"),
        ("float32", "(u64)at % 16 == 0", "false", "not 1 16-byte loads"),
        ("float64", "write<uint4>(at + 16 * q, group.quads[q])",
         "for (int u = 0; u < 2; ++u) write<Unit>(at + 16 * q + 8 * u, group.units[2 * q + u])",
         "not 2 16-byte stores"),
        ("float32", "index & 2 ? high : low", "block.words[index % 4]", "local memory"),
        ("float16", "cvt.rn.f16.f32 %0", "cvt.rz.f16.f32 %0", "cvt.rz.f16.f32"),
        ("add_float64_float64", "v = add(Residual::decode(group.units[j]), v)",
         "v = Residual::decode(group.units[j]) + v", ": add.f64"),
        ("add_float64_float64", "v = mul(v, by.scale)", "v = v * by.scale", ": mul.f64"),
        ("add_float32_float32_float32", "v = add(v, Bias::decode(biases.units[j]))",
         "v += Bias::decode(biases.units[j])", ".ftz"),
        ("times_float32", "add(mul(z[j / Element::PARTS], by.scale), by.shift)",
         "z[j / Element::PARTS] * by.scale + by.shift", ".ftz"),
        ("plus_float64", "add(mul(z[j / Element::PARTS], by.scale), by.shift)",
         "z[j / Element::PARTS] * by.scale + by.shift", "fma."),
        ("normals_float32", "(Number)0x1p-28);", "(Number)1 / word);", ": rcp."),
        ("normals_float64", "(Number)0x1p-28);", "log((Number)count));", "fma."),
        ("normals_float32", "block.words[lane]", "block.words[a.step[0] % 4]", "local memory"),
        ("normals_float32", "const uint4 c =",
         "uint4 c = QUANTILE[octave]; if (word & 8) c = QUANTILE[word >> 24]; if (word & 4) c =",
         "rows of the table"),
    ],
    ids=lambda value: value[:24],
)  # fmt: skip
def test_that_faults_are_seen(dtype, right, wrong, seen):
    source = cuda.source(dtype)
    assert right in source
    broken = list(faults(dtype, source.replace(right, wrong), ARCHITECTURES[0]))
    assert any(seen in fault for fault in broken), broken


def test_the_compilers_own_words_are_shown():
    with pytest.raises(RuntimeError, match=r"philox.cu\(\d+\): error: .*\"nonsense\""):
        nvrtc.compiled(cuda.source("float32") + "nonsense x;", cuda.OPTIONS, "compute_75")
