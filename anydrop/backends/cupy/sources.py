"""The CUDA source of each kernel: a table, the template philox.cu, and its instances."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

from anydrop.backends.common.arrays import COMPUTE, HALVES
from anydrop.core import quantile


class Element(NamedTuple):
    """A dtype: its struct in philox.cu, its size in bytes, and the alignment of its addresses."""

    struct: str
    size: int
    width: int  # elements for each thread
    aligned: int


ELEMENTS = {
    "bool": Element("Bool", 1, 16, 1),
    "float16": Element("Float16", 2, 8, 2),
    "bfloat16": Element("BFloat16", 2, 8, 2),
    "float32": Element("Float32", 4, 4, 4),
    "float64": Element("Float64", 8, 4, 8),
    "complex64": Element("Complex64", 8, 4, 4),
    "complex128": Element("Complex128", 16, 4, 8),
}


class Family(NamedTuple):
    """The kernels of one source: their work, and the dtypes of x, the residual and the bias."""

    work: str  # as in philox.cu
    dtypes: tuple[str, ...]

    @property
    def beside(self) -> bool:
        """Whether there is an array beside x."""
        return len(self.dtypes) > 1

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of kernels: for flat arrays, or for any arrays.

        A bias is seldom flat, so a sum with a bias has no kernel for flat arrays.
        """
        return ("any",) if len(self.dtypes) == 3 else ("flat", "any")


def _families() -> Iterator[tuple[str, Family]]:
    yield "bool", Family("KEEP", ("bool",))
    for x in COMPUTE:
        yield x, Family("SELECT", (x,))
        yield f"choose_{x}", Family("CHOOSE", (x, x))
        yield f"times_{x}", Family("TIMES", (x,))
        if not x.startswith("complex"):
            yield f"plus_{x}", Family("PLUS", (x,))
        others = (x, "float32") if x in HALVES else (x,)
        for residual in others:
            for dtypes in ((x, residual), *((x, residual, bias) for bias in others)):
                yield "_".join(("add", *dtypes)), Family("ADD", dtypes)
    for x in sorted(set(COMPUTE.values())):
        yield f"normals_{x}", Family("NORMALS", (x,))


FAMILIES = dict(_families())
OPTIONS = ("--std=c++17",)


@lru_cache
def source(name: str) -> str:
    """Return the CUDA source of one of the `FAMILIES`."""
    return template() + instances(name)


@lru_cache
def template() -> str:
    """Return the CUDA source of the template: the table of the normal numbers, then philox.cu."""
    rows = ",\n".join(f"{{{', '.join(map(str, row))}}}" for row in quantile.table().tolist())
    table = f"static __device__ const uint4 QUANTILE[] = {{\n{rows}}};\n"
    text = files("anydrop.backends.cupy").joinpath("philox.cu").read_text(encoding="utf-8")
    return table + text


def instances(name: str) -> str:
    """Return the lines of CUDA that instantiate the template."""
    family = FAMILIES[name]
    args = "MoreArgs" if family.beside else "Args"
    structs = ", ".join(ELEMENTS[dtype].struct for dtype in family.dtypes)
    return "".join(
        f"KERNEL({name}_{kind}, {args}, {family.work}, {str(kind == 'flat').lower()}, {structs})\n"
        for kind in family.kinds
    )


def kernel_name(name: str, kind: str) -> str:
    """Return the name of the kernel of a family, of one of its kinds."""
    return f"anydrop_{name}_{kind}"
