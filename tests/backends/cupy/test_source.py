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
NAMES = [*cuda.ELEMENTS, *cuda.SUMS]
EVERY = cuda.source(NAMES[0]) + "".join(map(cuda.instances, NAMES[1:]))

# 16 bytes at a time: the loads and stores of the elements that a thread serves.
VECTORS = {
    "bool": (0, 1),
    "float16": (1, 1),
    "bfloat16": (1, 1),
    "float32": (1, 1),
    "float64": (2, 2),
    "complex64": (2, 2),
    "complex128": (4, 4),
    "normals_float32": (0, 1),
    "normals_float64": (0, 2),
}


def loads_and_stores(x, *others):
    """Return those of a sum, which loads all that it is of."""
    width = cuda.ELEMENTS[x].width
    quads = [width * cuda.ELEMENTS[dtype].size // 16 for dtype in (x, *others)]
    return sum(quads), quads[1]


VECTORS |= {name: loads_and_stores(*dtypes) for name, dtypes in cuda.SUMS.items()}


def kernels(ptx):
    """Return kernel name -> its instructions."""
    bodies = re.split(r"^\.visible \.entry ", ptx, flags=re.MULTILINE)[1:]
    instruction = re.compile(r"^\s*(?:@!?%p\d+ )?([a-z][\w.:]*)\s", re.MULTILINE)
    return {body.partition("(")[0].strip(): instruction.findall(body) for body in bodies}


def names(family):
    """Return the names of the kernels of a dtype or of a sum."""
    return [cuda.kernel_name(family, kind) for kind in cuda.kinds(family)]


def faults(dtype, source, architecture):
    """Yield what is wrong with the PTX of the kernels of a dtype or of a sum."""
    ptx = nvrtc.compiled(source, cuda.OPTIONS, f"compute_{architecture}").decode()
    found = kernels(ptx)
    if set(found) != set(names(dtype)):
        yield f"the kernels are {sorted(found)}"
    if ".local" in ptx:
        yield "local memory"
    # Normal numbers have a tolerance, and are never subnormal: fusing and flushing change nothing
    # that is promised, less exact functions would.
    normals = dtype.startswith("normals")
    inexact = ("lg2.approx", "sqrt.approx", "div.approx", "div.full")
    for name, instructions in found.items():
        for wrong in (
            *(inexact if normals else (".ftz", "fma.", "div.rn")),
            "ld.local",
            "st.local",
        ):
            if any(wrong in one for one in instructions):
                yield f"{name}: {wrong}"
        for one in instructions:
            floats = re.match(r"(add|sub|mul|cvt)\b.*\bf(16|32|64)", one)
            if floats and one not in EXACT and not normals:
                yield f"{name}: {one}"
            if re.match(r"(ld|st)\.(?!global|param)", one):
                yield f"{name}: {one}, of no known memory"
        for which, (kind, wanted) in enumerate(zip(("ld", "st"), VECTORS[dtype], strict=True)):
            wide = re.compile(rf"{kind}\.global\.(v4\.[a-z]32|v2\.[a-z]64)")
            # The compiler may make two loops of one, with and without a mask to draw.
            if len([one for one in instructions if wide.fullmatch(one)]) not in (
                wanted,
                2 * wanted,
            ):
                yield f"{name}: not {wanted} 16-byte {('loads', 'stores')[which]}"


# All the arithmetic in floats that there may be: rounded to nearest, subnormals included.
EXACT = {
    *("mul.rn.f32", "add.rn.f32", "mul.rn.f64", "add.rn.f64"),
    *("cvt.f32.f16", "cvt.rn.f16.f32"),
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
        ("float32", "(index & 2 ? high : low)", "block.words[index % 4]", "local memory"),
        ("float16", "cvt.rn.f16.f32 %0", "cvt.rz.f16.f32 %0", "cvt.rz.f16.f32"),
        ("add_float64_float64", "v = add(Residual::decode(group.units[j]), v)",
         "v = Residual::decode(group.units[j]) + v", ": add.f64"),
        ("add_float64_float64", "v = mul(v, by.scale)", "v = v * by.scale", ": mul.f64"),
        ("add_float32_float32_float32", "v = add(v, Bias::decode(biases.units[j]))",
         "v += Bias::decode(biases.units[j])", ".ftz"),
        ("normals_float32", "-log(beyond)", "-__logf(beyond)", "lg2.approx"),
        ("normals_float32", "block.words[j]", "block.words[a.step[0] % 4]", "local memory"),
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
