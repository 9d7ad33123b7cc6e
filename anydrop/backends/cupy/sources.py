"""The CUDA source of every kernel: philox.cu, and the lines that make kernels of its template."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

from anydrop.backends.common import normals as quantiles
from anydrop.backends.common.arrays import COMPUTE, HALVES


class Element(NamedTuple):
    """A dtype: its struct in philox.cu, its bytes, and what its addresses are multiples of."""

    struct: str
    size: int
    width: int  # how many a thread serves
    aligned: int


ELEMENTS = {
    "bool": Element("Bool", 1, 16, 1),
    "float16": Element("Float16", 2, 8, 2),
    "bfloat16": Element("BFloat16", 2, 8, 2),
    "float32": Element("Float32", 4, 4, 4),
    "float64": Element("Float64", 8, 4, 8),
    "complex64": Element("Complex64", 8, 4, 4),
    "complex128": Element("Complex128", 16, 4, 8),
    "normals_float32": Element("Normal<Quantile_float32>", 4, 4, 4),
    "normals_float64": Element("Normal<Quantile_float64>", 8, 4, 8),
}


def _sums() -> Iterator[tuple[str, ...]]:
    for x in COMPUTE:
        others = (x, "float32") if x in HALVES else (x,)
        for residual in others:
            yield x, residual
            yield from ((x, residual, bias) for bias in others)


# The kernels with a residual, and the dtypes of x, the residual and, if there is one, the bias.
SUMS = {"_".join(("add", *dtypes)): dtypes for dtypes in _sums()}
OPTIONS = ("--std=c++17",)


@lru_cache
def source(name: str) -> str:
    """Return the CUDA source of the kernels of a dtype, or of one of `SUMS`."""
    text = files("anydrop.backends.cupy").joinpath("philox.cu").read_text(encoding="utf-8")
    return text + instances(name)


def instances(name: str) -> str:
    """Return the lines of CUDA that make kernels of their template."""
    args = "SumArgs" if name in SUMS else "Args"
    structs = ", ".join(ELEMENTS[dtype].struct for dtype in SUMS.get(name, (name,)))
    lines = [
        f"KERNEL({name}_{kind}, {args}, {str(kind == 'flat').lower()}, {structs})\n"
        for kind in kinds(name)
    ]
    family, _, number = name.rpartition("_")
    return "".join([_quantile(number), *lines] if family == "normals" else lines)


def _quantile(dtype: str) -> str:
    """Return the struct of the functions that make normal numbers of words."""
    number, suffix = {"float32": ("float", "f"), "float64": ("double", "")}[dtype]

    def polynomial(constant: float, *rest: float) -> str:
        literal = f"{constant!r}{suffix}"
        return f"({literal} + x * {polynomial(*rest)})" if rest else literal

    lines = [f"struct Quantile_{dtype} {{", f"    typedef {number} Number;"]
    for name in ("CENTRAL", "CENTRAL_SQUARED", "TAIL"):
        lines += [f"    static constexpr {number} {name} = {getattr(quantiles, name)!r}{suffix};"]
    for name in ("central", "tail"):
        dividend, divisor = quantiles.QUANTILES[dtype, name]
        ratio = f"{polynomial(*dividend)} / {polynomial(*divisor)}"
        lines += [f"    static INLINE {number} {name}({number} x) {{ return {ratio}; }}"]
    return "\n".join([*lines, "};\n"])


def kinds(name: str) -> tuple[str, ...]:
    """Return the kinds of kernels of a dtype or a sum: for flat arrays, and for any arrays.

    A bias is seldom flat, so a sum with a bias has no kernel for flat arrays.
    """
    return ("any",) if len(SUMS.get(name, ())) == 3 else ("flat", "any")


def kernel_name(name: str, kind: str) -> str:
    """Return the name of the kernel of a dtype or a sum, of one of its `kinds`."""
    return f"anydrop_{name}_{kind}"
