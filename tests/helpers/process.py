"""Programs in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import anydrop

if TYPE_CHECKING:
    from collections.abc import Iterable


def python(code: str, *, path: Iterable[Path] = (), **environment: str) -> str:
    """Return what a program prints in a process of its own, which must end well."""
    source, tests = Path(anydrop.__file__).parent.parent, Path(__file__).parent.parent
    helpers = tests / "helpers", tests / "torch" / "helpers"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=300,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (*path, source, *helpers))),
            **environment,
        },
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()
