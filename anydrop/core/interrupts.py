"""Interrupts: a signal handler, such as that of Ctrl-C, may raise between any two steps."""

from __future__ import annotations

from collections.abc import Callable

# How many more interrupts may come while one is being handled.
LEVELS = 3


def surely(work: Callable[[], object], finish: Callable[[], object]) -> None:
    """Do some work, and finish it whatever is raised.

    A single ``finally`` is not enough, since an interrupt may come inside it. So several are
    nested, and each finishes what the inner one left.

    Parameters
    ----------
    work : callable
        If it raises, `finish` must undo or wait for what it has begun.
    finish : callable
        May be called more than once, and before `work` has begun.
    """
    _surely(work, finish, LEVELS)


def _surely(work: Callable[[], object], finish: Callable[[], object], levels: int) -> None:
    try:
        if levels:
            _surely(work, finish, levels - 1)
        else:
            work()
    finally:
        finish()
