"""Draws published masks on every library and device found here, and compares the digests."""

from __future__ import annotations

import hashlib
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, NamedTuple

from anydrop._version import __version__
from anydrop.backends import found, load, registered
from anydrop.masks.mask import Mask, digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anydrop.backends.base import Backend
    from anydrop.core.typing import Array


class Published(NamedTuple):
    """A mask and the SHA-256 that it must have."""

    seed: int
    step: int
    shape: tuple[int, ...]
    p: float
    sha256: str

    @property
    def mask(self) -> Mask:
        """The recipe."""
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


COLUMNS = ("backend", "version", "device", "kernel", "digest", "result")


def run() -> int:
    """Print a table of every backend, device and kernel; return the exit status.

    Returns
    -------
    int
        0 if all masks drawn here have the published digests, 1 otherwise. A library that is not
        installed is listed as absent, and one that finds no device to run on as having none;
        neither decides anything.

    Examples
    --------
    >>> from anydrop import verify
    >>> verify.run()
    anydrop ...
    One digest, 4e10e0c081350e29: all ... agree.
    0
    """
    rows = [COLUMNS, *_rows()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(f"anydrop {__version__}, Python {platform.python_version()} on {sys.platform}\n")
    for row in rows:
        print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
    results = [row[-1] for row in rows[1:] if row[-1] not in ("absent", "no device")]
    if wrong := len(results) - results.count("ok"):
        print(f"\n{wrong} of {len(results)} failed or differ from the published masks.")
        return 1
    print(f"\nOne digest, {_combined(p.sha256 for p in PUBLISHED)[:16]}: all {len(results)} agree.")
    return 0


def _rows() -> Iterator[tuple[str, ...]]:
    here = found()
    for name in registered():
        if name not in here:
            yield name, "-", "-", "-", "-", "absent"
            continue
        try:
            backend = load(name)
            rows = [_row(probe, like) for probe, like in backend.probes()]
            yield from rows or [(name, _version(backend), "-", backend.kernel, "-", "no device")]
        except Exception as error:  # whatever a broken installation raises
            yield name, "-", "-", "-", "-", f"FAILED: {error!r}"


def _row(backend: Backend, like: Array) -> tuple[str, ...]:
    masks = [backend.to_numpy(backend.keep(published.mask, like)) for published in PUBLISHED]
    digests = [digest(keep) for keep in masks]
    right = digests == [published.sha256 for published in PUBLISHED]
    device, combined = str(backend.device(like)), _combined(digests)[:16]
    result = "ok" if right else "DIFFERS"
    return backend.name, _version(backend), device, backend.kernel, combined, result


def _version(backend: Backend) -> str:
    try:
        return version(backend.name)
    except PackageNotFoundError:  # Installed under another name, as CuPy's wheels are.
        return str(getattr(sys.modules[backend.name], "__version__", "?"))


def _combined(digests: Iterator[str] | list[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()
