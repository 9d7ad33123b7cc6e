"""`keywords_of`: the keywords that all variants have, written once and shown everywhere."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

Target = TypeVar("Target", bound=Callable[..., Any])

# An entry of numpydoc's: names, their type, and what is said of them.
ENTRY = re.compile(r"^(\w[\w, ]*?)(?: : [^\n]*)?\n(?: {4}[^\n]*\n)*", re.MULTILINE)
MARK = re.compile(r"^\*\*keywords\n(?: {4}[^\n]*\n)*", re.MULTILINE)


def keywords_of(source: Callable[..., Any]) -> Callable[[Target], Target]:
    """Show the keywords of a function or class in those that take them as ``**keywords``.

    The signature of what is decorated names them, and the entry ``**keywords`` of its docstring
    becomes the entries of the source. What the docstring says of a keyword by itself stays.

    Parameters
    ----------
    source : callable
        Whose keywords they are, with a docstring that describes them.
    """
    given = [
        parameter
        for parameter in inspect.signature(source).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]

    def shown(target: Any) -> Any:
        function = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        more = [p for p in given if p.name not in signature.parameters]
        function.__signature__ = signature.replace(parameters=[*own, *more])
        text = inspect.getdoc(target) or ""
        missing = {p.name for p in given}.difference(*(names for names, _ in _entries(text)))
        entries = [
            entry
            for names, entry in _entries(inspect.getdoc(source) or "")
            if missing.intersection(names)
        ]
        target.__doc__ = MARK.sub(lambda mark: "".join(entries), text + "\n")
        return target

    return shown


def _entries(text: str) -> list[tuple[list[str], str]]:
    """Return the names and the text of each entry among the parameters of a docstring."""
    section = re.search(r"^Parameters\n-+\n(.*?)\n(?:\n|\Z)", text + "\n", re.DOTALL | re.MULTILINE)
    return [
        (entry[1].replace(" ", "").split(","), entry[0])
        for entry in ENTRY.finditer(section[1] + "\n" if section else "")
    ]
