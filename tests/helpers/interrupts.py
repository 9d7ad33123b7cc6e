"""Interrupts at given moments, as a signal's handler raises them."""

from __future__ import annotations

import sys
from pathlib import Path

import anydrop

PACKAGE = str(Path(anydrop.__file__).parent)


class Interrupt(BaseException):
    """What a handler raises."""


class Interrupts:
    """Raises at the events of given numbers, each counted from the one before.

    An event is a line of the package, a call or a return, or a call of a function in C; Python
    asks its tracer at the first two kinds, and its profiler at all but lines. Each is taken away
    when it has raised, so that the tracer raises first and the profiler second.

    Parameters
    ----------
    traced, profiled : int or None
        Number of the event; None for no such interrupt.
    """

    def __init__(self, traced, profiled=None):
        self.left = {"trace": traced, "profile": profiled}
        self.raised = 0

    def __enter__(self):
        sys.settrace(self.trace)
        return self

    def __exit__(self, *error):
        sys.settrace(None)
        sys.setprofile(None)

    def trace(self, frame, event, argument):
        if frame.f_code.co_filename.startswith(PACKAGE) and event in ("call", "line"):
            self.count("trace")
        return self.trace

    def profile(self, frame, event, argument):
        if frame.f_code.co_filename.startswith(PACKAGE):
            self.count("profile")

    def count(self, kind):
        self.left[kind] -= 1
        if self.left[kind] < 0:
            self.raised += 1
            if kind == "trace" and self.left["profile"] is not None:
                sys.setprofile(self.profile)
            raise Interrupt
