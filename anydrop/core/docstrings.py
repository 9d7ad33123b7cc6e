"""`described_by`: describe shared parameters once, and show them in each docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

Target = TypeVar("Target", bound=Callable[..., Any])

# The sections of a docstring, in numpydoc's order.
SECTIONS = ("Parameters", "Returns", "Raises", "See Also", "Notes", "References", "Examples")
# Parts that nobody inherits, and those that a class does not inherit from its function.
OWN = {"Summary", "See Also", "Examples"}
OF_A_CALL = {"Returns", "Raises", "Notes"}

HEADING = re.compile(r"^(\w.*)\n-+\n", re.MULTILINE)
ENTRY = re.compile(r"^(\w+)(?: : .*)?\n(?: {4}.*\n)+", re.MULTILINE)

# The parts of each target's docstring, without those of its last source.
_SAID: dict[Any, dict[str, str]] = {}


def described_by(*sources: Callable[..., Any]) -> Callable[[Target], Target]:
    """Complete the signature and the docstring of a function or class from those of others.

    The keywords of the last source replace ``**keywords`` in the signature. A parameter or section
    that the docstring leaves out comes from the first source that describes it. In a function, an
    `x` in that text becomes the name of the first parameter. In a class, `p` may be a Schedule.

    Parameters
    ----------
    *sources : callable
        Functions or classes. The last one describes what all have in common. The others must be
        decorated, too, and add only their own parts.
    """
    *first, last = sources

    def completed(target: Any) -> Any:
        is_class = isinstance(target, type)
        names = _complete_signature(target, last)
        if target.__doc__ is None:  # under python -OO
            return target
        special: dict[str, str] = {}
        for source in reversed(first):
            special |= _without(OWN | OF_A_CALL if is_class else OWN, _SAID[source])
        own = _parts(target)
        _SAID[target] = special | own
        taken = _without(OWN, _parts(last)) | special
        if not is_class:
            taken = {name: re.sub(r"\bx\b", names[0], text) for name, text in taken.items()}
        parts = taken | own
        parts["Parameters"] = "".join(parts[name] for name in names)
        text = parts["Summary"]
        for title in SECTIONS:
            if title in parts:
                text += f"{title}\n{'-' * len(title)}\n{parts[title].rstrip()}\n\n"
        if is_class:
            text = text.replace("\np : float,", "\np : float or Schedule,")
        target.__doc__ = text.rstrip() + "\n"
        return target

    return completed


def _complete_signature(target: Any, last: Callable[..., Any]) -> list[str]:
    """Replace ``**keywords`` by the keywords of a source; return the parameters' names."""
    function = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    if len(own) < len(signature.parameters):
        given = inspect.signature(last).parameters.values()
        taken = signature.parameters
        own += [p for p in given if p.kind is p.KEYWORD_ONLY and p.name not in taken]
        function.__signature__ = signature.replace(parameters=own)
    return [name for name in inspect.signature(target).parameters if name != "self"]


def _parts(source: Any) -> dict[str, str]:
    """Split a docstring into its sections, by title, and its parameters, by name."""
    summary, *rest = HEADING.split((inspect.getdoc(source) or "") + "\n")
    parts = dict(zip(rest[::2], rest[1::2], strict=True))
    entries = {entry[1]: entry[0] for entry in ENTRY.finditer(parts.pop("Parameters", ""))}
    return {"Summary": summary, **parts, **entries}


def _without(names: set[str], parts: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in parts.items() if name not in names}
