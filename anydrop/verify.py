"""Draws published masks and noise on every library and device found, and compares digests."""

from __future__ import annotations

import hashlib
import math
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from anydrop._version import __version__
from anydrop.backends import found, load, registered
from anydrop.core.recipe import Recipe, Window
from anydrop.masks.mask import Mask, digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anydrop.backends.base import Backend
    from anydrop.core.typing import Array


class Published(NamedTuple):
    """A mask, and the SHA-256 that it must have."""

    seed: int
    step: int
    shape: tuple[int, ...]
    p: float
    sha256: str

    @property
    def mask(self) -> Mask:
        """Recipe of the mask."""
        return Mask.from_seed(self.shape, self.p, seed=self.seed, step=self.step)


# Made with the reference headers of Random123, not with this package.
PUBLISHED = (
    Published(0, 0, (7,), 0.5, "62b67e1f685b7fef51102005dddd27774be3fee38c42965c53aab035d0b6b221"),
    Published(
        0, 0, (1000,), 0.1, "7b03f38c3dea3a534da2a4f56a543eafb98feb3b361626c158f41fb2c633dd3c"
    ),
    Published(
        0, 1, (1000,), 0.1, "0fdcba189f471be18c93de212730022420f84d80beb048fb4f2e2ae171e48097"
    ),
    Published(
        42,
        3,
        (33, 65, 17),
        0.25,
        "3d721dd75f821d3ae6f951bcfa5dd7dc698c6ba6209c53a10bae8f2f0a8e05f8",
    ),
    Published(
        1,
        12345678901234567890,
        (512, 1024),
        0.9,
        "1647d5046dfb0761072cddbcd01cff361ffc74794602332b6d08f8cb5bd4be99",
    ),
    Published(
        42, 0, (256, 256), 1e-9, "7d2c7ac4888bfd75cd5f56e8d61f69595121183afc81556c876732fd3782c62f"
    ),
    Published(
        42, 0, (10001,), 0.999, "13a510f10cdc59664a2b80217730563956984fea3b67a2bebd2af2d854f87575"
    ),
)


class PublishedNoise(NamedTuple):
    """Noise, and the SHA-256 of its result for `numbers`, in C order and little-endian."""

    recipe: Recipe
    std: float
    relative: bool
    float32: str
    float64: str

    def numbers(self, dtype: str) -> np.ndarray[Any, Any]:
        """Return the input of the noise: numbers from -62.4375 to 62.4375."""
        x: np.ndarray[Any, Any] = (np.arange(math.prod(self.recipe.shape)) % 1000 - 499.5) / 8
        return x.reshape(self.recipe.shape).astype(dtype)


# Made by tests/vectors/make_normal_vectors.py, not with this package.
PUBLISHED_NOISE = (
    PublishedNoise(
        Mask.from_seed((7,), 0.5, seed=0, step=0),
        1.0,
        False,
        "62d7d9d9aa3fc155dc2f68fb8db5747758f7844669cb81a69e8d26df37f893ef",
        "cbc6cf2f4dbf0994a4e725f452f5783d49f402a90664f231192e9bb5f4084df4",
    ),
    PublishedNoise(
        Mask.from_seed((33, 65), 0.5, seed=42, step=3),
        0.1,
        False,
        "3e41272af5176118e8e6773fc9e35a4cc90ae54822f4e30d33a01e05a5583a4a",
        "170b3b76915c1f0f17a0cd746b8866a53a9b84f83a0155d17e45245782319b40",
    ),
    PublishedNoise(
        Mask.from_seed((128, 128), 0.5, seed=0, step=1),
        0.5,
        True,
        "bc748ce70fa4e849d9760c91e5f950d8cbc1ffe39d268910eb525451498d4456",
        "c69adbb138fc6c9fd35880a7bb8c5c788ee6fec358117dcbc39a8418c54d8bfe",
    ),
    PublishedNoise(
        Mask.from_seed((9, 16, 21), 0.5, seed=42, step=3, shared_axes=(1,)),
        1 / 3,
        True,
        "99ab0220504eed9eaf03ad990611f1178638f1eb90ab2fbfd53d90a22ed9a6d9",
        "432a9fa710a5e0ea59e9b3e1e73a4165d868c5abf8844b1536a9803abbd298aa",
    ),
    PublishedNoise(
        Mask.from_seed(
            (64, 33),
            0.5,
            seed=7,
            step=12345678901234567890,
            window=Window((2147483643, 7), (4294967296, 50)),
        ),
        3.0,
        True,
        "a14618f859547f4e93223f670b35f4f090d6e08e9c02c2ff2308616e118ab22d",
        "42c68ed03ec8fba69c5661a2037d463dabffeb0b23687a5fc24157eeb683d943",
    ),
)
PRECISIONS = ("float32", "float64")

