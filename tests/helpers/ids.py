"""What the names of tests may not hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ADDRESS = re.compile("0x[0-9a-f]{6,}")


def with_addresses(ids: Iterable[str]) -> list[str]:
    """Return the ids that hold an address in memory, which is another one in each process."""
    return [name for name in ids if ADDRESS.search(name)]
