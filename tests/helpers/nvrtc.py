"""NVIDIA's run-time compiler, which needs no GPU: CUDA to PTX and to machine code.

Importing this raises ImportError where its library, from the wheel nvidia-cuda-nvrtc, is missing.
"""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

# What CuPy appends to a kernel's own options.
CUPY = ("-ftz=true", "--device-as-default-execution-space")


def _load() -> ctypes.CDLL:
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec and spec.submodule_search_locations) or ():
        # CUDA 13 has one folder of libraries, CUDA 12 one for each.
        for path in sorted(Path(folder).glob("*/lib/libnvrtc.so.*")):
            builtins = sorted(path.parent.glob("libnvrtc-builtins.so.*"))
            for library in builtins:
                ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
            return ctypes.CDLL(str(path))
    raise ImportError("no libnvrtc here: it is in the wheel nvidia-cuda-nvrtc")


NVRTC = _load()


def _call(name: str, *arguments: object) -> None:
    status = getattr(NVRTC, name)(*arguments)
    NVRTC.nvrtcGetErrorString.restype = ctypes.c_char_p
    if status:
        raise RuntimeError(f"{name}: {NVRTC.nvrtcGetErrorString(status).decode()}")


def architectures() -> list[int]:
    """Return the compute capabilities that it compiles for, as 90 for 9.0."""
    count = ctypes.c_int()
    _call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
    values = (ctypes.c_int * count.value)()
    _call("nvrtcGetSupportedArchs", values)
    return list(values)


def compiled(source: str, options: tuple[str, ...], architecture: str) -> bytes:
    """Return what `source` becomes for ``compute_90`` (PTX) or ``sm_90`` (machine code)."""
    program = ctypes.c_void_p()
    _call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), b"philox.cu", 0, None, None)
    try:
        texts = [option.encode() for option in (*options, *CUPY, f"-arch={architecture}")]
        try:
            _call(
                "nvrtcCompileProgram", program, len(texts), (ctypes.c_char_p * len(texts))(*texts)
            )
        except RuntimeError as error:
            raise RuntimeError(_text(program, "ProgramLog").decode()) from error
        return _text(program, "PTX" if architecture.startswith("compute") else "CUBIN")
    finally:
        _call("nvrtcDestroyProgram", ctypes.byref(program))


def _text(program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    _call(f"nvrtcGet{what}", program, text)
    return text.raw.rstrip(b"\0") if what != "CUBIN" else text.raw
