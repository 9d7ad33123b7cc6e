"""What a signal's handler raises, as Ctrl-C does, may come between any two steps of a program."""

from __future__ import annotations

from collections.abc import Callable

# How many interrupts may come where an earlier one is being dealt with.
LEVELS = 3


def surely(work: Callable[[], object], finish: Callable[[], object]) -> None:
    """Do some work, and finish it whatever is raised.

    A single ``finally`` is not enough, since an interrupt may come within it. So there are some,
    one around the other, and each finishes what the one within it left.

    Parameters
    ----------
    work : callable
        Whatever it has begun when it raises, `finish` must undo or wait for.
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
