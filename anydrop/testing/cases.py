"""The suite: all checks, for each dtype where that matters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from anydrop.testing import checks, compiled, composed, sums
from anydrop.testing.subject import Subject, dtype_of


class Case(NamedTuple):
    """One test of a subject: call it, and it raises AssertionError if it fails."""

    subject: Subject
    check: Callable[..., None]
    arguments: tuple[Any, ...] = ()

    def __call__(self) -> None:
        """Run the check, without warnings about arithmetic with infinities."""
        with np.errstate(all="ignore"):
            self.check(self.subject, *self.arguments)

    def __str__(self) -> str:
        return "-".join([self.subject.name, self.check.__name__, *map(str, self.arguments)])


def cases(subject: Subject) -> list[Case]:
    """Return all tests that a backend must pass.

    Parameters
    ----------
    subject : Subject
        What to test.

    Returns
    -------
    list of Case
        Callables without arguments that raise AssertionError. Their ``str`` is their name.

    Examples
    --------
    With pytest, in the package of your backend::

        @pytest.mark.parametrize("case", cases(subject), ids=str)
        def test_conformance(case):
            case()
    """
    in_a_namespace = dict.fromkeys((composed, sums), subject.namespace)
    modules = {checks: True, **in_a_namespace, compiled: subject.compiled}
    return [
        Case(subject, check, arguments)
        for module, serves in modules.items()
        if serves
        for name, check in inspect.getmembers(module, inspect.isfunction)
        if check.__module__ == module.__name__ and not name.startswith("_")
        for arguments in (
            [(dtype_of(name),) for name in subject.dtypes]
            if "dtype" in inspect.signature(check).parameters
            else [()]
        )
    ]