NONE = "none"
COLUMNS = (
    "backend",
    "version",
    "device",
    "kernel",
    "masks",
    "noise, float32",
    "noise, float64",
    "result",
)


def run() -> int:
    """Print a table of all backends, devices and kernels, and return the exit status.

    Returns
    -------
    int
        0 if all digests are the published ones, 1 otherwise. A library that is not installed is
        listed as "absent", and one without a device as "no device"; neither changes the status.

    Notes
    -----
    The digests of noise are those of results: of Gaussian dropout and Gaussian noise applied to
    given numbers. There are none if a device has no float64, or if a library has no array API
    namespace to compute noise in. This does not change the status.

    Examples
    --------
    >>> from anydrop import verify
    >>> verify.run()
    anydrop ...
    One digest of masks, 4e10e0c081350e29, of noise in float32, 1886e91e0298e743, and in float64,
    3807e4ee4fad58c7: all ... agree.
    0
    """
    rows = [COLUMNS, *_rows()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(f"anydrop {__version__}, Python {platform.python_version()} on {sys.platform}\n")
    for row in rows:
        print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
    results = [row[-1] for row in rows[1:] if row[-1] not in ("absent", "no device")]
    if wrong := len(results) - results.count("ok"):
        print(f"\n{wrong} of {len(results)} failed or differ from what is published.")
        return 1
    masks, single, double = _published()
    print(
        f"\nOne digest of masks, {masks}, of noise in float32, {single}, and in float64,\n"
        f"{double}: all {len(results)} agree."
    )
    return 0


def _rows() -> Iterator[tuple[str, ...]]:
    here, dashes = found(), ("-",) * (len(COLUMNS) - 2)
    for name in registered():
        if name not in here:
            yield name, *dashes, "absent"
            continue
        try:
            backend = load(name)
            rows = [_row(probe, like) for probe, like in backend.probes()]
            none = name, _version(backend), "-", backend.kernel, "-", "-", "-", "no device"
            yield from rows or [none]
        except Exception as error:  # a broken installation may raise anything
            yield name, *dashes, f"FAILED: {error!r}"


def _row(backend: Backend, like: Array) -> tuple[str, ...]:
    masks = [backend.to_numpy(backend.keep(published.mask, like)) for published in PUBLISHED]
    digests = _combined(map(digest, masks)), *(_noise(backend, like, name) for name in PRECISIONS)
    right = all(d in (NONE, p) for d, p in zip(digests, _published(), strict=True))
    device, result = str(backend.device(like)), "ok" if right else "DIFFERS"
    return backend.name, _version(backend), device, backend.kernel, *digests, result


def _noise(backend: Backend, like: Array, dtype: str) -> str:
    """Return the combined digest of noise in a dtype, or "none" if the device has no such noise."""
    if backend.namespace is None:
        return NONE
    digests = []
    for published in PUBLISHED_NOISE:
        try:
            x = backend.from_numpy(published.numbers(dtype), like)
        except (TypeError, ValueError):
            here = backend.xp.__array_namespace_info__().dtypes(device=backend.device(like))
            if dtype in here:
                raise
            return NONE
        y = backend.perturb(x, published.recipe, published.std, published.relative)
        digests.append(digest_of_noise(backend.to_numpy(y)))
    return _combined(digests)


def digest_of_noise(y: np.ndarray[Any, Any]) -> str:
    """Return the SHA-256 of numbers, in C order and little-endian."""
    return hashlib.sha256(y.astype(y.dtype.newbyteorder("<")).tobytes()).hexdigest()


def _published() -> tuple[str, ...]:
    noise = ([getattr(p, name) for p in PUBLISHED_NOISE] for name in PRECISIONS)
    return _combined(p.sha256 for p in PUBLISHED), *map(_combined, noise)


def _version(backend: Backend) -> str:
    try:
        return version(backend.name)
    except PackageNotFoundError:  # Installed under another name, like CuPy's wheels.
        return str(getattr(sys.modules[backend.name], "__version__", "?"))


def _combined(digests: Iterable[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
