"""The public conformance suite: the tests that every backend must pass, also one of your own.

It needs no test framework: a case is a callable that raises AssertionError.
"""

from anydrop.testing.cases import Case, cases
from anydrop.testing.subject import DTYPES, Subject

__all__ = ["DTYPES", "Case", "Subject", "cases"]
