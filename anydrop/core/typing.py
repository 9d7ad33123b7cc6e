"""Type aliases shared by every module."""

from __future__ import annotations

from typing import Any, TypeAlias

# An array of any library. The array API standard has no static type for it yet.
Array: TypeAlias = Any
# A namespace of the array API standard.
Namespace: TypeAlias = Any
