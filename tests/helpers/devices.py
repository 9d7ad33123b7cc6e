"""Subjects whose arrays lie on a device: what is found here, and why the rest is not.

A test that needs a device bears the marker `device`; one that takes subjects bears it for these.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from subjects import NUMPY_DTYPES, SUBJECTS, available

import anydrop
from anydrop.testing import Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np

    from anydrop.backends.base import Backend

# Several processes may test on one device: no one takes most of its memory in advance.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


class MissingError(Exception):
    """Says what a kind of device lacks here."""


def needs(module: str) -> None:
    if not available(module):
        raise MissingError(f"{module} can't be imported here")


def cupy_subjects() -> list[Subject]:
    """CuPy's arrays on each device."""
    needs("cupy")
    import cupy

    subjects = []
    for backend, like in anydrop.backends.load("cupy").probes():

        def array(x: np.ndarray, device: Any = like.device) -> Any:
            with device:
                return cupy.array(x)

        subjects.append(Subject(f"cupy-{like.device.id}", array, NUMPY_DTYPES, kernel=backend))
    if not subjects:
        raise MissingError(f"CuPy {cupy.__version__} finds no CUDA device here")
    return subjects


def torch_subjects() -> list[Subject]:
    """PyTorch's tensors on each CUDA device, by Triton and by the arithmetic in int64."""
    needs("torch")
    import torch

    if not torch.cuda.is_available():
        raise MissingError(f"PyTorch {torch.__version__} finds no CUDA device here")
    from anydrop.backends.torch.backend import TorchBackend
    from anydrop.backends.torch.operator import kernel_for

    subjects = []
    for index in range(torch.cuda.device_count()):
        like = torch.empty(0, device=f"cuda:{index}")
        for kernel in dict.fromkeys((kernel_for(like.device), "int64")):
            backend = TorchBackend(draws=kernel)

            def array(x: np.ndarray, backend: Backend = backend, like: Any = like) -> Any:
                return backend.from_numpy(x, like)

            name = f"torch-cuda-{index}-{kernel}"
            subjects.append(Subject(name, array, NUMPY_DTYPES, kernel=backend))
    return subjects


def jax_subjects() -> list[Subject]:
    """JAX's arrays where it puts them if nobody says, at once and traced."""
    needs("jax")
    import jax
    import jax_ways

    from anydrop.backends.jax.backend import JaxBackend

    if jax.default_backend() != "gpu":
        raise MissingError(f"JAX {jax.__version__} computes on the {jax.default_backend()} here")
    flushes = jax_ways.flushes(jax.devices()[0])
    return [
        Subject(name, jax_ways.unplaced, out=False, flushes=flushes, kernel=backend)
        for name, backend in (("jax-gpu", JaxBackend()), ("jax-gpu-jit", jax_ways.Traced()))
    ]


KINDS: dict[str, Callable[[], list[Subject]]] = {
    "cupy": cupy_subjects,
    "torch-cuda": torch_subjects,
    "jax-gpu": jax_subjects,
}
MISSING: dict[str, str] = {}


def _found() -> list[Subject]:
    """Return the subjects of all kinds, and note which kinds are missing and why."""
    subjects = []
    for kind, find in KINDS.items():
        try:
            subjects += find()
        except MissingError as error:
            MISSING[kind] = str(error)
    return subjects


ON_DEVICES = _found()


def parameters(cases: Callable[[Subject], Iterable[Any]] = lambda subject: [subject]) -> list[Any]:
    """Return the cases of all subjects, for a test's parameters: on devices they bear the mark."""
    on_host = [pytest.param(case, id=str(case)) for s in SUBJECTS for case in cases(s)]
    return on_host + [
        pytest.param(case, id=str(case), marks=pytest.mark.device)
        for s in ON_DEVICES
        for case in cases(s)
    ]


# For a test that compares the first subject with others: all on the host at once, or one device's.
BESIDE_THE_FIRST = [
    pytest.param(SUBJECTS[1:], id="on-the-host"),
    *(pytest.param([s], id=s.name, marks=pytest.mark.device) for s in ON_DEVICES),
]


def needs_device(kind: str) -> list[pytest.MarkDecorator]:
    """Return the marks of tests that need a kind of device: they are skipped where it is not."""
    reason = f"{kind}: {MISSING.get(kind)}; run this on a machine with an NVIDIA GPU"
    return [pytest.mark.device, pytest.mark.skipif(kind in MISSING, reason=reason)]


class OfDtype(NamedTuple):
    """A subject, and the name of one of its dtypes."""

    subject: Subject
    dtype: str

    def __str__(self) -> str:
        return f"{self.subject}-{self.dtype}"


def of_each_dtype(subject: Subject) -> list[OfDtype]:
    return [OfDtype(subject, dtype) for dtype in subject.dtypes]
